//! 1: a task's result is exactly `f(args)`, or one typed error.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use outboard::{Client, ErrorKind, TaskFunction, gather};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Engine, Promise, named, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{fail, hold, pid, same_byte, same_bytes, same_float, write};

on_every_engine! {
    a_submit_starts_at_once,
    a_result_is_exactly_what_the_function_returns,
    functions_take_zero_to_eight_arguments,
    async_functions_give_their_output,
    a_tasks_own_error_is_its_output,
    large_payloads_arrive_whole,
    results_come_back_to_their_own_futures,
    a_panic_fails_its_task_alone,
    a_panic_may_carry_anything,
    what_cannot_be_encoded_is_a_codec_error,
    what_cannot_be_decoded_is_a_codec_error,
    functions_without_a_name_are_told_apart,
}

/// Submits, and compares with calling the function here.
async fn same<F, M>(client: &Client, f: F, args: F::Args, expected: F::Output)
where
    F: TaskFunction<M>,
    F::Output: PartialEq + Debug,
{
    assert_eq!(client.submit(f, args).await.unwrap(), expected);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u128,
    lines: Vec<Line>,
    notes: BTreeMap<String, Option<char>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Line {
    Item { name: String, grams: f32 },
    Discount(i128),
    Nothing,
}

fn order() -> Order {
    Order {
        id: u128::MAX,
        lines: vec![
            Line::Item { name: "Åpfel 🍎\0\"".into(), grams: 0.1 },
            Line::Discount(i128::MIN),
            Line::Nothing,
        ],
        notes: BTreeMap::from([(String::new(), None), ("x".into(), Some('🦀'))]),
    }
}

async fn a_result_is_exactly_what_the_function_returns(engine: Engine) {
    let client = engine.client("workers=2").await;
    same(&client, named!("contract.1", || -> () {}), (), ()).await;
    same(&client, named!("contract.2", |x: bool| -> bool { !x }), true, false).await;
    same(&client, named!("contract.3", |x: Option<u64>| -> Option<u64> { x }), None, None).await;
    same(
        &client,
        named!("contract.4", |x: Option<Option<u64>>| -> Option<Option<u64>> { x }),
        Some(None),
        Some(None),
    )
    .await;
    same(
        &client,
        named!("contract.5", |x: String| -> String { x }),
        "naïve 🦀\0".into(),
        "naïve 🦀\0".into(),
    )
    .await;
    let bytes: Vec<u8> = (0..=255).collect();
    same(&client, same_bytes, bytes.clone(), bytes).await;
    same(&client, same_bytes, vec![], vec![]).await;
    same(&client, named!("contract.6", |x: u128| -> u128 { x - 1 }), u128::MAX, u128::MAX - 1)
        .await;
    same(&client, named!("contract.7", |x: i128| -> i128 { x }), i128::MIN, i128::MIN).await;
    same(&client, named!("contract.8", |x: char| -> char { x }), '\u{10FFFF}', '\u{10FFFF}').await;
    same(&client, named!("contract.9", |x: Order| -> Order { x }), order(), order()).await;
    let quiet_nan = f64::from_bits(0x7ff8_0000_dead_beef);
    for value in [quiet_nan, -0.0, f64::MIN_POSITIVE / 2.0, f64::NEG_INFINITY] {
        let back = client.submit(same_float, value).await.unwrap();
        assert_eq!(back.to_bits(), value.to_bits());
    }
}

#[outboard::task]
#[expect(clippy::too_many_arguments, reason = "as many as a task can take")]
fn eight(a: u8, b: u16, c: u32, d: u64, e: i8, f: String, g: char, h: Vec<u8>) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g} {h:?}")
}

async fn functions_take_zero_to_eight_arguments(engine: Engine) {
    let client = engine.client("workers=2").await;
    same(&client, named!("contract.10", || -> u8 { 7 }), (), 7).await;
    same(&client, same_byte, 1, 1).await;
    same(&client, named!("contract.11", |a: (u8, u8)| -> (u8, u8) { a }), (1, 2), (1, 2)).await;
    same(&client, named!("contract.12", |a: u8, b: u8| -> [u8; 2] { [a, b] }), (1, 2), [1, 2])
        .await;
    same(
        &client,
        named!("contract.13", |a: u8, b: u8, c: u8| -> [u8; 3] { [a, b, c] }),
        (1, 2, 3),
        [1, 2, 3],
    )
    .await;
    same(
        &client,
        named!("contract.14", |a: u8, b: u8, c: u8, d: u8| -> [u8; 4] { [a, b, c, d] }),
        (1, 2, 3, 4),
        [1, 2, 3, 4],
    )
    .await;
    let five =
        named!("contract.15", |a: u8, b: u8, c: u8, d: u8, e: u8| -> [u8; 5] { [a, b, c, d, e] });
    same(&client, five, (1, 2, 3, 4, 5), [1, 2, 3, 4, 5]).await;
    let six = named!("contract.16", |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8| -> [u8; 6] {
        [a, b, c, d, e, f]
    });
    same(&client, six, (1, 2, 3, 4, 5, 6), [1, 2, 3, 4, 5, 6]).await;
    let seven =
        named!("contract.17", |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8| -> [u8; 7] {
            [a, b, c, d, e, f, g]
        });
    same(&client, seven, (1, 2, 3, 4, 5, 6, 7), [1, 2, 3, 4, 5, 6, 7]).await;
    let args = (1, 2, 3, 4, -5, "six".to_owned(), '7', vec![8]);
    same(&client, eight, args, "1 2 3 4 -5 six 7 [8]".into()).await;
}

#[outboard::task]
async fn later(text: String) -> Result<String, u8> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        sender.send(text + "!")
    });
    receiver.await.map_err(|_| 1)
}

async fn async_functions_give_their_output(engine: Engine) {
    let client = engine.client("workers=1").await;
    same(&client, later, "soon".into(), Ok("soon!".into())).await;
    same(&client, later, "again".into(), Ok("again!".into())).await;
}

fn identity<T>(value: T) -> T {
    value
}

async fn functions_without_a_name_are_told_apart(engine: Engine) {
    let client = engine.client("workers=1").await;
    if !engine.promises(Promise::RunsUnnamed) {
        let error = client.submit(|x: u64| x + 1, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownTask);
        assert!(error.to_string().contains("#[task]"), "{error}");
        return;
    }
    same(&client, |x: u64| x + 1, 1, 2).await;
    same(&client, |y: u64| y + 1, 1, 2).await;
    same(&client, |x: u64| x * 3, 2, 6).await;
    same(&client, |x: u64| async move { x + 1 }, 1, 2).await;
    same(&client, identity::<u64>, 5, 5).await;
    same(&client, identity::<String>, "s".into(), "s".into()).await;
}

async fn a_tasks_own_error_is_its_output(engine: Engine) {
    let client = engine.client("workers=1").await;
    let parse = named!("contract.18", |text: String| -> Result<u8, String> {
        text.parse::<u8>().map_err(|error| error.to_string())
    });
    assert_eq!(client.submit(parse, "7".to_owned()).await.unwrap(), Ok(7));
    let own = client.submit(parse, "300".to_owned()).await.unwrap().unwrap_err();
    assert!(own.contains("too large"), "{own}");
}

async fn large_payloads_arrive_whole(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scrambled = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
    let bytes: Vec<u8> = (0..20_000_000).map(scrambled).collect();
    let futures = [bytes.clone(), bytes.clone()].map(|sent| {
        client.submit(
            named!("contract.19", |x: Vec<u8>| -> Vec<u8> {
                x.into_iter().map(|byte| !byte).collect()
            }),
            sent,
        )
    });
    for back in gather(futures).await.unwrap() {
        assert!(back.len() == bytes.len() && back.iter().zip(&bytes).all(|(a, b)| *a == !b));
    }
}

async fn results_come_back_to_their_own_futures(engine: Engine) {
    let client = engine.client("workers=3").await;
    let square = named!("contract.20", |n: u64| -> (u64, String, u64) {
        (n, "x".repeat(n as usize % 300), n * n)
    });
    let futures: Vec<_> = (0..1_000).map(|n: u64| client.submit(square, n)).collect();
    for (n, future) in (0..).zip(futures) {
        assert_eq!(future.await.unwrap(), (n, "x".repeat(n as usize % 300), n * n));
    }
}

async fn a_submit_starts_at_once(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let futures = [(); 2].map(|()| client.submit(hold, scratch.path()));
    scratch.started(2).await;
    scratch.release();
    for future in futures {
        future.await.unwrap();
    }
}

#[outboard::task]
fn divide(a: u64, b: u64) -> u64 {
    a / b
}

async fn a_panic_fails_its_task_alone(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (before, bad, after) =
        (client.submit(divide, (8, 2)), client.submit(divide, (1, 0)), client.submit(pid, ()));
    let worker = before.with_report().await.unwrap().1.worker;
    let error = bad.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "attempt to divide by zero");
    let here = panic.location.split_once("results.rs:").map(|(_, place)| place);
    let line = here.and_then(|place| place.split(':').next()?.parse::<u32>().ok());
    assert!(line.is_some_and(|line| line > 1), "{}", panic.location);
    assert!(panic.backtrace.contains("divide"), "{}", panic.backtrace);
    assert!(error.to_string().contains("attempt to divide by zero"), "{error}");
    let (first, report) = after.with_report().await.unwrap();
    assert_eq!(report.worker, worker);
    assert_eq!(client.submit(pid, ()).await.unwrap(), first, "the worker lives on");
}

#[outboard::task]
async fn late_division(x: u64) -> u64 {
    tokio::task::yield_now().await;
    10 / x
}

async fn a_panic_may_carry_anything(engine: Engine) {
    let client = engine.client("workers=1").await;
    let error = client
        .submit(named!("contract.21", || -> u8 { std::panic::panic_any(7_u8) }), ())
        .await
        .unwrap_err();
    assert!(error.panic().is_some_and(|panic| !panic.message.is_empty()), "{error}");
    let long = client.submit(fail, "é".repeat(1 << 20)).await.unwrap_err();
    let message = &long.panic().unwrap().message;
    assert!(message.starts_with("éé") && message.len() < 1 << 20, "{}", message.len());
    let late = late_division;
    assert!(client.submit(late, 0).await.unwrap_err().is_panicked());
    assert_eq!(client.submit(late, 5).await.unwrap(), 2, "the runtime of async tasks lives on");
    let quiet = client
        .submit(
            named!("contract.22", || -> u8 { std::panic::resume_unwind(Box::new("quiet")) }),
            (),
        )
        .await;
    assert_eq!(quiet.unwrap_err().panic().unwrap().message, "quiet");
}

fn not_text() -> PathBuf {
    OsStr::from_bytes(&[0xff, 0xfe]).into()
}

async fn what_cannot_be_encoded_is_a_codec_error(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let args = client.submit(write, (not_text(), "never".into()));
    assert!(args.is_finished(), "it was never sent");
    let result = client.submit(
        named!("contract.23", || -> PathBuf { PathBuf::from(OsStr::from_bytes(&[0xff])) }),
        (),
    );
    for error in [args.await.unwrap_err(), result.await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().starts_with("could not encode"), "{error}");
        assert!(error.source().is_some());
    }
    client.submit(write, (scratch.path(), "the worker lives on".into())).await.unwrap();
}

/// Can be sent, but not received.
#[derive(Debug, Serialize)]
struct OneWay;

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a one-way value"))
    }
}

async fn what_cannot_be_decoded_is_a_codec_error(engine: Engine) {
    let client = engine.client("workers=1").await;
    let args =
        client.submit(named!("contract.24", |_one: OneWay| -> () {}), OneWay).await.unwrap_err();
    let result =
        client.submit(named!("contract.25", || -> OneWay { OneWay }), ()).await.unwrap_err();
    for error in [args, result] {
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("OneWay"), "{error}");
        assert!(error.source().is_some());
    }
    assert_eq!(client.submit(same_byte, 1).await.unwrap(), 1);
}
