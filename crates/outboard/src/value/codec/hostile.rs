//! Tests: bytes of anyone, values of any depth, and types that do as they like are an
//! error, and cost no more than their bytes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Input, ValueError, decode, encode};

fn read<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, ValueError> {
    decode(Input::Lent(bytes))
}

#[test]
fn a_value_said_to_be_longer_than_its_bytes_is_an_error_at_once() {
    for head in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
        let long: Vec<u8> = [head, 0xff, 0xff, 0xff, 0xff].into_iter().chain(0..100).collect();
        assert!(read::<String>(&long).is_err());
        assert!(read::<(bytes::Bytes,)>(&[&[0x91], &long[..]].concat()).is_err());
        assert!(read::<Vec<[u64; 32]>>(&long).is_err());
        assert!(read::<HashMap<u64, String>>(&long).is_err());
        assert!(read::<Vec<Vec<String>>>(&long).is_err());
        assert!(read::<Value>(&long).is_err());
        assert!(read::<IgnoredAny>(&long).is_err());
    }
}

#[test]
fn bytes_that_nothing_of_ours_writes_are_an_error() {
    let no_values: [&[u8]; 10] = [
        b"",
        b"\xc1",
        b"\xd4\x01\x00",
        b"\xd4\x05\x00",
        b"\xd5\x01\x00\x00",
        b"\xd5\x02\x00\x00",
        b"\xc7\x03\x12abc",
        b"\xa1\xff",
        b"\x82\x01",
        b"\x91",
    ];
    for bytes in no_values {
        assert!(read::<Value>(bytes).is_err(), "{bytes:x?}");
        assert!(read::<Option<Option<u8>>>(bytes).is_err(), "{bytes:x?}");
        assert!(read::<Vec<u32>>(bytes).is_err(), "{bytes:x?}");
    }
}

/// Runs on a quarter of the stack that threads of a runtime have: types of users may take
/// more for a level than these.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 << 10).spawn(f).unwrap().join().unwrap();
}

/// How many levels there may be.
const DEPTH: usize = super::DEPTH as usize;

/// A value of so many levels, without the recursion of a drop.
fn nest<T>(levels: usize, start: T, wrap: impl Fn(T) -> T) -> T {
    (0..levels).fold(start, |inner, _| wrap(inner))
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    children: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Link {
    End,
    Next(Box<Link>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(Option<Box<Wrapped>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged {
    End,
    Next { next: Box<Tagged> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Next(Vec<Untagged>),
    End(u8),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    next: BTreeMap<String, Flat>,
}

/// As many levels as there may be arrive, and one more is an error at both ends.
fn is_bounded<T>(each: usize, start: fn() -> T, wrap: fn(T) -> T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let deepest = (1..=DEPTH)
        .take_while(|levels| encode(nest(*levels, start(), wrap)).is_ok())
        .last()
        .unwrap_or(0);
    assert!((DEPTH / each - 1..=DEPTH / each).contains(&deepest), "{deepest} levels");
    let payload = encode(nest(deepest, start(), wrap)).unwrap();
    assert_eq!(read::<T>(&payload), Ok(nest(deepest, start(), wrap)));
    let error = encode(nest(deepest + 1, start(), wrap)).unwrap_err().to_string();
    assert!(error.starts_with("it is nested more than 128 levels deep"), "{error}");
}

#[test]
fn depth_is_bounded_where_a_value_is_encoded() {
    on_a_small_stack(|| {
        is_bounded(1, || Value::Null, |inner| Value::from(vec![inner]));
        is_bounded(1, || Value::Null, |inner| serde_json::json!({ "a": inner }));
        is_bounded(2, || Node { children: vec![] }, |inner| Node { children: vec![inner] });
        is_bounded(1, || Link::End, |inner| Link::Next(Box::new(inner)));
        is_bounded(2, || Wrapped(None), |inner| Wrapped(Some(Box::new(inner))));
        is_bounded(1, || Tagged::End, |inner| Tagged::Next { next: Box::new(inner) });
        is_bounded(1, || Untagged::End(1), |inner| Untagged::Next(vec![inner]));
        is_bounded(
            1,
            || Flat { next: [].into() },
            |inner| Flat { next: [("a".to_owned(), inner)].into() },
        );
    });
}

#[test]
fn depth_is_bounded_where_a_value_is_decoded() {
    const LEVELS: usize = 1 << 20;
    fn refused<T: DeserializeOwned + 'static>(level: &[u8]) {
        let bytes = level.repeat(LEVELS);
        let error = match read::<T>(&[&bytes[..], &[0xc0]].concat()) {
            Ok(_) => panic!("{LEVELS} levels were read"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("it is nested more than 128 levels deep"), "{error}");
        assert!(error.len() < 2_000, "{error}");
    }
    on_a_small_stack(|| {
        refused::<Value>(b"\x91");
        refused::<Value>(b"\x81\xa1a");
        refused::<Node>(b"\x81\xa8children\x91");
        refused::<Link>(b"\x81\xa4Next");
        refused::<Tagged>(b"\x82\xa1t\xa4Next\xa4next");
        refused::<Untagged>(b"\x91");
        refused::<Flat>(b"\x81\xa1a");
        refused::<Buffered>(b"\x91");
        // What is not wanted may be of any depth.
        let bytes = [&b"\x91".repeat(LEVELS)[..], &[0xc0]].concat();
        assert!(read::<IgnoredAny>(&bytes).is_ok());
    });
}

/// Takes whatever there is into what serde keeps in between.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Buffered {
    #[expect(dead_code, reason = "it is only read")]
    Never(u8),
}

#[test]
fn a_type_that_sees_itself_in_a_number_is_bounded_too() {
    on_a_small_stack(|| {
        let numbers = encode(vec![vec![1_u8, 2], vec![]]).unwrap();
        let error = read::<Vec<Vec<Wrapped>>>(&numbers).unwrap_err().to_string();
        assert!(error.contains("nested more than"), "{error}");
        let error = read::<Wrapped>(&[1]).unwrap_err().to_string();
        assert!(error.contains("nested more than"), "{error}");
    });
}

/// Keeps the items that it can read, as some types do.
#[derive(Debug, PartialEq)]
struct Lossy(Vec<Link>);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Lossy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("links")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lossy, A::Error> {
                let mut links = Vec::new();
                while let Some(link) = items.next_element().transpose() {
                    links.extend(link);
                }
                Ok(Lossy(links))
            }
        }
        deserializer.deserialize_seq(All)
    }
}

#[test]
fn a_type_that_goes_on_after_an_error_reads_the_next_item() {
    let next = || Link::Next(Box::new(Link::End));
    let bad = serde_json::json!({ "Next": { "Next": [1, { "x": "End" }] } });
    let deep = nest(100, serde_json::json!("End"), |inner| serde_json::json!({ "Next": inner }));
    let payload = encode((next(), bad, vec![1_u8], deep.clone(), next(), 7)).unwrap();
    let deep = serde_json::from_value(deep).unwrap();
    assert_eq!(read::<Lossy>(&payload), Ok(Lossy(vec![next(), deep, next()])));
    // But not if there is none.
    assert!(read::<Lossy>(b"\x92\xa3End\xa2xx").is_ok());
    assert!(read::<Lossy>(b"\x92\xa3End\x92\x01").is_err());
}

/// A type that leaves what there is unread.
#[derive(Debug, PartialEq)]
struct Blind;

impl<'de> Deserialize<'de> for Blind {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
fn a_type_that_reads_nothing_does_not_shift_what_follows() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields {
        a: Blind,
        b: u8,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    enum Variant {
        Held(Blind),
    }
    let value = serde_json::json!([{ "a": [1, { "b": 2 }], "b": 3 }, { "Held": [4] }, [5], 6]);
    let payload = encode(value).unwrap();
    assert_eq!(
        read::<(Fields, Variant, Blind, u8)>(&payload),
        Ok((Fields { a: Blind, b: 3 }, Variant::Held(Blind), Blind, 6))
    );
}
