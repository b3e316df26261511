//! Types that the codec knows by themselves: what serde hands over as a slice of bytes, and
//! could be shared.
//!
//! serde's traits ask for no `'static` of what is inside of a value. So `Any` does not help,
//! and types are compared by their ids without lifetimes.

#![expect(unsafe_code, reason = "this module owns comparing types that may borrow, and casting")]

use std::any::TypeId;
use std::fmt::Display;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, transmute, transmute_copy};
use std::sync::OnceLock;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A type without lifetimes of its own: whatever has its id, is it.
///
/// # Safety
///
/// The type has no lifetime parameter.
pub(super) unsafe trait Plain: 'static {}

// SAFETY: it has no parameters.
unsafe impl Plain for Bytes {}
// SAFETY: as above.
unsafe impl Plain for crate::value::array::Wire {}

/// The id of a type, whatever it borrows.
fn id<T: ?Sized>() -> TypeId {
    trait Named {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }
    impl<T: ?Sized> Named for PhantomData<T> {
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }
    let it = PhantomData::<T>;
    // SAFETY: only the bound on lifetimes changes, and `id` reads nothing of the value, which
    // has none. Lifetimes are erased when code is made, so the id is that of the type with
    // any others (the crate `typeid` does the same).
    unsafe { transmute::<&dyn Named, &(dyn Named + 'static)>(&it) }.id()
}

/// The same reference by its other type, if `A` and `B` are one.
pub(super) fn as_ref<A: ?Sized, B: Plain>(value: &A) -> Option<&B> {
    let pointer: *const A = value;
    // SAFETY: equal ids are equal types but for lifetimes, of which `B` has none. So this is
    // a reference to a `B`, and lives as long as the one that was given.
    (id::<A>() == id::<B>()).then(|| unsafe { &*pointer.cast::<B>() })
}

/// [`Bytes`] that a value is, or leads to.
pub(super) fn bytes<T: ?Sized>(value: &T) -> Option<&Bytes> {
    if id::<T>() == id::<&Bytes>() {
        let pointer: *const T = value;
        // SAFETY: it is a reference to a reference, whose lifetime is at least that of the
        // outer one.
        return Some(unsafe { *pointer.cast::<&Bytes>() });
    }
    as_ref(value)
}

/// The same value by its other type, if `A` and `B` are one; or itself.
pub(super) fn cast<A: Plain, B>(value: A) -> Result<B, A> {
    if id::<A>() != id::<B>() {
        return Err(value);
    }
    let value = ManuallyDrop::new(value);
    // SAFETY: as in `as_ref`; what was copied is not dropped here.
    Ok(unsafe { transmute_copy::<A, B>(&value) })
}

/// Whether this is how [`Bytes`] read themselves, and no other visitor that makes some.
pub(super) fn reads_bytes<'de, V: Visitor<'de>>() -> bool {
    static READS: OnceLock<Option<TypeId>> = OnceLock::new();
    id::<V::Value>() == id::<Bytes>()
        && *READS.get_or_init(|| Bytes::deserialize(Asked).err().and_then(|seen| seen.0))
            == Some(id::<V>())
}

/// Whether it is that visitor.
pub(super) fn is<V, W: 'static>() -> bool {
    id::<V>() == id::<W>()
}

/// Sees by which visitor a type is read.
struct Asked;

/// That visitor, if it asks for bytes.
#[derive(Debug)]
struct Seen(Option<TypeId>);

impl Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is only looked at")
    }
}

impl std::error::Error for Seen {}

impl de::Error for Seen {
    fn custom<T: Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Asked {
    type Error = Seen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        Err(Seen(None))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        Err(Seen(Some(id::<V>())))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_whatever_else_borrows() {
        let text = String::from("not bytes");
        assert!(bytes(&text).is_none() && bytes(text.as_str()).is_none());
        assert!(bytes(&&*text).is_none() && bytes(&vec![1_u8]).is_none());
        let there = Bytes::from(vec![7; 9]);
        assert_eq!(bytes(&there).unwrap().as_ptr(), there.as_ptr());
        assert_eq!(bytes(&&there).unwrap().as_ptr(), there.as_ptr());
        assert!(bytes(&Some(&there)).is_none());
        let at = there.as_ptr();
        assert_eq!(cast::<_, Bytes>(there.clone()).unwrap().as_ptr(), at);
        assert!(cast::<_, Vec<u8>>(there).is_err());
    }

    #[test]
    fn only_the_visitor_of_bytes_is_taken_for_it() {
        struct Other;
        impl<'de> Visitor<'de> for Other {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("other bytes")
            }
        }
        struct Look;
        impl<'de> Deserializer<'de> for Look {
            type Error = Seen;
            fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
                Err(Seen(reads_bytes::<V>().then(id::<V>)))
            }
            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
                byte_buf option unit unit_struct newtype_struct seq tuple tuple_struct map struct
                enum identifier ignored_any
            }
        }
        assert!(Bytes::deserialize(Look).unwrap_err().0.is_some());
        assert!(bytes::BytesMut::deserialize(Look).unwrap_err().0.is_none());
        assert!(Look.deserialize_byte_buf(Other).unwrap_err().0.is_none());
    }
}
