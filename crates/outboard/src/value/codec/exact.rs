//! Tests: a value arrives as it was, or is an error before anything is done with it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};

use super::{Input, Payload, Refused, SHARED_BYTES, decode, encode, encode_result, encode_within};

#[path = "../../../tests/api/support/zoo.rs"]
mod zoo;

use zoo::*;

#[track_caller]
fn arrives<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + 'static>(value: &T) {
    let payload = encode(value.clone()).unwrap();
    assert_eq!(decode::<T>(Input::Lent(&payload)).as_ref(), Ok(value));
    // Another reader finds one value, and nothing after it.
    let mut rest = &payload[..];
    rmpv::decode::read_value(&mut rest).unwrap();
    assert!(rest.is_empty());
    // Between nothing and all, every budget is kept to.
    let budgets = [0, 1, payload.len() / 2, payload.len() - 1];
    let copied = !matches!(payload, Payload::Pieces(_));
    for budget in budgets.into_iter().filter(|budget| copied && *budget < payload.len()) {
        match encode_within(value.clone(), budget) {
            Err(Refused::Overrun(back)) => assert_eq!(&back, value),
            other => panic!("{budget} of {}: {other:?}", payload.len()),
        }
    }
    // Numbers may take up to eight times as much before one turns out to be none.
    let enough = payload.len() * 8;
    assert_eq!(encode_within(value.clone(), enough).unwrap()[..], payload[..]);
}

macro_rules! each_arrives {
    ($($name:ident: $type:ty = [$($value:expr),* $(,)?];)*) => {
        $(#[test] fn $name() {
            let values: Vec<$type> = vec![$($value),*];
            for value in &values {
                arrives(value);
                arrives(&Some(value.clone()));
                arrives(&Ok::<_, ()>((value.clone(), 1_u8)));
            }
            arrives(&values);
        })*
    };
}

mod zoo_arrives {
    use super::*;

    zoo!(each_arrives);
}

/// Values of all shapes, at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Any {
    Nothing,
    Unit(()),
    Flag(bool),
    Signed(i64),
    Unsigned(u64),
    Wide(i128, u128),
    Floats(Bits32, Bits64),
    Text(String),
    Letter(char),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Numbers(Vec<u16>, Vec<Bits32>, Vec<i64>),
    Maybe(Box<Option<Option<Any>>>),
    List(Vec<Any>),
    Mixed(Vec<Plain>),
    Map(BTreeMap<String, Any>),
    Pairs(BTreeMap<(u8, Option<()>), Any>),
    Struct { first: Box<Any>, second: Option<Box<Any>> },
    Buffered(Buffered),
    Tagged(Tag),
}

/// What serde keeps in between, as it does for `flatten`, `untagged` and `tag`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Buffered {
    before: u8,
    #[serde(flatten)]
    fields: Fields,
    #[serde(flatten)]
    rest: BTreeMap<String, Plain>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Fields {
    plain: Vec<Plain>,
    option: Option<Option<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "the tag")]
enum Tag {
    One(Fields),
    Other,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Nothing(()),
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Float(Bits64),
    Text(String),
    List(Vec<Plain>),
    Map(BTreeMap<String, Plain>),
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        Just(Plain::Nothing(())),
        any::<bool>().prop_map(Plain::Flag),
        any::<u64>().prop_map(Plain::Unsigned),
        (i64::MIN..0).prop_map(Plain::Signed),
        any::<u64>().prop_map(|bits| Plain::Float(Bits64(f64::from_bits(bits)))),
        ".{0,40}".prop_map(Plain::Text),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Plain::List),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(Plain::Map),
        ]
    })
}

fn buffered() -> impl Strategy<Value = Buffered> {
    let rest = prop::collection::btree_map("_.{0,6}", plain(), 0..4);
    (any::<u8>(), fields(), rest).prop_map(|(before, fields, rest)| Buffered {
        before,
        fields,
        rest,
    })
}

fn fields() -> impl Strategy<Value = Fields> {
    (prop::collection::vec(plain(), 0..4), any::<Option<Option<u8>>>())
        .prop_map(|(plain, option)| Fields { plain, option })
}

fn value() -> impl Strategy<Value = Any> {
    let bits32 = || any::<u32>().prop_map(|bits| Bits32(f32::from_bits(bits)));
    let bits64 = any::<u64>().prop_map(|bits| Bits64(f64::from_bits(bits)));
    let numbers = (
        prop::collection::vec(any::<u16>(), 0..40),
        prop::collection::vec(bits32(), 0..40),
        prop::collection::vec(any::<i64>(), 0..40),
    );
    let leaf = prop_oneof![
        Just(Any::Nothing),
        Just(Any::Unit(())),
        any::<bool>().prop_map(Any::Flag),
        (any::<i64>(), 0..64_u32).prop_map(|(number, shift)| Any::Signed(number >> shift)),
        (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| Any::Unsigned(number >> shift)),
        (any::<i128>(), any::<u128>(), 0..128_u32)
            .prop_map(|(signed, unsigned, shift)| Any::Wide(signed >> shift, unsigned >> shift)),
        (bits32(), bits64).prop_map(|(small, large)| Any::Floats(small, large)),
        ".{0,300}".prop_map(Any::Text),
        any::<char>().prop_map(Any::Letter),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Any::Bytes),
        numbers.prop_map(|(short, floats, long)| Any::Numbers(short, floats, long)),
        prop::collection::vec(plain(), 0..6).prop_map(Any::Mixed),
        buffered().prop_map(Any::Buffered),
        fields().prop_map(|fields| Any::Tagged(Tag::One(fields))),
        Just(Any::Tagged(Tag::Other)),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let key = (any::<u8>(), any::<Option<()>>());
        prop_oneof![
            prop::option::of(prop::option::of(inner.clone()))
                .prop_map(|maybe| Any::Maybe(Box::new(maybe))),
            prop::collection::vec(inner.clone(), 0..20).prop_map(Any::List),
            prop::collection::btree_map(".{0,40}", inner.clone(), 0..20).prop_map(Any::Map),
            prop::collection::btree_map(key, inner, 0..4).prop_map(Any::Pairs),
            (boxed.clone(), prop::option::of(boxed))
                .prop_map(|(first, second)| Any::Struct { first, second }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn values_at_random_arrive(value in value()) {
        arrives(&value);
    }

    /// Whatever was changed on the way: an error, or another value, and no panic.
    #[test]
    fn bytes_that_were_changed_do_not_panic(
        value in value(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(value).unwrap().to_vec();
        let cut = decode::<Any>(Input::Lent(&bytes[..end.index(bytes.len())]));
        prop_assert!(cut.is_err(), "a part of a value is no value: {cut:?}");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode::<Any>(Input::Lent(&bytes));
        let _ = decode::<serde_json::Value>(Input::Lent(&bytes));
        let _ = decode::<Buffered>(Input::Lent(&bytes));
    }
}

fn not_text() -> std::path::PathBuf {
    <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]).into()
}

fn error<T: Debug>(result: Result<T, super::ValueError>) -> String {
    result.unwrap_err().to_string()
}

/// A version of a type, and a later one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u32,
    lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    name: String,
    count: u16,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LaterOrder {
    lines: Vec<LaterLine>,
    #[serde(default)]
    note: Option<String>,
    id: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct LaterLine {
    #[serde(default)]
    grams: f64,
    count: u32,
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StricterOrder {
    lines: Vec<StricterLine>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StricterLine {
    name: String,
    price: u32,
}

fn order() -> Order {
    let line = |name: &str| Line { name: name.into(), count: 3 };
    Order { id: 7, lines: vec![line("a"), line("b")] }
}

#[test]
fn versions_of_a_type_read_each_other_by_names() {
    let earlier = encode(order()).unwrap();
    let read: LaterOrder = decode(Input::Lent(&earlier)).unwrap();
    let line = |name: &str| LaterLine { grams: 0.0, count: 3, name: name.into() };
    assert_eq!(read, LaterOrder { lines: vec![line("a"), line("b")], note: None, id: 7 });
    let later = LaterOrder { note: Some("with a field that is ignored".into()), ..read };
    let later = encode(later).unwrap();
    assert_eq!(decode::<Order>(Input::Lent(&later)).unwrap(), order());
}

#[test]
fn what_another_version_does_not_have_is_an_error_that_names_it() {
    let payload = encode(order()).unwrap();
    let error = error(decode::<StricterOrder>(Input::Lent(&payload)));
    assert_eq!(error, "missing field `price`, at `lines[0]`");
}

#[test]
fn what_another_version_has_otherwise_is_never_another_value() {
    fn read<T: Serialize + 'static, U: DeserializeOwned + Debug + 'static>(value: T) -> String {
        error(decode::<U>(Input::Lent(&encode(value).unwrap())))
    }
    read::<_, Order>((7_u32, vec![("a", 3_u16)]));
    read::<_, u8>(256_u32);
    read::<_, u32>(-1_i8);
    read::<_, f32>(0.1_f64);
    read::<_, Vec<f32>>(vec![0.1_f64]);
    read::<_, f64>((1_u64 << 53) + 1);
    read::<_, Vec<f64>>(vec![(1_u64 << 53) + 1]);
    read::<_, f32>((1_u32 << 24) + 1);
    read::<_, (u8, u8)>((1_u8, 2_u8, 3_u8));
    read::<_, (u8, u8)>(vec![1_u8, 2, 3]);
    read::<_, (u8, u8, u8)>(vec![1_u8, 2]);
    read::<_, Option<u8>>(Some(None::<u8>));
    read::<_, ()>(Some(()));
    read::<_, bool>(1_u8);
    read::<_, String>(1_u8);
    read::<_, Vec<bool>>(vec![1_u8]);
    read::<_, BTreeMap<String, u8>>(order());
    // What holds the same value is read.
    let payload = encode((1_u8, 0.5_f32, 1_u8, vec![1_u8], vec![0.5_f32])).unwrap();
    let read = decode::<(u128, f64, f64, Vec<Option<i64>>, Vec<f64>)>(Input::Lent(&payload));
    assert_eq!(read.unwrap(), (1, 0.5, 1.0, vec![Some(1)], vec![0.5]));
    let payload = encode((vec![0.5_f64], 0.5_f64)).unwrap();
    assert_eq!(decode::<(Vec<f32>, f32)>(Input::Lent(&payload)).unwrap(), (vec![0.5], 0.5));
    let payload = encode((vec![1_u8], bytes::Bytes::from_static(&[2]))).unwrap();
    assert_eq!(
        decode::<(bytes::Bytes, Vec<u16>)>(Input::Lent(&payload)).unwrap(),
        (bytes::Bytes::from_static(&[1]), vec![2])
    );
}

#[derive(Serialize)]
struct Holder<T> {
    name: &'static str,
    held: Vec<T>,
}

#[test]
fn what_is_a_value_only_in_another_format_is_refused_with_its_place_and_advice() {
    let raw = || serde_json::value::RawValue::from_string("[1]".into()).unwrap();
    let holder = |held| Holder { name: "n", held };
    let error_of = error(encode(BTreeMap::from([("key", holder(vec![raw()]))])));
    let advice = "a `RawValue` is a value only within JSON: send its text, or a \
                  `serde_json::Value`, at `key.held[0]`";
    assert_eq!(error_of, advice);
    let extension = rmpv::Value::Ext(1, vec![2]);
    let error_of = error(encode((1, Some(extension))));
    assert!(error_of.contains("extension") && error_of.ends_with(", at `[1]`"), "{error_of}");
    let error_of = error(encode(Holder { name: "n", held: vec![not_text()] }));
    assert_eq!(
        error_of,
        "path contains invalid UTF-8 characters: send its bytes instead, at `held[0]`"
    );
}

#[test]
fn a_result_that_serde_encodes_and_cannot_decode_is_an_error_where_it_is_made() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Wide,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wide {
        wide: u128,
    }
    let value = || Flat { inner: Wide { wide: 1 } };
    assert!(error(encode_result(value())).contains("128"), "{}", error(encode_result(value())));
    let payload = encode(value()).unwrap();
    assert!(decode::<Flat>(Input::Lent(&payload)).is_err(), "serde can do it now");
    assert!(encode_result(Wide { wide: u128::MAX }).is_ok());
}

/// A type that says another length than it has, as JSON lets it.
struct Lopsided;

impl Serialize for Lopsided {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Lopsided", 1)?;
        fields.serialize_field("some", &Unknown(40))?;
        fields.serialize_field("others", &(1, "x"))?;
        fields.end()
    }
}

/// A sequence of unknown length, and a map of one.
struct Unknown(u8);

impl Serialize for Unknown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(None)?;
        for n in 0..self.0 {
            items.serialize_element(&Filtered(n))?;
        }
        items.end()
    }
}

struct Filtered(u8);

impl Serialize for Filtered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.collect_map([("a", 1)].into_iter().filter(|_| true)),
            1 => serializer.collect_seq((0..9_u8).filter(|n| n % 2 == 0)),
            2 => {
                let mut map = serializer.serialize_map(Some(9))?;
                map.serialize_entry(&1, &2)?;
                map.end()
            }
            n => serializer.serialize_u8(n),
        }
    }
}

#[test]
fn lengths_are_counted_whatever_a_type_says() {
    #[derive(Deserialize)]
    struct Read {
        some: Vec<rmpv::Value>,
        others: (u8, String),
    }
    let payload = encode(Lopsided).unwrap();
    let read: Read = decode(Input::Lent(&payload)).unwrap();
    assert_eq!(read.others, (1, "x".to_owned()));
    assert_eq!(read.some.len(), 40);
    let [map, odd, short, number, ..] = &read.some[..] else { panic!() };
    assert_eq!(map, &rmpv::Value::from(vec![("a".into(), 1.into())]));
    assert_eq!(
        odd,
        &rmpv::Value::from((0..5).map(|n| (2 * n).into()).collect::<Vec<rmpv::Value>>())
    );
    assert_eq!(short, &rmpv::Value::from(vec![(1.into(), 2.into())]));
    assert_eq!(number, &rmpv::Value::from(3));
}

#[test]
fn a_type_that_goes_on_after_an_error_has_written_nothing_of_what_failed() {
    struct Tries;
    impl Serialize for Tries {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut items = serializer.serialize_seq(None)?;
            let _ = items.serialize_element(&(1, not_text()));
            items.serialize_element("good")?;
            items.end()
        }
    }
    let payload = encode(Tries).unwrap();
    assert_eq!(decode::<Vec<String>>(Input::Lent(&payload)).unwrap(), ["good"]);
    // But more than it may is more than it may.
    assert!(matches!(encode_within(Tries, 3), Err(Refused::Overrun(Tries))));
}

#[test]
fn large_bytes_and_numbers_have_their_room_at_once() {
    let capacity = |payload: Payload| match payload {
        Payload::Owned(bytes) => bytes.capacity(),
        Payload::Shared(bytes) => Vec::from(*bytes).capacity(),
        Payload::Few(..) | Payload::Pieces(_) => panic!("they are many, at one place"),
    };
    std::thread::spawn(move || {
        let size = 3 << 20;
        let most = size + (8 << 10);
        let image = (serde_bytes::ByteBuf::from(vec![1; size]), 7_u32, "name");
        assert!(capacity(encode(image).unwrap()) <= most);
        let numbers = (vec![0.5_f32; size / 4], 7_u32, "name");
        assert!(capacity(encode(numbers).unwrap()) <= most);
    })
    .join()
    .unwrap();
}

#[test]
fn a_panic_of_a_type_is_an_error() {
    #[derive(Debug)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("not today")
        }
    }
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("nor tomorrow")
        }
    }
    assert_eq!(error(encode(Panics)), "its code panicked: not today");
    assert_eq!(error(decode::<Panics>(Input::Lent(&[0]))), "its code panicked: nor tomorrow");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Album {
    name: String,
    cover: Option<Bytes>,
    pages: Vec<Bytes>,
    by_number: BTreeMap<u8, Result<Bytes, String>>,
    whole: Wrapped,
    next: Page,
    boxed: Box<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Bytes);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Page {
    Image { image: Bytes, width: u32 },
    Pair(Bytes, Bytes),
}

fn album(bytes: usize) -> (Vec<Bytes>, Album) {
    let all: Vec<_> = (0..8_u8).map(|page| Bytes::from(vec![page; bytes])).collect();
    let page = |at: usize| all[at].clone();
    let album = Album {
        name: "a".into(),
        cover: Some(page(0)),
        pages: vec![page(1), page(2)],
        by_number: [(1, Ok(page(3))), (2, Err("torn".into()))].into(),
        whole: Wrapped(page(4)),
        next: Page::Image { image: page(5), width: 7 },
        boxed: Box::new(page(6)),
    };
    (all, album)
}

#[test]
fn bytes_that_are_shared_are_not_copied_wherever_they_are() {
    let (pages, album) = album(SHARED_BYTES);
    let payload = encode(album.clone()).unwrap();
    let is_piece = |page: &Bytes| payload.pieces().any(|piece| piece.as_ptr() == page.as_ptr());
    let shared: Vec<bool> = pages.iter().map(is_piece).collect();
    // serde sees through a box, and shows only the bytes.
    assert_eq!(shared, [true, true, true, true, true, true, false, false]);
    let mut copied = Vec::new();
    super::write_to(&album, &mut copied).unwrap();
    assert!(*copied == *payload, "the form is the same");
    assert_eq!(decode::<Album>(Input::Lent(&payload)).as_ref(), Ok(&album));
    let whole = Payload::from(Bytes::from(copied));
    let memory = whole.as_ptr_range();
    let back: Album = decode(Input::Owned(whole)).unwrap();
    assert_eq!(back, album);
    let Page::Image { image, .. } = &back.next else { panic!() };
    let Ok(third) = &back.by_number[&1] else { panic!() };
    for page in [&back.cover.unwrap(), &back.pages[1], third, &back.whole.0, image, &back.boxed] {
        assert!(memory.contains(&page.as_ptr()), "it is a part of the payload");
    }
    assert!(!matches!(encode(album_of_less()).unwrap(), Payload::Pieces(_)));
}

fn album_of_less() -> Album {
    album(SHARED_BYTES - 1).1
}

#[test]
fn pieces_stay_at_their_places_when_heads_change() {
    /// A sequence that does not say how long it is, and gives up one of its items.
    struct Unsure(Bytes);
    struct Torn(Bytes);
    impl Serialize for Torn {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut items = serializer.serialize_seq(Some(2))?;
            items.serialize_element(&self.0)?;
            Err(serde::ser::Error::custom("torn"))
        }
    }
    impl Serialize for Unsure {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut items = serializer.serialize_seq(None)?;
            for _ in 0..20 {
                assert!(items.serialize_element(&Torn(self.0.clone())).is_err());
                items.serialize_element(&self.0)?;
            }
            items.end()
        }
    }
    let page = Bytes::from(vec![7; SHARED_BYTES]);
    let payload = encode((page.clone(), Unsure(page.clone()), page.clone(), 1_u8)).unwrap();
    assert_eq!(payload.pieces().filter(|piece| piece.len() == SHARED_BYTES).count(), 22);
    let back: (Bytes, Vec<Bytes>, Bytes, u8) = decode(Input::Lent(&payload)).unwrap();
    assert_eq!(back, (page.clone(), vec![page.clone(); 20], page, 1));
}

#[test]
fn what_is_shared_takes_nothing_of_what_may_be_encoded_at_once() {
    let image = Bytes::from(vec![7; 1 << 20]);
    let payload = encode_within((image.clone(), 7_u32), 100).unwrap();
    assert!(payload.len() > image.len());
    let copied = serde_bytes::ByteBuf::from(image);
    assert!(matches!(encode_within((copied, 7_u32), 100), Err(Refused::Overrun(_))));
}

#[test]
fn what_is_little_beside_shared_bytes_is_read_at_once() {
    fn of<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + 'static>(
        value: &T,
    ) -> bool {
        let payload = Payload::from(encode(value.clone()).unwrap().into_bytes());
        let bytes = payload.clone().into_bytes();
        match super::decode_within::<T>(payload, 1_000) {
            Ok(read) => {
                assert_eq!(read.as_ref(), Ok(value));
                true
            }
            Err(back) => {
                assert_eq!(back.into_bytes(), bytes);
                false
            }
        }
    }
    let image = Bytes::from(vec![7; 1 << 20]);
    assert!(of(&Ok::<_, String>(image.clone())) && of(&(image.clone(), vec![7_u16; 9])));
    assert!(of(&vec![(image.clone(), 1), (image.clone(), 2)]));
    // What is to be copied is not.
    assert!(
        !of(&(serde_bytes::ByteBuf::from(&*image), 1)) && !of(&(image.clone(), "x".repeat(2_000)))
    );
    assert!(!of(&vec![0_u8; 2_000].chunks(1).map(<[u8]>::to_vec).collect::<Vec<_>>()));
    assert!(!of(&(0..2_000).map(|n| (n, n)).collect::<BTreeMap<u32, u32>>()));
    assert!(!of(&(image.slice(..9), vec![0.5_f32; 2_000], ())));
    /// Takes an error for a value.
    #[derive(Debug, PartialEq)]
    struct Whatever;
    impl<'de> Deserialize<'de> for Whatever {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let _ = Vec::<u64>::deserialize(from);
            Ok(Self)
        }
    }
    let payload = encode((image, vec![0_u64; 2_000])).unwrap();
    assert!(super::decode_within::<(Bytes, Whatever)>(payload, 1_000).is_err());
}
