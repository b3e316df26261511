//! Arrays of plain numbers, as tasks take and return them.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use bytemuck::Pod;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use super::{NAME, Wire, WireVisitor};

/// Plain numbers with a shape, which travel without a codec: samples, pixels, tensors.
///
/// The items are anything that is [`bytemuck::Pod`]: `f32`, `[f32; 3]`, or a struct of such.
/// They are in C order: the last dimension varies fastest. The array derefs to a slice of them.
///
/// From 16 KiB on its items are copied once on the way to a worker of this machine, into
/// memory that both share. From 1 MiB on a task reads them there. That holds wherever in the
/// arguments or in the result the array is. Making one of a `Vec` copies nothing; a clone is
/// the same memory.
///
/// On a cluster, Python has an array as a `numpy.ndarray`.
///
/// # Errors
///
/// Reading an array is an error if its items are of another type, or of a machine of another
/// byte order. Structs are told apart by their size alone: give the function another
/// `version` when one changes.
///
/// # Examples
///
/// ```
/// use outboard::Array;
///
/// #[outboard::task]
/// fn column_sums(matrix: Array<f32>) -> Array<f32> {
///     let [_, columns] = *matrix.shape() else { panic!("a matrix has two dimensions") };
///     let mut sums = vec![0.0; columns];
///     for row in matrix.chunks(columns) {
///         sums.iter_mut().zip(row).for_each(|(sum, item)| *sum += item);
///     }
///     sums.into()
/// }
///
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// let matrix = Array::shaped([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// let sums = client.submit(column_sums, matrix).await?;
/// assert_eq!(*sums, [5.0, 7.0, 9.0]);
/// # Ok(()) }
/// ```
pub struct Array<T> {
    /// Empty, or where a `T` may be.
    bytes: Bytes,
    shape: Box<[usize]>,
    items: PhantomData<fn() -> T>,
}

/// A vector as its bytes.
struct Owned<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl<T: Pod + Send> Array<T> {
    const HAS_SIZE: () = assert!(size_of::<T>() > 0, "items of an array take memory");

    /// Makes an array of that shape, whose last dimension varies fastest.
    ///
    /// # Panics
    ///
    /// If the shape has more or fewer items.
    pub fn shaped(shape: impl Into<Box<[usize]>>, items: Vec<T>) -> Self {
        let shape = shape.into();
        let said = shape.iter().try_fold(1_usize, |said, length| said.checked_mul(*length));
        assert!(said == Some(items.len()), "{} items are no array of {shape:?}", items.len());
        Self::of(shape, items)
    }

    fn of(shape: Box<[usize]>, items: Vec<T>) -> Self {
        let () = Self::HAS_SIZE;
        Self { bytes: Bytes::from_owner(Owned(items)), shape, items: PhantomData }
    }
}

impl<T> Array<T> {
    /// Returns the length of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

impl<T: Pod + Send> From<Vec<T>> for Array<T> {
    /// Makes an array of one dimension.
    fn from(items: Vec<T>) -> Self {
        Self::of([items.len()].into(), items)
    }
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // What is empty may be anywhere.
        if self.bytes.is_empty() { &[] } else { bytemuck::cast_slice(&self.bytes) }
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), shape: self.shape.clone(), items: PhantomData }
    }
}

impl<T: Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && **self == **other
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("shape", &self.shape).field("items", &&**self).finish()
    }
}

impl<T: Pod> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shape = self.shape.iter().map(|length| *length as u64).collect();
        let wire = Wire { dtype: dtype::<T>(), shape, data: self.bytes.clone() };
        serializer.serialize_newtype_struct(NAME, &wire)
    }
}

impl<'de, T: Pod + Send> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { dtype: theirs, shape, data } =
            deserializer.deserialize_newtype_struct(NAME, WireVisitor)?;
        let ours = dtype::<T>();
        if theirs != ours {
            return Err(D::Error::custom(format!("an array of `{theirs}`, expected `{ours}`")));
        }
        let shape: Option<Box<[usize]>> =
            shape.into_iter().map(|length| usize::try_from(length).ok()).collect();
        let shape = shape.unwrap_or_default();
        let items = shape.iter().try_fold(size_of::<T>(), |all, length| all.checked_mul(*length));
        if items != Some(data.len()) {
            let said = format!("an array of {shape:?} items of `{ours}` in {} bytes", data.len());
            return Err(D::Error::custom(said));
        }
        match data.is_empty() || bytemuck::try_cast_slice::<u8, T>(&data).is_ok() {
            true => Ok(Self { bytes: data, shape, items: PhantomData }),
            false => Ok(Self::of(shape, bytemuck::pod_collect_to_vec(&data))),
        }
    }
}

/// The type of an item, as numpy says it.
fn dtype<T: 'static>() -> Cow<'static, str> {
    macro_rules! number {
        ($($type:ty: $letter:literal),*) => {
            $(if TypeId::of::<T>() == TypeId::of::<$type>() {
                let order = match (size_of::<T>(), cfg!(target_endian = "little")) {
                    (1, _) => "|",
                    (_, true) => "<",
                    (_, false) => ">",
                };
                return format!("{order}{}{}", $letter, size_of::<T>()).into();
            })*
        };
    }
    number!(u8: "u", u16: "u", u32: "u", u64: "u", i8: "i", i16: "i", i32: "i", i64: "i");
    number!(f32: "f", f64: "f");
    format!("|V{}", size_of::<T>()).into()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::value::codec::{Input, decode, encode};
    use crate::value::payload::Payload;

    fn there<T: Serialize + DeserializeOwned + Clone + 'static>(value: &T) -> (Payload, T) {
        let payload = encode(value.clone()).unwrap();
        let back = decode(Input::Lent(&payload)).unwrap();
        (payload, back)
    }

    #[test]
    fn an_array_arrives_with_its_shape_wherever_it_is() {
        let array = Array::shaped([2, 1, 3], vec![1.5_f32, f32::NAN, -0.0, 4.0, 5.0, 6.0]);
        let bits = |array: &Array<f32>| array.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
        let (_, (text, back)) = there(&("x".to_owned(), Some(array.clone())));
        let back = back.unwrap();
        assert_eq!((&*text, back.shape(), bits(&back)), ("x", array.shape(), bits(&array)));
        let (payload, _) = there(&array);
        let expected =
            b"\xc7\x35\x04\x03<f4\x03\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(payload[..expected.len()], expected[..]);
        assert_eq!(payload.len(), expected.len() + 24);
        for length in [0, 1, 9, 5_000, 100_000] {
            let doubles: Array<f64> = (0..length).map(f64::from).collect::<Vec<_>>().into();
            let nested = vec![(1_u8, doubles.clone()), (2, doubles.clone())];
            assert!(there(&nested).1 == nested);
            let scalars = Array::shaped([], vec![[1_u8, 2, 3]]);
            assert_eq!(there(&scalars).1, scalars);
        }
        let empty = Array::<u64>::shaped([3, 0], Vec::new());
        assert_eq!(there(&empty).1.shape(), [3, 0]);
    }

    #[test]
    fn a_large_array_is_neither_copied_out_nor_in() {
        let doubles: Array<f64> = vec![0.5; 1 << 18].into();
        let at = doubles.as_ptr();
        let payload = encode(("beside".to_owned(), doubles.clone())).unwrap();
        assert!(payload.pieces().any(|piece| piece.as_ptr() == at.cast()), "it is a piece");
        let payload = Payload::from(payload.into_bytes());
        let memory = payload.as_ptr_range();
        let (_, back): (String, Array<f64>) = decode(Input::Owned(payload)).unwrap();
        assert!(memory.contains(&back.as_ptr().cast()) && back == doubles);
    }

    #[test]
    fn items_of_another_type_are_refused() {
        let payload = encode(Array::from(vec![1_u32, 2])).unwrap();
        let error = decode::<Array<f32>>(Input::Lent(&payload)).unwrap_err().to_string();
        assert_eq!(error, "an array of `<u4`, expected `<f4`");
        let error = decode::<Vec<u32>>(Input::Lent(&payload)).unwrap_err().to_string();
        assert_eq!(error, "invalid type: an array, expected a sequence");
        let payload = encode(vec![1_u32, 2]).unwrap();
        let error = decode::<Array<u32>>(Input::Lent(&payload)).unwrap_err().to_string();
        assert_eq!(error, "invalid type: a sequence of numbers, expected an array");
    }

    #[test]
    fn other_formats_have_its_fields() {
        let array = Array::shaped([1, 2], vec![1_u16, 2]);
        let json = serde_json::to_value(&array).unwrap();
        let fields = serde_json::json!({"dtype": "<u2", "shape": [1, 2], "data": [1, 0, 2, 0]});
        assert_eq!(json, fields);
        assert_eq!(serde_json::from_value::<Array<u16>>(json).unwrap(), array);
        // What serde keeps in between has them, too.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Items { items: Array<u16> },
        }
        let either = Either::Items { items: array };
        assert_eq!(there(&either).1, either);
    }
}
