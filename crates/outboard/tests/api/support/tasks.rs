//! Task functions under a test's control.

use std::path::PathBuf;
use std::time::Duration;

use super::scratch::{is_held, note, start};

/// Says that it started, and waits until it is released.
#[outboard::task]
pub(crate) fn hold(at: PathBuf) -> u32 {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

/// Sleeps for so long.
#[outboard::task]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// As `hold`, with a process that it has started and does not end.
#[outboard::task]
#[expect(clippy::zombie_processes, reason = "it is to outlive the task")]
pub(crate) fn hold_with_a_child(at: PathBuf) {
    let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    note(&at, "children", &child.id().to_string());
    hold(at);
}

/// As `hold`, with a core busy; notes a tick now and then.
#[outboard::task]
pub(crate) fn spin(at: PathBuf) {
    start(&at);
    while is_held(&at) {
        (0..100_000).for_each(|n| {
            std::hint::black_box(n);
        });
        note(&at, "ticks", "");
    }
}

/// Notes a line, and gives the process that did.
#[outboard::task]
pub(crate) fn write(at: PathBuf, line: String) -> u32 {
    note(&at, "lines", &line);
    std::process::id()
}

/// Panics the first so many times, each after a while.
#[outboard::task]
pub(crate) fn panics_before(at: PathBuf, times: usize) -> usize {
    start(&at);
    std::thread::sleep(Duration::from_millis(20));
    let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
    assert!(starts > times, "start {starts} of {times} that panic");
    starts
}

/// Takes its worker down the first so many times.
#[outboard::task]
pub(crate) fn aborts_before(at: PathBuf, times: usize) -> usize {
    start(&at);
    let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
    if starts <= times {
        std::process::abort();
    }
    starts
}

/// The process that runs it.
#[outboard::task]
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// Panics with a message.
#[outboard::task]
pub(crate) fn fail(message: String) {
    panic!("{message}");
}

/// What it was given.
#[outboard::task]
pub(crate) fn same(x: u64) -> u64 {
    x
}

/// The byte that it was given.
#[outboard::task]
pub(crate) fn same_byte(x: u8) -> u8 {
    x
}

/// The bytes that it was given.
#[outboard::task]
pub(crate) fn same_bytes(x: Vec<u8>) -> Vec<u8> {
    x
}

/// The text that it was given.
#[outboard::task]
pub(crate) fn same_text(x: String) -> String {
    x
}

/// The float that it was given.
#[outboard::task]
pub(crate) fn same_float(x: f64) -> f64 {
    x
}

/// Nothing, of nothing.
#[outboard::task]
pub(crate) fn nothing() {}

/// One more.
#[outboard::task]
pub(crate) fn next(x: u64) -> u64 {
    x + 1
}

/// Two more.
#[outboard::task]
pub(crate) fn next_but_one(x: u64) -> u64 {
    x + 2
}

/// Twice as much.
#[outboard::task]
pub(crate) fn double(x: u64) -> u64 {
    2 * x
}

/// The sum.
#[outboard::task]
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// How many bytes they are.
#[outboard::task]
pub(crate) fn length(x: Vec<u8>) -> usize {
    x.len()
}

/// So many bytes.
#[outboard::task]
pub(crate) fn zeros(n: usize) -> Vec<u8> {
    vec![0; n]
}

/// One byte more.
#[outboard::task]
pub(crate) fn longer(x: Vec<u8>) -> Vec<u8> {
    [x, vec![7]].concat()
}

/// One, wherever.
#[outboard::task]
pub(crate) fn one(_: PathBuf) -> u32 {
    1
}
