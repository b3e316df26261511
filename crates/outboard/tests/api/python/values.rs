//! Values between Rust and Python: what arrives as it was, and what is refused with advice.

use std::fmt::Debug;
use std::ops::Range;

use chrono::{NaiveDateTime, NaiveTime, TimeDelta};
use outboard::{Client, ErrorKind, python};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Place, everywhere};
use crate::support::zoo::*;

everywhere!(
    values_of_every_shape_go_to_python_and_come_back,
    objects_of_python_are_values_of_rust,
    what_only_python_has_is_refused_with_advice,
    arrays_of_numbers_go_both_ways,
);

/// Types that have keys which no dict can have.
const REFUSED: [&str; 2] = ["keys_of_options_of_options", "keys_of_variants"];

macro_rules! there_and_back {
    ($($name:ident: $type:ty = [$($value:expr),* $(,)?];)*) => {
        async fn values_of_every_shape_go_to_python_and_come_back(place: Place) {
            let client = place.client().await;
            $(for value in Vec::<$type>::from([$($value),*]) {
                arrives(&client, stringify!($name), value).await;
            })*
            client.shutdown().await;
        }
    };
}

zoo!(there_and_back);

async fn arrives<T>(client: &Client, name: &str, value: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static,
{
    let echo = python::<(T,), T>("only_workers:echo");
    match client.submit(echo, value.clone()).await {
        Ok(back) => assert!(back == value && !REFUSED.contains(&name), "{name}: {back:?}"),
        Err(error) => {
            let advised = error.to_string().contains("send a list of pairs");
            assert!(REFUSED.contains(&name) && advised, "{name}: {error}, {value:?}");
        }
    }
}

/// What an expression of Python gives.
async fn evaluate<T>(client: &Client, code: &str) -> T
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let function = python::<(String,), T>("only_workers:evaluate");
    let value = client.submit(function, code.to_owned()).await;
    value.unwrap_or_else(|error| panic!("{code}: {error}"))
}

async fn objects_of_python_are_values_of_rust(place: Place) {
    let client = &place.client().await;
    let price: Decimal = evaluate(client, "decimal.Decimal('-12.3450')").await;
    assert_eq!(price.to_string(), "-12.3450");
    let id: Uuid = evaluate(client, "uuid.UUID(int=2**128 - 5)").await;
    assert_eq!(id, Uuid::from_u128(u128::MAX - 4));
    let at = "datetime.datetime(2026, 11, 30, 17, 0, 0, 123, datetime.timezone";
    let utc: DateTime<Utc> = evaluate(client, &format!("{at}.utc)")).await;
    assert_eq!(utc.to_rfc3339(), "2026-11-30T17:00:00.000123+00:00");
    let west = format!("{at}(datetime.timedelta(hours=-5, minutes=30)))");
    let west: DateTime<chrono::FixedOffset> = evaluate(client, &west).await;
    assert_eq!(west.to_rfc3339(), "2026-11-30T17:00:00.000123-04:30");
    let naive: NaiveDateTime = evaluate(client, "datetime.datetime(2026, 1, 2, 3, fold=1)").await;
    assert_eq!(naive.to_string(), "2026-01-02 03:00:00");
    let date: NaiveDate = evaluate(client, "datetime.date(1999, 12, 31)").await;
    assert_eq!(date.to_string(), "1999-12-31");
    let time: NaiveTime = evaluate(client, "datetime.time(23, 59, 1, 5)").await;
    assert_eq!(time.to_string(), "23:59:01.000005");
    let long: Duration = evaluate(client, "datetime.timedelta(days=2, microseconds=7)").await;
    assert_eq!(long, Duration::new(172_800, 7_000));
    let back: TimeDelta = evaluate(client, "datetime.timedelta(microseconds=-1)").await;
    assert_eq!(back, TimeDelta::microseconds(-1));
    let ordered = "collections.OrderedDict(b=1, a=collections.defaultdict(int, x=2))";
    let ordered: IndexMap<String, Value> = evaluate(client, ordered).await;
    assert_eq!(ordered.keys().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(json!(ordered), json!({"b": 1, "a": {"x": 2}}));
    let counted: BTreeMap<char, u8> = evaluate(client, "collections.Counter('aab')").await;
    assert_eq!(counted, [('a', 2), ('b', 1)].into());
    assert_eq!(evaluate::<Range<u8>>(client, "range(3, 9)").await, 3..9);
    assert_eq!(evaluate::<Vec<i8>>(client, "range(3, -3, -2)").await, [3, 1, -1]);
    assert_eq!(evaluate::<Vec<f32>>(client, "array.array('f', [1, .5])").await, [1.0, 0.5]);
    assert_eq!(evaluate::<[i64; 2]>(client, "array.array('q', [-1, 5])").await, [-1, 5]);
    assert_eq!(evaluate::<Bytes>(client, "bytearray(b'ab')").await, "ab");
    assert_eq!(evaluate::<Bytes>(client, "bytes(memoryview(b'abc')[1:])").await, "bc");
    assert_eq!(evaluate::<BTreeSet<u8>>(client, "{1, 2, 1}").await, [1, 2].into());
    assert_eq!(evaluate::<BTreeSet<u8>>(client, "frozenset([1])").await, [1].into());
    assert_eq!(evaluate::<(f64, f64)>(client, "complex(1, -2)").await, (1.0, -2.0));
    assert_eq!(evaluate::<i128>(client, "-2**127").await, i128::MIN);
    assert_eq!(evaluate::<u128>(client, "2**128 - 1").await, u128::MAX);
    assert_eq!(evaluate::<String>(client, "Color.RED.value").await, "red");
    scalars_of_numpy(client).await;
    client.shutdown().await;
}

async fn scalars_of_numpy(client: &Client) {
    assert_eq!(evaluate::<i8>(client, "numpy.int8(-5)").await, -5);
    assert_eq!(evaluate::<u64>(client, "numpy.uint64(2**64 - 1)").await, u64::MAX);
    assert_eq!(evaluate::<i64>(client, "numpy.int64(-2**63)").await, i64::MIN);
    assert_eq!(evaluate::<f32>(client, "numpy.float32(0.1)").await, 0.1);
    assert_eq!(evaluate::<f64>(client, "numpy.float64(0.1)").await, 0.1);
    assert_eq!(evaluate::<f32>(client, "numpy.float16(-1.5)").await, -1.5);
    assert_eq!(evaluate::<Option<bool>>(client, "numpy.bool_(True)").await, Some(true));
    assert_eq!(evaluate::<String>(client, "numpy.str_('größe')").await, "größe");
    assert_eq!(evaluate::<(f64, f64)>(client, "numpy.complex64(1+2j)").await, (1.0, 2.0));
    let mixed: Value = evaluate(client, "{'a': [numpy.int32(1), numpy.str_('b')]}").await;
    assert_eq!(mixed, json!({"a": [1, "b"]}));
}

async fn what_only_python_has_is_refused_with_advice(place: Place) {
    let client = place.client().await;
    let refused = async |code: &str, words: &[&str]| {
        let function = python::<(String,), Value>("only_workers:evaluate");
        let error = client.submit(function, code.to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{code}: {error}");
        let said = error.to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{code}: {said}");
    };
    refused("[Color.RED]", &["only_workers.Color", "`.value` of an enum", "at `[0]`"]).await;
    refused("pathlib.Path('a')", &["send `str(x)`"]).await;
    refused("fractions.Fraction(1, 3)", &["fractions.Fraction", "send `str(x)`"]).await;
    refused("numpy.array([1, None])", &["of objects", "`.tolist()`"]).await;
    refused("numpy.array(['a'])", &["of text", "`.tolist()`"]).await;
    let fortran = "numpy.asfortranarray([[1, 2], [3, 4]])";
    refused(fortran, &["Fortran", "`numpy.ascontiguousarray(x)`"]).await;
    refused("numpy.datetime64('2026-11-30')", &["of times", "`.item()`"]).await;
    refused("numpy.longdouble(1)", &["64 bits", "`.astype(\"float64\")`"]).await;
    refused("numpy.zeros(2, [('a', 'i4')])", &["fields", "`.tolist()`"]).await;
    refused("numpy.ma.array([1])", &["numpy.ma", "`numpy.asarray(x)`"]).await;
    let zoned = "datetime.datetime(2026, 1, 1, tzinfo=__import__('zoneinfo').ZoneInfo('UTC'))";
    refused(zoned, &["time zone", "`.astimezone(datetime.timezone.utc)`"]).await;
    refused("2**200", &["beyond 128 bits", "text"]).await;
    let function = python::<(String,), f64>("only_workers:evaluate");
    let error = client.submit(function, "decimal.Decimal(1)".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("send `float(x)`"), "{error}");
    client.shutdown().await;
}

/// As a type of ours says that it is an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "$outboard::Array")]
pub(crate) struct Array(pub(crate) Numbers);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    dtype: String,
    shape: Vec<u64>,
    pub(crate) data: Bytes,
}

fn array(dtype: &str, shape: &[u64], data: &[u8]) -> Array {
    Array(Numbers { dtype: dtype.into(), shape: shape.into(), data: data.to_vec().into() })
}

async fn arrays_of_numbers_go_both_ways(place: Place) {
    let client = &place.client().await;
    let describe = python::<(Array,), String>("only_workers:describe");
    let echo = python::<(Array,), Array>("only_workers:echo");
    for (sent, said) in [
        (array("|u1", &[2, 3], &[1, 2, 3, 4, 5, 6]), "|u1 (2, 3) True [[1, 2, 3], [4, 5, 6]]"),
        (array("<i2", &[2], &[1, 0, 255, 255]), "<i2 (2,) True [1, -1]"),
        (array("<f8", &[1, 1], &2.5_f64.to_le_bytes()), "<f8 (1, 1) True [[2.5]]"),
        (array("<f4", &[0, 5], &[]), "<f4 (0, 5) True []"),
        (array("<f4", &[], &1.5_f32.to_le_bytes()), "<f4 () True 1.5"),
        (array("|V3", &[2], b"abcdef"), "|V3 (2,) True [b'abc', b'def']"),
    ] {
        assert_eq!(client.submit(describe, sent.clone()).await.unwrap(), said);
        assert_eq!(client.submit(echo, sent.clone()).await.unwrap(), sent);
    }
    // Other forms of the same numbers.
    let two: Array = evaluate(client, "numpy.arange(4, dtype='>u2')[::2]").await;
    assert_eq!(two, array("<u2", &[2], &[0, 0, 2, 0]));
    let machine: Array = evaluate(client, "array.array('h', [1, -1])").await;
    assert_eq!(machine, array("<i2", &[2], &[1, 0, 255, 255]));
    let scalar: Array = evaluate(client, "numpy.int16(-1)").await;
    assert_eq!(scalar, array("<i2", &[], &[255, 255]));
    let rows: Vec<Vec<f64>> = evaluate(client, "numpy.arange(6.).reshape(3, 2)").await;
    assert_eq!(rows, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
    let flags: Vec<bool> = evaluate(client, "numpy.array([1, 0], bool)").await;
    assert_eq!(flags, [true, false]);
    let image: Bytes = evaluate(client, "numpy.full(2_000_000, 7, 'u1')").await;
    assert_eq!(image, vec![7; 2_000_000]);
    let many: Vec<u8> = evaluate(client, "numpy.full(2_000_000, 7, 'u1')").await;
    assert_eq!(many, vec![7; 2_000_000]);
    client.shutdown().await;
}
