//! Functions of Python, called from Rust: values both ways, errors, options.

use std::collections::BTreeMap;

use outboard::{ErrorKind, gather, python};
use serde::{Deserialize, Serialize};

use super::{Place, everywhere};

everywhere!(
    a_function_gives_its_value,
    values_go_there_and_come_back,
    an_exception_is_an_error_with_class_message_and_lines,
    what_is_no_value_of_rust_is_a_codec_error,
    many_are_submitted_at_once,
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mixed {
    numbers: Vec<u8>,
    name: String,
    pair: (f64, Option<u8>),
    yes: bool,
}

async fn a_function_gives_its_value(place: Place) {
    let client = place.client().await;
    let factorial = python::<(u64,), u64>("math:factorial");
    assert_eq!(client.submit(factorial, 20).await.unwrap(), 2_432_902_008_176_640_000);
    let join = python::<(String, String), String>("os.path:join");
    assert_eq!(client.submit(join, ("a".into(), "b".into())).await.unwrap(), "a/b");
    let pid = python::<(), u32>("os:getpid");
    assert_ne!(client.submit(pid, ()).await.unwrap(), std::process::id());
    client.shutdown().await;
}

async fn values_go_there_and_come_back(place: Place) {
    let client = place.client().await;
    let mixed = python::<(), Mixed>("only_workers:mixed");
    let value = client.submit(mixed, ()).await.unwrap();
    let (numbers, name) = (vec![1, 2, 3], "é".to_owned());
    assert_eq!(value, Mixed { numbers, name, pair: (1.5, None), yes: true });
    let echo = python::<(Mixed,), Mixed>("only_workers:echo");
    assert_eq!(client.submit(echo, value.clone()).await.unwrap(), value);
    type Table = BTreeMap<String, (i64, u64, f64)>;
    let table: Table = [("a".to_owned(), (i64::MIN, u64::MAX, -0.5))].into();
    let echo = python::<(Table,), Table>("only_workers:echo");
    assert_eq!(client.submit(echo, table.clone()).await.unwrap(), table);
    let large = python::<(usize,), serde_bytes::ByteBuf>("only_workers:large");
    assert_eq!(client.submit(large, 10_000_000).await.unwrap().len(), 10_000_000);
    client.shutdown().await;
}

async fn an_exception_is_an_error_with_class_message_and_lines(place: Place) {
    let client = place.client().await;
    let divide = python::<(i64, i64), f64>("only_workers:divide");
    let error = client.submit(divide, (1, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Raised);
    let exception = error.exception().unwrap();
    assert_eq!(exception.class, "ZeroDivisionError");
    assert_eq!(exception.message, "division by zero");
    let line = exception.traceback.last().unwrap();
    assert!(line.contains("only_workers.py:") && line.ends_with(": divide"), "{exception:?}");
    let fail = python::<(u8,), ()>("only_workers:fail");
    let error = client.submit(fail, 7).await.unwrap_err();
    assert_eq!(error.to_string(), "task raised only_workers.CustomError: (7, 'on purpose')");
    let missing = python::<(), ()>("no_such_module:f");
    let error = client.submit(missing, ()).await.unwrap_err();
    assert_eq!(error.exception().unwrap().class, "ModuleNotFoundError", "{error}");
    client.shutdown().await;
}

async fn what_is_no_value_of_rust_is_a_codec_error(place: Place) {
    let client = place.client().await;
    let huge = python::<(), u64>("only_workers:huge");
    let error = client.submit(huge, ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("beyond 64 bits"), "{source}");
    let unpicklable = python::<(), u64>("only_workers:unpicklable");
    assert_eq!(client.submit(unpicklable, ()).await.unwrap_err().kind(), ErrorKind::Raised);
    client.shutdown().await;
}

async fn many_are_submitted_at_once(place: Place) {
    let client = place.client().await;
    let negate = python::<(i64,), i64>("operator:neg");
    let results = gather((0..300).map(|n| client.submit(negate, n))).await.unwrap();
    assert_eq!(results, (0..300).map(|n: i64| -n).collect::<Vec<_>>());
    client.shutdown().await;
}
