//! What crosses the socket between server and a worker that is Python: the same frames. Their
//! messages have a fixed layout, which `struct` takes apart in one call.
//!
//! The other side is `local/worker/python.py`. A message is a head, then whatever has no fixed
//! length. All numbers are little endian:
//!
//! ```text
//! to Python    u8 kind, u8 streams, u16 length of the name, u32 number of the function, u64 number of the task,
//!              u32 tasks of the call that follow, u32 slot and 1; or u64
//! from Python  u8 kind, u8 level, u16 tasks of the call, u32, u64 number of the task, u64, u64
//! ```
//!
//! A worker is sent one task at a time, or all of one batch. Each item of a stream is a frame of
//! its own. A stream whose window is full [waits](FromPython::Waits) for a credit, which is sent
//! once for that.

use super::{FromWorker, Place, WireError};
use crate::error::{Exception, Oversized, Step};
use crate::task::batch::wrong_number;
use crate::task::outcome::{Failure, Said, Usage};
use crate::task::progress::Noted;

const RUN: u8 = 1;
const CREDIT: u8 = 2;

const HELLO: u8 = 1;
const READY: u8 = 2;
const DONE: u8 = 3;
const RAISED: u8 = 4;
const TOO_LARGE: u8 = 5;
const ITEM: u8 = 6;
const WAITS: u8 = 7;
const SAID: u8 = 8;
const PROGRESS: u8 = 9;
const MISCOUNTED: u8 = 10;

/// Beside a result that is a file: its size follows.
const IN_FILE: u8 = 1;

/// How many bytes the head of a message from Python has.
const HEAD: usize = 32;

/// A call of a function of Python.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) seq: u64,
    pub(crate) name: &'a str,
    /// That of the function, which a worker that has called it before knows it by.
    pub(crate) number: u32,
    pub(crate) streams: bool,
    /// How many more come next that are for the same call.
    pub(crate) rest: u32,
    /// The worker's slot in its pool.
    pub(crate) slot: Option<u32>,
}

impl Call<'_> {
    /// Appends its frame up to its arguments, whose bytes have to follow.
    pub(crate) fn append_head(&self, out: &mut Vec<u8>, args_bytes: usize) {
        let name = &self.name.as_bytes()[..self.name.len().min(u16::MAX.into())];
        let length = 24 + name.len() + args_bytes;
        out.extend_from_slice(&frame_length(length));
        out.extend_from_slice(&[RUN, self.streams.into()]);
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.rest.to_le_bytes());
        out.extend_from_slice(&numbered(self.slot).to_le_bytes());
        out.extend_from_slice(name);
    }
}

/// A slot as it is told: the first is 1, and 0 is none.
pub(crate) fn numbered(slot: Option<u32>) -> u32 {
    slot.map_or(0, |slot| slot.saturating_add(1))
}

/// The frame that says how much the reader of a task's stream has taken in all.
pub(crate) fn credit(seq: u64, taken: u64) -> Vec<u8> {
    let mut frame = frame_length(24).to_vec();
    frame.extend_from_slice(&[CREDIT, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&seq.to_le_bytes());
    frame.extend_from_slice(&taken.to_le_bytes());
    frame
}

/// The frame by which the process greets that is about to be Python.
pub(crate) fn hello(version: u32, digest: u64) -> Vec<u8> {
    let mut frame = frame_length(HEAD).to_vec();
    frame.extend_from_slice(&[HELLO, 0, 0, 0]);
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&digest.to_le_bytes());
    frame.extend_from_slice(&[0; 8]);
    frame
}

fn frame_length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("payloads are bounded below 4 GiB").to_le_bytes()
}

/// What a worker says that is Python.
#[derive(Debug, PartialEq)]
pub(crate) enum FromPython<'a> {
    /// What any worker says; the bytes are a result.
    Like(FromWorker, &'a [u8]),
    /// It executes tasks from now on, and has used so much CPU time.
    Ready { cpu_ns: u64 },
    /// An item of its task's stream.
    Item { seq: u64, item: &'a [u8] },
    /// Its task's stream waits until more was taken than it knows of.
    Waits { seq: u64, taken: u64 },
    /// How far its task has come.
    Progress { seq: u64, noted: Noted },
}

/// Takes a message apart.
///
/// # Errors
///
/// If it is none.
pub(crate) fn decode(frame: &[u8]) -> Result<FromPython<'_>, WireError> {
    let (head, rest) = frame.split_first_chunk::<HEAD>().ok_or(WireError::NoMessage)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
    let number = u32::from_le_bytes(std::array::from_fn(|byte| head[4 + byte]));
    let (seq, first, second) = (word(8), word(16), word(24));
    let (cpu_ns, batch) = (Some(second).filter(|ns| *ns > 0), [head[2], head[3]]);
    let batch = u16::from_le_bytes(batch).into();
    let usage = Usage { run_ns: first, cpu_ns, batch, ..Usage::default() };
    let failed = |failure| FromPython::Like(FromWorker::Failed { seq, usage, failure }, &[]);
    Ok(match head[0] {
        HELLO => FromPython::Like(FromWorker::Hello { version: number, digest: first }, &[]),
        READY => FromPython::Ready { cpu_ns: second },
        DONE if head[1] == IN_FILE => {
            let [bytes] = counts(rest)?;
            FromPython::Like(FromWorker::Done { seq, usage, place: Place::File { bytes } }, &[])
        }
        DONE => FromPython::Like(FromWorker::Done { seq, usage, place: Place::Frame }, rest),
        RAISED => {
            let ([class, message], lines) = texts(rest)?;
            let traceback = lines.lines().map(str::to_owned).collect();
            failed(Failure::Raised(Exception { class, message, traceback }))
        }
        TOO_LARGE => {
            let [limit, bytes] = counts(rest)?;
            failed(Failure::TooLarge { what: Oversized::Result, bytes, limit })
        }
        MISCOUNTED => {
            let [outputs] = counts(rest)?;
            let source =
                wrong_number(usize::try_from(outputs).unwrap_or(usize::MAX), batch as usize);
            failed(Failure::Codec {
                step: Step::EncodeResult,
                subject: "the result".into(),
                source,
            })
        }
        ITEM => FromPython::Item { seq, item: rest },
        WAITS => FromPython::Waits { seq, taken: first },
        SAID => {
            let ([target, file], message) = texts(rest)?;
            let (file, line) = (Some(file).filter(|file| !file.is_empty()), first as u32);
            let (line, message) = (Some(line).filter(|line| *line > 0), message.to_owned());
            let level = head[1].clamp(1, 5);
            let said = Said { level, target, file, line, message, fields: Vec::new() };
            FromPython::Like(FromWorker::Said { seq, said }, &[])
        }
        PROGRESS => FromPython::Progress { seq, noted: Noted::new(first, second, text(rest)?) },
        _ => return Err(WireError::NoMessage),
    })
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::NoMessage)
}

/// So many numbers of eight bytes, and nothing else.
fn counts<const N: usize>(bytes: &[u8]) -> Result<[u64; N], WireError> {
    let (words, rest) = bytes.as_chunks::<8>();
    match <[[u8; 8]; N]>::try_from(words) {
        Ok(words) if rest.is_empty() => Ok(words.map(u64::from_le_bytes)),
        _ => Err(WireError::NoMessage),
    }
}

/// Two texts after their lengths, and one that takes the rest.
fn texts(bytes: &[u8]) -> Result<([String; 2], &str), WireError> {
    let mut rest = bytes;
    let mut next = || {
        let (length, others) = rest.split_first_chunk::<4>().ok_or(WireError::NoMessage)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (one, others) = others.split_at_checked(length).ok_or(WireError::NoMessage)?;
        rest = others;
        text(one).map(str::to_owned)
    };
    let both = [next()?, next()?];
    Ok((both, text(rest)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, level: u8, [seq, first, second]: [u64; 3], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, level, 0, 0, 0, 0, 0, 0];
        [seq, first, second].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_call_has_its_head_its_name_and_then_its_arguments() {
        let call = Call { seq: 7, name: "m:f", number: 2, streams: true, rest: 3, slot: Some(4) };
        let mut frame = Vec::new();
        call.append_head(&mut frame, 5);
        let expected = [
            &[32, 0, 0, 0, RUN, 1, 3, 0, 2, 0, 0, 0][..],
            &[7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0],
            b"m:f",
        ];
        assert_eq!(frame, expected.concat());
        assert_eq!(credit(7, 1).len(), 4 + 24);
        let hello = hello(3, 4);
        let greeting = FromPython::Like(FromWorker::Hello { version: 3, digest: 4 }, &[]);
        assert_eq!(decode(&hello[4..]), Ok(greeting));
    }

    #[test]
    fn a_result_is_in_its_frame_or_in_a_file() {
        let place = |level, rest: &[u8]| match decode(&message(DONE, level, [7, 5, 0], rest)) {
            Ok(FromPython::Like(FromWorker::Done { seq: 7, usage, place }, bytes)) => {
                assert_eq!((usage.run_ns, usage.cpu_ns), (5, None));
                Some((place, bytes.len()))
            }
            _ => None,
        };
        assert_eq!(place(0, b"abc"), Some((Place::Frame, 3)));
        let bytes = (8_u64 << 20).to_le_bytes();
        assert_eq!(place(IN_FILE, &bytes), Some((Place::File { bytes: 8 << 20 }, 0)));
        assert_eq!(place(IN_FILE, &bytes[1..]), None);
    }

    #[test]
    fn what_is_wrong_with_a_result_has_the_times_of_its_call() {
        let failure = |kind, batch: u16, counts: &[u64]| {
            let counts: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
            let mut frame = message(kind, 0, [7, 5, 4], &counts);
            frame[2..4].copy_from_slice(&batch.to_le_bytes());
            match decode(&frame) {
                Ok(FromPython::Like(FromWorker::Failed { seq: 7, usage, failure }, _)) => {
                    assert_eq!(
                        (usage.run_ns, usage.cpu_ns, usage.batch),
                        (5, Some(4), batch.into())
                    );
                    Some(failure)
                }
                _ => None,
            }
        };
        let (what, bytes, limit) = (Oversized::Result, 9, 8);
        assert_eq!(failure(TOO_LARGE, 0, &[8, 9]), Some(Failure::TooLarge { what, bytes, limit }));
        let Some(Failure::Codec { source, .. }) = failure(MISCOUNTED, 3, &[2]) else { panic!() };
        assert!(source.contains("returned 2 outputs for a batch of 3"), "{source}");
        assert_eq!(failure(TOO_LARGE, 0, &[8]), None);
        assert_eq!(failure(MISCOUNTED, 3, &[2, 3]), None);
    }

    #[test]
    fn an_exception_is_class_message_and_lines() {
        let texts =
            [&1_u32.to_le_bytes()[..], b"E", &2_u32.to_le_bytes(), b"no", b"a:1: f\nb:2: g"];
        let raised = message(RAISED, 0, [7, 1, 0], &texts.concat());
        let Ok(FromPython::Like(FromWorker::Failed { seq: 7, failure, .. }, _)) = decode(&raised)
        else {
            panic!()
        };
        let traceback = vec!["a:1: f".into(), "b:2: g".into()];
        let exception = Exception { class: "E".into(), message: "no".into(), traceback };
        assert_eq!(failure, Failure::Raised(exception));
        let long = message(RAISED, 0, [7, 1, 0], &u32::MAX.to_le_bytes());
        assert_eq!(decode(&long), Err(WireError::NoMessage));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn any_kind_with_any_rest_is_a_message_or_an_error(
            kind in 0..12_u8,
            words in prop::array::uniform3(any::<u64>()),
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = decode(&message(kind, 9, words, &rest));
        }
    }
}
