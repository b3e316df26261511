//! 1: values of every shape arrive as they were, as arguments and as results, or are an
//! error of their task.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt;

use outboard::{Client, Error, ErrorKind, TaskFunction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Engine, named, on_every_engine};
use crate::support::tasks::same_byte;
use crate::support::zoo::*;

on_every_engine! {
    values_of_every_shape_arrive_both_ways,
    what_cannot_travel_is_refused_before_its_task_is_sent,
    a_result_that_cannot_travel_is_an_error_of_its_task,
    deep_values_are_an_error_of_their_task,
    a_panic_of_a_type_is_an_error_of_its_task,
    an_error_says_which_argument_and_where_in_it,
}

macro_rules! there_and_back {
    ($($name:ident: $type:ty = [$($value:expr),* $(,)?];)*) => {
        mod tasks {
            use super::*;

            $(#[outboard::task]
            pub(super) fn $name(value: $type) -> $type {
                value
            })*
        }

        async fn values_of_every_shape_arrive_both_ways(engine: Engine) {
            let client = engine.client("workers=2").await;
            $(for value in Vec::<$type>::from([$($value),*]) {
                arrives(&client, tasks::$name, value).await;
            })*
        }
    };
}

zoo!(there_and_back);

async fn arrives<F, M, T>(client: &Client, f: F, value: T)
where
    F: TaskFunction<M, Args = T, Output = T>,
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug,
{
    match client.submit(f, value.clone()).await {
        Ok(back) => assert_eq!(back, value),
        Err(error) => panic!("{value:?}: {error}"),
    }
}

fn not_text() -> PathBuf {
    OsStr::from_bytes(&[0xff]).into()
}

#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    files: Vec<(u8, PathBuf)>,
}

#[outboard::task]
#[expect(clippy::boxed_local, reason = "it has no size")]
fn raw(value: Box<RawValue>) -> usize {
    value.get().len()
}

#[outboard::task]
fn upload(_: u8, upload: Upload) -> usize {
    upload.files.len()
}

async fn what_cannot_travel_is_refused_before_its_task_is_sent(engine: Engine) {
    let client = engine.client("workers=1").await;
    let raw = client.submit(raw, RawValue::from_string("{}".into()).unwrap());
    let file = client.submit(upload, (1, Upload { files: vec![(2, not_text())] }));
    assert!(raw.is_finished() && file.is_finished());
    let said = said(raw.await);
    let advice = "could not encode argument `value` (Box<RawValue>): a `RawValue` is a value only \
                  within JSON: send its text, or a `serde_json::Value`";
    assert_eq!(said, advice);
    let place = "could not encode argument `upload` (Upload): path contains invalid UTF-8 \
                 characters: send its bytes instead, at `files[0][1]`";
    assert_eq!(self::said(file.await), place);
    assert_eq!(client.submit(same_byte, 1).await.unwrap(), 1);
}

/// What an error of the codec says.
#[track_caller]
fn said<T: Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    error.to_string()
}

/// serde writes it, and cannot read it.
#[derive(Debug, Serialize, Deserialize)]
struct FlatWide {
    #[serde(flatten)]
    inner: Wide,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wide {
    wide: u128,
}

async fn a_result_that_cannot_travel_is_an_error_of_its_task(engine: Engine) {
    let client = engine.client("workers=1").await;
    let path = client
        .submit(named!("zoo.path", || -> Upload { Upload { files: vec![(1, not_text())] } }), ());
    let place = "could not encode the result (Upload): path contains invalid UTF-8 characters: \
                 send its bytes instead, at `files[0][1]`";
    assert_eq!(said(path.await), place);
    let flat = client
        .submit(named!("zoo.flat", || -> FlatWide { FlatWide { inner: Wide { wide: 1 } } }), ());
    let flat = said(flat.await);
    assert!(
        flat.starts_with("could not encode the result (FlatWide): ") && flat.contains("128"),
        "{flat}"
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    children: Vec<Node>,
}

impl Node {
    fn chain(levels: usize) -> Self {
        (0..levels).fold(Self { children: vec![] }, |inner, _| Self { children: vec![inner] })
    }
}

/// The program's own code must not recurse either.
impl Drop for Node {
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.children);
        while let Some(mut node) = left.pop() {
            left.append(&mut node.children);
        }
    }
}

async fn deep_values_are_an_error_of_their_task(engine: Engine) {
    let client = engine.client("workers=1").await;
    let depth = named!("zoo.depth", |tree: Node| -> u8 {
        let _ = tree;
        0
    });
    let nested = named!("zoo.nested", |levels: usize| -> Node { Node::chain(levels) });
    let deep = client.submit(depth, Node::chain(60_000));
    assert!(deep.is_finished(), "it was never sent");
    let (argument, result) = (said(deep.await), said(client.submit(nested, 60_000).await));
    let reason = "it is nested more than 128 levels deep, at `children[0].";
    assert!(
        argument.starts_with(&format!("could not encode argument `tree` (Node): {reason}")),
        "{argument}"
    );
    assert!(
        result.starts_with(&format!("could not encode the result (Node): {reason}")),
        "{result}"
    );
    assert!(client.scatter(Node::chain(60_000)).await.is_err());
    assert_eq!(client.submit(nested, 60).await.unwrap(), Node::chain(60));
}

/// Panics when it is encoded, or when it is decoded.
#[derive(Debug)]
struct Panics {
    encoded: bool,
}

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.encoded, "encoding it");
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("decoding it")
    }
}

async fn a_panic_of_a_type_is_an_error_of_its_task(engine: Engine) {
    let client = engine.client("workers=1").await;
    let take = named!("zoo.take", |value: (u8, Panics)| -> bool { value.1.encoded });
    let give = named!("zoo.give", |encoded: bool| -> Panics { Panics { encoded } });
    for (encoded, step) in [(true, "encode"), (false, "decode")] {
        let argument = said(client.submit(take, (1, Panics { encoded })).await);
        let panicked = format!("its code panicked: {}ing it", step.trim_end_matches('e'));
        assert_eq!(
            argument,
            format!("could not {step} argument `value` ((u8, Panics)): {panicked}")
        );
        let result = said(client.submit(give, encoded).await);
        assert_eq!(result, format!("could not {step} the result (Panics): {panicked}"));
    }
    assert_eq!(client.submit(same_byte, 1).await.unwrap(), 1);
}

/// As if its reader were of another version.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    name: String,
    #[serde(skip_serializing)]
    price: u16,
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    lines: Vec<Line>,
}

async fn an_error_says_which_argument_and_where_in_it(engine: Engine) {
    let client = engine.client("workers=1").await;
    let order = || Order { lines: vec![Line::default()] };
    let two = named!("zoo.two", |count: u8, order: Order| -> usize {
        usize::from(count) + order.lines.len()
    });
    let says = "could not decode argument `order` (Order): missing field `price`, at `lines[0]`";
    assert_eq!(said(client.submit(two, (1, order())).await), says);
    let one = named!("zoo.one", |order: Order| -> u16 { order.lines[0].price });
    assert_eq!(said(client.submit(one, order()).await), says);
    let result = named!("zoo.result", || -> Line { Line::default() });
    let says = "could not decode the result (Line): missing field `price`";
    assert_eq!(said(client.submit(result, ()).await), says);
    let error = client.submit(one, order()).await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("missing field `price`, at `lines[0]`"));
}
