//! Measures the codecs that the library could use, on values as tasks have
//! them: `cargo run -p benches --profile dist --bin codecs`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Small {
    id: u64,
    name: String,
    ratio: f64,
    flags: [bool; 4],
    tag: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Circle { x: f32, y: f32, radius: f32 },
    Label(String),
    Path(Vec<(i32, i32)>),
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Grid {
    width: u32,
    height: u32,
    cells: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Blob {
    name: String,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flattened {
    id: u64,
    #[serde(flatten)]
    rest: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    second: u64,
}

/// A codec, as the library would use it.
trait Codec {
    const NAME: &'static str;
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String>;
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String>;
}

struct Postcard;
struct Bincode<Form>(PhantomData<Form>);
struct Fixed;
struct Varint;
struct Bitcode;
struct MessagePack;
struct Cbor;
struct Ours;

impl Codec for Ours {
    const NAME: &'static str = "outboard's";
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        outboard::__private::write_to(value, out).map_err(|error| error.to_string())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        outboard::__private::read_from(bytes).map_err(|error| error.to_string())
    }
}

impl Codec for Cbor {
    const NAME: &'static str = "ciborium 0.2";
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        ciborium::into_writer(value, out).map_err(|error| error.to_string())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        ciborium::from_reader(bytes).map_err(|error| error.to_string())
    }
}

impl Codec for Postcard {
    const NAME: &'static str = "postcard 1";
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        let taken = std::mem::take(out);
        *out = postcard::to_extend(value, taken).map_err(|error| error.to_string())?;
        Ok(())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        postcard::from_bytes(bytes).map_err(|error| error.to_string())
    }
}

impl<C: BincodeForm> Codec for Bincode<C> {
    const NAME: &'static str = C::NAME;
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        bincode::serde::encode_into_std_write(value, out, C::config())
            .map(drop)
            .map_err(|error| error.to_string())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        bincode::serde::decode_from_slice(bytes, C::config())
            .map(|(value, _)| value)
            .map_err(|error| error.to_string())
    }
}

/// How bincode writes numbers.
trait BincodeForm {
    const NAME: &'static str;
    fn config() -> impl bincode::config::Config;
}

impl BincodeForm for Fixed {
    const NAME: &'static str = "bincode 2, fixed";
    fn config() -> impl bincode::config::Config {
        bincode::config::legacy()
    }
}

impl BincodeForm for Varint {
    const NAME: &'static str = "bincode 2, varint";
    fn config() -> impl bincode::config::Config {
        bincode::config::standard()
    }
}

impl Codec for Bitcode {
    const NAME: &'static str = "bitcode 0.6 (serde)";
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        // It has no form that appends.
        out.extend_from_slice(&bitcode::serialize(value).map_err(|error| error.to_string())?);
        Ok(())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        bitcode::deserialize(bytes).map_err(|error| error.to_string())
    }
}

impl Codec for MessagePack {
    const NAME: &'static str = "rmp-serde 1 (named)";
    fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        rmp_serde::encode::write_named(out, value).map_err(|error| error.to_string())
    }
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// The median of encode and of decode, and the size.
fn measure<C: Codec, T: Serialize + DeserializeOwned>(value: &T) -> (Duration, Duration, usize) {
    let mut out = Vec::new();
    C::encode(value, &mut out).expect("it can be encoded");
    let bytes = out.len();
    let inner = (20_000 / bytes.max(1)).max(1) as u32;
    let (mut encode, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let start = Instant::now();
        for _ in 0..inner {
            out.clear();
            C::encode(black_box(value), &mut out).expect("it could be before");
            black_box(&out);
        }
        encode.push(start.elapsed() / inner);
        let start = Instant::now();
        for _ in 0..inner {
            black_box(C::decode::<T>(black_box(&out)).expect("it was encoded"));
        }
        decode.push(start.elapsed() / inner);
    }
    encode.sort();
    decode.sort();
    (encode[encode.len() / 2], decode[decode.len() / 2], bytes)
}

/// Whether a value comes back as it was.
fn travels<C: Codec, T: Serialize + DeserializeOwned + PartialEq + Debug>(
    value: &T,
) -> &'static str {
    let journey = || {
        let mut out = Vec::new();
        C::encode(value, &mut out).and_then(|()| C::decode::<T>(&out))
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(journey)) {
        Ok(Ok(back)) if back == *value => "yes",
        Ok(Ok(_)) => "WRONG VALUE",
        Ok(Err(_)) => "error",
        Err(_) => "PANIC",
    }
}

fn rows<C: Codec>() {
    let small = Small { id: 7, name: "a name".into(), ratio: 0.5, flags: [true; 4], tag: Some(9) };
    let shapes: Vec<Shape> = (0..250)
        .flat_map(|n| {
            let near = n as f32;
            [
                Shape::Circle { x: near, y: near + 1.0, radius: 2.0 },
                Shape::Label(format!("label {n}")),
                Shape::Path((0..8).map(|k| (n * k, n - k)).collect()),
                Shape::Nothing,
            ]
        })
        .collect();
    let cells = (0..131_072).map(|n| f64::from(n).sqrt()).collect();
    let grid = Grid { width: 512, height: 256, cells };
    let text: Vec<String> =
        (0..4_000).map(|n| format!("line {n} of a text of some length")).collect();
    let maps: BTreeMap<String, BTreeMap<u32, Vec<i64>>> = (0..100)
        .map(|n| {
            let inner = (0..20).map(|k| (k, (0..5).map(|x| i64::from(x * k - n)).collect()));
            (format!("key {n}"), inner.collect())
        })
        .collect();
    let floats: Vec<f32> = (0..262_144).map(|n| (n as f32).sqrt()).collect();
    let blob = Blob { name: "blob".into(), bytes: vec![7; 1 << 20] };
    let plain = Plain { bytes: vec![7; 1 << 20] };
    println!("\n{}", C::NAME);
    let show = |what: &str, (encode, decode, bytes): (Duration, Duration, usize)| {
        println!("  {what:28} encode {encode:>10.2?}  decode {decode:>10.2?}  {bytes:>9} bytes");
    };
    show("u64", measure::<C, _>(&7_u64));
    show("small struct", measure::<C, _>(&small));
    show("1,000 enums", measure::<C, _>(&shapes));
    show("struct with 1 MiB of f64", measure::<C, _>(&grid));
    show("1 MiB of Vec<f32>", measure::<C, _>(&floats));
    show("4,000 strings", measure::<C, _>(&text));
    show("nested maps", measure::<C, _>(&maps));
    show("1 MiB of serde_bytes", measure::<C, _>(&blob));
    show("1 MiB of Vec<u8>", measure::<C, _>(&plain));
    let rest = BTreeMap::from([("a".to_owned(), 1)]);
    println!(
        "  flatten {}, untagged {}, json value {}, skip_serializing_if {}, Some(None) {}",
        travels::<C, _>(&Flattened { id: 1, rest }),
        travels::<C, _>(&Untagged::Text("x".into())),
        travels::<C, _>(&serde_json::json!({"a": [1, null, "b"]})),
        travels::<C, _>(&Skipping { first: None, second: 2 }),
        travels::<C, _>(&(Some(None::<u8>), Some(()))),
    );
}

fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    rows::<Ours>();
    rows::<Postcard>();
    rows::<Bincode<Fixed>>();
    rows::<Bincode<Varint>>();
    rows::<Bitcode>();
    rows::<MessagePack>();
    rows::<Cbor>();
    let (big, mut copy) = (vec![7_u8; 1 << 20], Vec::with_capacity(1 << 20));
    let mut times = [Duration::ZERO; 61];
    for time in &mut times {
        let start = Instant::now();
        copy.clear();
        copy.extend_from_slice(black_box(&big));
        black_box(&copy);
        *time = start.elapsed();
    }
    times.sort();
    println!("\nmemcpy of 1 MiB, warm: {:.2?}", times[30]);
}
