//! Types of every shape that serde has, and of crates that arguments are made of, with
//! values of each: all have to arrive as they were, on every engine and both ways. The
//! codec's own tests include this file, too.

// Also for where the values are written: see `zoo`.
pub(crate) use std::borrow::Cow;
pub(crate) use std::collections::{BTreeMap, BTreeSet, HashMap};
pub(crate) use std::net::{IpAddr, Ipv4Addr, SocketAddr};
pub(crate) use std::num::NonZeroU8;
pub(crate) use std::ops::Bound;
pub(crate) use std::path::PathBuf;
pub(crate) use std::sync::Arc;
pub(crate) use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use bigdecimal::BigDecimal;
pub(crate) use bytes::Bytes;
pub(crate) use chrono::{DateTime, NaiveDate, Utc};
pub(crate) use indexmap::IndexMap;
pub(crate) use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
pub(crate) use serde_json::{Value, json};
pub(crate) use time::OffsetDateTime;
pub(crate) use url::Url;
pub(crate) use uuid::Uuid;

/// Declares a type that is compared, and travels.
macro_rules! travels {
    ($($item:item)*) => {
        $(#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] $item)*
    };
}

travels! {
    pub(crate) struct Skipping {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pub(crate) coupon: Option<u8>,
        pub(crate) quantity: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(crate) note: Option<String>,
        pub(crate) price: u16,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        pub(crate) last: Vec<u32>,
    }

    pub(crate) struct Attributes {
        #[serde(default = "seven", rename = "type")]
        pub(crate) kind: u8,
        #[serde(alias = "former")]
        pub(crate) present: String,
        #[serde(skip)]
        pub(crate) skipped: (),
        #[serde(with = "serde_bytes")]
        pub(crate) bytes: Vec<u8>,
        #[serde(with = "as_text")]
        pub(crate) text: u32,
    }

    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(crate) struct Strict {
        pub(crate) first_field: u8,
        pub(crate) second_field: Option<()>,
    }

    pub(crate) struct Inner {
        pub(crate) address: IpAddr,
        pub(crate) at: DateTime<Utc>,
        pub(crate) id: Uuid,
        pub(crate) bytes: Bytes,
        pub(crate) letter: char,
        pub(crate) numbers: Vec<f32>,
        pub(crate) options: (Option<Option<u8>>, Option<()>, Option<Unit>),
        pub(crate) price: Decimal,
        pub(crate) long: Duration,
        pub(crate) external: Vec<External>,
        pub(crate) bits: (Bits32, Bits64),
    }

    pub(crate) struct Flat {
        pub(crate) number: u64,
        #[serde(flatten)]
        pub(crate) inner: Inner,
        #[serde(flatten)]
        pub(crate) none: Option<Strict>,
        #[serde(flatten)]
        pub(crate) rest: BTreeMap<String, Value>,
    }

    pub(crate) struct FlatEnum {
        pub(crate) number: i8,
        #[serde(flatten)]
        pub(crate) tagged: Tagged,
    }

    pub(crate) struct FlatKeys {
        #[serde(flatten)]
        pub(crate) by_number: BTreeMap<u32, Option<Option<u8>>>,
    }

    #[serde(tag = "t")]
    pub(crate) enum Tagged {
        Unit,
        Inner(Inner),
        Struct { ratio: f32, bytes: Vec<u8>, option: Option<Option<u8>> },
        #[serde(rename = "another name")]
        Renamed { x: i64 },
        Deeper { inner: Box<Tagged> },
    }

    #[serde(tag = "t")]
    pub(crate) enum WithOther {
        A,
        #[serde(other)]
        Other,
    }

    #[serde(tag = "t", content = "c")]
    pub(crate) enum Adjacent {
        Unit,
        Newtype(Option<Option<u8>>),
        Nothing(()),
        Tuple(u8, String, Option<()>),
        Struct { wide: i128, inner: Option<Box<Adjacent>> },
    }

    #[serde(untagged)]
    pub(crate) enum Untagged {
        Number(u64),
        Negative(i64),
        Float(f64),
        Flag(bool),
        Text(String),
        Struct { x: i64, somes: Option<Option<()>> },
        Inner(Inner),
        Numbers(Vec<f64>),
        List(Vec<Untagged>),
        Some(Option<()>),
    }

    pub(crate) enum External {
        Unit,
        Nothing(()),
        Newtype(u8),
        Maybe(Option<()>),
        Tuple(u8, String),
        Struct { a: Option<Option<()>>, b: Vec<External> },
        #[serde(rename = "Größe \n")]
        Renamed,
    }

    pub(crate) struct Unit;
    pub(crate) struct Empty {}
    pub(crate) struct Newtype(pub(crate) Option<()>);
    pub(crate) struct Metres(pub(crate) f64);
    pub(crate) struct Pair(pub(crate) u8, pub(crate) String);

    #[derive(Eq, Hash, PartialOrd, Ord)]
    pub(crate) enum Key {
        A,
        B(u8),
    }

    pub(crate) enum Failure {
        Bad(String),
        Worse { code: Option<i32> },
    }
}

/// Floats that are equal if their bits are.
macro_rules! bits {
    ($($name:ident($float:ty)),*) => {
        $(#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) $float);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        })*
    };
}

bits!(Bits32(f32), Bits64(f64));

fn seven() -> u8 {
    7
}

/// A number that travels as text.
mod as_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("<{value}>"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        let text = String::deserialize(from)?;
        text.trim_matches(['<', '>']).parse().map_err(D::Error::custom)
    }
}

/// A value of many types, as it stands inside of others.
pub(crate) fn inner() -> Inner {
    Inner {
        address: "fe80::1".parse().unwrap(),
        at: DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap(),
        id: Uuid::from_u128(7 << 100),
        bytes: Bytes::from_static(b"\0\xff bytes"),
        letter: 'ß',
        numbers: vec![0.1, f32::MIN_POSITIVE, -0.0],
        options: (Some(None), Some(()), Some(Unit)),
        price: Decimal::new(-12_345, 3),
        long: Duration::new(u64::MAX, 999_999_999),
        external: external(),
        bits: nan(),
    }
}

/// Floats that are no numbers, with payloads.
pub(crate) fn nan() -> (Bits32, Bits64) {
    (Bits32(f32::from_bits(0x7fa0_0123)), Bits64(f64::from_bits(0xfff4_0000_dead_beef)))
}

pub(crate) fn external() -> Vec<External> {
    let b = vec![External::Unit, External::Renamed];
    vec![
        External::Unit,
        External::Nothing(()),
        External::Newtype(7),
        External::Maybe(None),
        External::Maybe(Some(())),
        External::Tuple(1, "two".into()),
        External::Struct { a: Some(None), b },
        External::Renamed,
    ]
}

pub(crate) fn json_value() -> Value {
    json!({
        "list": [1, -2, null, 2.5, "x", { "b": true, "": [] }, [], {}, [[1.0, 2.0], [3]]],
        "big": u64::MAX,
        "small": i64::MIN,
        "tiny": 5e-324,
        "null": null,
    })
}

pub(crate) fn flat() -> Flat {
    let rest = BTreeMap::from([("a key".to_owned(), json_value()), (String::new(), Value::Null)]);
    Flat { number: u64::MAX, inner: inner(), none: None, rest }
}

/// Gives the types, with values of each, to a macro: `name: Type = [values];`.
macro_rules! zoo {
    ($then:ident) => {
        $then! {
            skip_serializing_if: Skipping = [
                Skipping { coupon: None, quantity: 0, note: None, price: 300, last: vec![] },
                Skipping {
                    coupon: Some(1), quantity: 2, note: Some("n".into()), price: 3, last: vec![4],
                },
            ];
            attributes: Attributes = [Attributes {
                kind: 1, present: "p".into(), skipped: (), bytes: vec![0, 200], text: 5,
            }];
            strict: Strict = [
                Strict { first_field: 1, second_field: Some(()) },
                Strict { first_field: 1, second_field: None },
            ];
            flatten: Flat = [flat()];
            flatten_an_enum: FlatEnum = [
                FlatEnum { number: -1, tagged: Tagged::Unit },
                FlatEnum { number: -1, tagged: Tagged::Inner(inner()) },
                FlatEnum { number: 1, tagged: Tagged::Renamed { x: i64::MIN } },
            ];
            flatten_numbers_as_keys: FlatKeys = [FlatKeys {
                by_number: [(7, None), (8, Some(None)), (9, Some(Some(1)))].into(),
            }];
            tag: Vec<Tagged> = [vec![
                Tagged::Unit,
                Tagged::Inner(inner()),
                Tagged::Struct { ratio: 0.1, bytes: vec![1, 2], option: Some(None) },
                Tagged::Renamed { x: -1 },
                Tagged::Deeper { inner: Box::new(Tagged::Deeper { inner: Box::new(Tagged::Unit) }) },
            ]];
            tag_with_other: Vec<WithOther> = [vec![WithOther::A, WithOther::Other]];
            tag_and_content: Vec<Adjacent> = [vec![
                Adjacent::Unit,
                Adjacent::Newtype(None),
                Adjacent::Newtype(Some(None)),
                Adjacent::Newtype(Some(Some(1))),
                Adjacent::Nothing(()),
                Adjacent::Tuple(1, "a".into(), Some(())),
                Adjacent::Struct { wide: i128::MIN, inner: Some(Box::new(Adjacent::Unit)) },
            ]];
            untagged: Vec<Untagged> = [vec![
                Untagged::Number(7),
                Untagged::Negative(-7),
                Untagged::Float(2.5),
                Untagged::Flag(true),
                Untagged::Text("x".into()),
                Untagged::Struct { x: -1, somes: Some(None) },
                Untagged::Struct { x: 1, somes: None },
                Untagged::Inner(inner()),
                Untagged::Numbers(vec![0.1, -0.0]),
                Untagged::List(vec![Untagged::Text("y".into()), Untagged::Number(1)]),
                Untagged::Some(None),
                Untagged::Some(Some(())),
            ]];
            variants: Vec<External> = [external()];
            structs: (Unit, Empty, Newtype, Newtype, Metres, Pair) = [(
                Unit, Empty {}, Newtype(None), Newtype(Some(())), Metres(0.1), Pair(1, "p".into()),
            )];
            json: Value = [json_value(), Value::Null, json!(7), json!([])];
            json_in_a_map: HashMap<String, Value> = [[("a".to_owned(), json_value())].into()];
            json_in_an_option: Vec<Option<Value>> = [
                vec![None, Some(Value::Null), Some(json!(1)), Some(json_value())],
            ];
            options: Vec<Option<Option<Option<u8>>>> = [
                vec![None, Some(None), Some(Some(None)), Some(Some(Some(0)))],
            ];
            options_of_nothing: Vec<(Option<()>, Option<Unit>, Option<Newtype>)> = [vec![
                (None, None, None),
                (Some(()), Some(Unit), Some(Newtype(None))),
                (Some(()), None, Some(Newtype(Some(())))),
            ]];
            nothing: () = [()];
            many_nothings: Vec<()> = [vec![(); 3]];
            integers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128) = [
                (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, 0, 0, 0, 0, 0),
                (-1, -33, -129, -32_769, -1, 128, 256, 65_536, 1 << 32, 1 << 64),
                (127, 128, 32_768, 1 << 31, i128::MAX, 255, u16::MAX, u32::MAX, u64::MAX, u128::MAX),
            ];
            wide: Vec<u128> = [vec![0, 1, u64::MAX.into(), 1 << 64, u128::MAX]];
            floats: (Bits32, Bits64) = [nan(), (Bits32(-0.0), Bits64(f64::INFINITY))];
            letters: Vec<char> = [vec!['a', 'ß', '🦀', '\0']];
            flags: (bool, [bool; 2]) = [(true, [false, true])];
            texts: (String, Box<str>, Arc<str>, Cow<'static, str>) = [
                ("\0\"ß".into(), "x".repeat(40).into(), "x".repeat(300).into(), "🦀".into()),
                ("x".repeat(70_000), "".into(), "a".into(), "b".into()),
            ];
            shared: (Arc<Pair>, Box<[u8]>, Arc<[Bits32]>) = [
                (Arc::new(Pair(1, "x".into())), [1, 2].into(), [nan().0].into()),
            ];
            bytes: (Bytes, serde_bytes::ByteBuf, Vec<u8>, [u8; 3]) = [
                (Bytes::new(), vec![1; 300].into(), vec![2; 300], [0, 128, 255]),
                (vec![9; 70_000].into(), vec![].into(), vec![], [1; 3]),
            ];
            bytes_in_others: (Option<Bytes>, Vec<Bytes>, Result<Bytes, Failure>) = [
                (Some(Bytes::new()), vec![vec![1; 9].into(), Bytes::new()], Ok(vec![2].into())),
                (None, vec![], Err(Failure::Bad("x".into()))),
                (Some(vec![3; 16 << 10].into()), vec![vec![4; 99_999].into()], Ok(vec![5; 70_000].into())),
            ];
            numbers: (Vec<u8>, Vec<i8>, Vec<u16>, Vec<i16>, Vec<u32>, Vec<i32>, Vec<u64>, Vec<i64>) = [
                (vec![7; 40], vec![-1, 1], vec![u16::MAX], vec![i16::MIN, 0], vec![u32::MAX; 5],
                vec![i32::MIN], vec![u64::MAX, 0], vec![i64::MIN, -1]),
                (vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![]),
            ];
            numbers_of_all_sizes: Vec<Vec<Metres>> = [
                [0, 1, 2, 3, 31, 32, 127, 128, 129, 8_192].map(|n| vec![Metres(0.1); n]).into(),
            ];
            numbers_in_sets: (BTreeSet<u64>, Vec<Vec<f32>>, [f32; 3], Vec<[f64; 2]>) = [
                ([1, 1 << 40].into(), vec![vec![0.1; 9], vec![]], [0.1; 3], vec![[0.1, 0.2]; 3]),
            ];
            numbers_and_others: Vec<Value> = [
                vec![json!(1), json!(2), json!(null)],
                vec![json!(1), json!(-1), json!(0.5), json!(u64::MAX)],
                vec![json!(0.1), json!(0.2)],
            ];
            maybe_numbers: Vec<Option<f64>> = [vec![Some(0.5), None], vec![Some(0.5); 3]];
            keys_of_tuples: HashMap<(u8, String), u8> = [[((1, "a".into()), 2)].into()];
            keys_of_options: BTreeMap<Option<u8>, u8> = [[(None, 1), (Some(1), 2)].into()];
            keys_of_options_of_options: BTreeMap<Option<Option<u8>>, u8> = [
                [(None, 1), (Some(None), 2), (Some(Some(1)), 3)].into(),
            ];
            keys_of_variants: BTreeMap<Key, u8> = [[(Key::A, 1), (Key::B(1), 2)].into()];
            keys_of_others: (BTreeMap<bool, u8>, BTreeMap<i64, u8>, BTreeMap<char, u8>) = [
                ([(true, 1)].into(), [(-5, 1), (300, 2)].into(), [('ß', 1)].into()),
            ];
            keys_of_lists: BTreeMap<Vec<u8>, BTreeMap<(), u8>> = [
                [(vec![1, 2], [((), 1)].into()), (vec![], [].into())].into(),
            ];
            many_keys: BTreeMap<u32, String> = [(0..70_000).map(|n| (n, n.to_string())).collect()];
            tuples: (u8, (String, Option<f64>), ((),), [u8; 0]) = [
                (1, ("x".into(), Some(2.5)), ((),), []),
            ];
            results: Vec<Result<Option<Option<()>>, Failure>> = [vec![
                Ok(Some(None)),
                Ok(Some(Some(()))),
                Ok(None),
                Err(Failure::Bad("x".into())),
                Err(Failure::Worse { code: Some(1) }),
            ]];
            decimals: (Decimal, BigDecimal) = [(
                Decimal::MAX, "123456789012345678901234567890.123456789".parse().unwrap(),
            )];
            times: (Duration, SystemTime) = [
                (Duration::new(3, 999_999_999), UNIX_EPOCH + Duration::new(1_700_000_000, 1)),
            ];
            chrono_times: (DateTime<Utc>, DateTime<chrono::FixedOffset>, NaiveDate) = [(
                DateTime::from_timestamp(1, 999_999_999).unwrap(),
                DateTime::parse_from_rfc3339("2026-11-30T17:00:00.123456789+05:30").unwrap(),
                NaiveDate::from_ymd_opt(-1, 12, 31).unwrap(),
            )];
            time_times: (OffsetDateTime, time::Date, time::Duration) = [(
                OffsetDateTime::UNIX_EPOCH + time::Duration::new(-5, -999_999_999),
                time::Date::from_calendar_date(2026, time::Month::May, 31).unwrap(),
                time::Duration::new(-5, -1),
            )];
            uuids: Uuid = [Uuid::from_u128(u128::MAX / 3)];
            index_map: IndexMap<String, u32> = [[("z".to_owned(), 1), ("a".to_owned(), 2)].into()];
            addresses: (IpAddr, SocketAddr, Url) = [(
                Ipv4Addr::LOCALHOST.into(),
                "[::1]:80".parse().unwrap(),
                Url::parse("http://a.example/c?d=ß").unwrap(),
            )];
            paths: PathBuf = ["a/ß".into()];
            of_std: (std::ops::Range<u8>, Bound<i8>, NonZeroU8, std::num::Wrapping<i32>) = [(
                1..9, Bound::Excluded(-1), NonZeroU8::MAX, std::num::Wrapping(-1),
            )];
        }
    };
}
pub(crate) use zoo;
