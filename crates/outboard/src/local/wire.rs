//! What crosses the socket between server and worker: frames of bytes, and the
//! two enums of messages in them.
//!
//! A frame is a length (four bytes, little endian, of what follows), the message encoded
//! with postcard, and, to the frame's end, the payload: encoded arguments or an encoded
//! result. Nobody but the two ends looks into the payload. A large payload lies elsewhere,
//! and the message says where ([`Place`]). Lengths are compared with the bound before
//! anything is allocated.

pub(crate) mod python;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::execute::Panics;
use crate::task::interpreter::Python;
use crate::task::limits::WorkerLimits;
use crate::task::outcome::{Failure, Said, Usage};
use crate::task::sandbox::Sandbox;
use crate::task::version::Version;
use crate::value::message;

/// The version of this protocol; both ends are one binary, so a difference
/// means that they are not.
pub(crate) const VERSION: u32 = 10;

/// Room in a frame for the message, beside the payload.
pub(crate) const MESSAGE_ROOM: usize = 128 << 10;

/// From the server to a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message, with the shared page and the arena as descriptors beside
    /// it. `level` is that of the events that the server shows, from 0 (none) to 5.
    Welcome {
        number: u32,
        max_payload: u64,
        niceness: i32,
        level: u8,
        limits: WorkerLimits,
        sandbox: Option<Sandbox>,
        panics: Panics,
        pool: InPool,
        /// It becomes that.
        python: Option<Python>,
        /// How long it looks for its next task at most, before it sleeps for it.
        spin_ns: u64,
    },
    /// Execute a task; the payload, wherever it lies, is its arguments.
    Run(Call, Place),
    /// A scattered value that tasks from now on may refer to, as a descriptor
    /// beside this.
    Share { id: u64 },
    /// No task will refer to that value any more.
    Forget { id: u64 },
    /// What its functions on start are given, of that type; the value is a file beside this.
    Configure { of_type: String, bytes: u64 },
    /// It has that slot from now on.
    Serve { slot: u32 },
    /// The next task receives items through a socket, as a descriptor beside this.
    Feed { id: u64 },
}

/// From a worker to the server.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The process has come as far as `init`. The payload is a list of its functions
    /// ([`Listed`]), if that was asked for.
    Hello { version: u32, digest: u64 },
    /// It executes tasks from now on, on that thread: its number in the system.
    Ready { thread: u32 },
    /// A task's result is the payload.
    Done { seq: u64, usage: Usage, place: Place },
    /// A task has no result.
    Failed { seq: u64, usage: Usage, failure: Failure },
    /// A task was revoked before it started.
    Skipped { seq: u64 },
    /// The task that runs has said something.
    Said { seq: u64, said: Said },
    /// The next answer is the next frame in the socket that is none of the above.
    Beside,
    /// The task before has changed this process, and that was set back, or lasts.
    Changed { lasting: bool },
}

/// What a worker is told of its pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InPool {
    pub(crate) name: String,
    /// The slot that it has from its start, where there is one worker of a slot at a time.
    pub(crate) slot: Option<u32>,
    /// A value for its functions on start follows.
    pub(crate) configured: bool,
    /// It is another program than the server, and lists its functions in its hello.
    pub(crate) lists: bool,
}

/// A function that a worker has, at its place in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Version,
}

/// A task to execute, without its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) seq: u64,
    pub(crate) function: FunctionRef,
    pub(crate) attempt: u32,
    /// How many more come next, other messages between them, that are for the same call.
    pub(crate) rest: u32,
    /// By the monotonic clock, which processes of one machine share; 0 for none.
    pub(crate) deadline_ns: u64,
    /// That of the caller's trace.
    pub(crate) context: Option<String>,
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the frame, after the message.
    Frame,
    /// In the arena: so many bytes from there on.
    Arena { offset: u64, bytes: u64 },
    /// In a file of its own, whose descriptor is beside the message.
    File { bytes: u64 },
}

/// How a worker finds a function in its own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum FunctionRef {
    /// By its place in the registry.
    Index(u32),
    /// By its distance from the binary's anchor.
    Offset(i64),
}

/// Why bytes are not a frame, or a frame not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    TooLong { bytes: usize, limit: usize },
    NoMessage,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, limit } => {
                write!(f, "frame of {bytes} bytes exceeds the limit of {limit} bytes")
            }
            Self::NoMessage => f.write_str("frame holds no known message"),
        }
    }
}

/// Appends a frame.
pub(crate) fn append<M: Serialize>(out: &mut Vec<u8>, message: &M, payload: &[u8]) {
    append_head(out, message, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a frame up to its payload, whose bytes have to follow.
pub(crate) fn append_head<M: Serialize>(out: &mut Vec<u8>, message: &M, payload_bytes: usize) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    message::append(message, out);
    let length = out.len() - start - 4 + payload_bytes;
    let length = u32::try_from(length).expect("payloads are bounded below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Splits a frame into its message and its payload.
pub(crate) fn decode<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<(M, &'a [u8]), WireError> {
    postcard::take_from_bytes(frame).map_err(|_| WireError::NoMessage)
}

/// Bytes that have arrived and are not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes the frame that has begun still needs.
    missing: usize,
}

/// How many bytes are asked of the socket at once.
const READ_AT_ONCE: usize = 64 << 10;

impl Inbox {
    /// Where to put what arrives next: at least one read's worth.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == 0 && self.bytes.len() > 16 * READ_AT_ONCE {
            self.bytes = Vec::new();
        }
        let room = self.missing.clamp(READ_AT_ONCE, 16 * READ_AT_ONCE);
        if self.bytes.len() < self.end + room {
            self.bytes.resize(self.end + room, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Whether bytes are left that are no whole frame.
    pub(crate) fn has_begun_a_frame(&self) -> bool {
        self.start < self.end
    }

    /// So many bytes were put there.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(self.bytes.len());
    }

    /// The next whole frame, without its length.
    ///
    /// # Errors
    ///
    /// A length above `limit`: the peer is broken, and nothing that follows
    /// can be read.
    pub(crate) fn next_frame(&mut self, limit: usize) -> Result<Option<&[u8]>, WireError> {
        let unread = &self.bytes[self.start..self.end];
        let Some(head) = unread.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > limit {
            return Err(WireError::TooLong { bytes: length, limit });
        }
        self.missing = (4 + length).saturating_sub(unread.len());
        if self.missing > 0 {
            return Ok(None);
        }
        let frame = self.start + 4..self.start + 4 + length;
        self.start = frame.end;
        Ok(Some(&self.bytes[frame]))
    }
}

#[cfg(any(fuzzing, test))]
pub(super) mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::{Oversized, Panic, Step};
    use crate::task::outcome::OTHER_BUILD;

    fn run_message(seq: u64) -> ToWorker {
        let function = FunctionRef::Index(3);
        let call = Call { seq, function, attempt: 1, rest: 0, deadline_ns: 0, context: None };
        ToWorker::Run(call, Place::Frame)
    }

    fn arrive(inbox: &mut Inbox, bytes: &[u8]) {
        inbox.room()[..bytes.len()].copy_from_slice(bytes);
        inbox.arrived(bytes.len());
    }

    #[test]
    fn a_frame_cut_anywhere_waits_for_its_rest() {
        let mut whole = Vec::new();
        append(&mut whole, &run_message(7), b"payload");
        for cut in 0..whole.len() {
            let mut inbox = Inbox::default();
            arrive(&mut inbox, &whole[..cut]);
            assert_eq!(inbox.next_frame(100), Ok(None), "cut at {cut}");
            arrive(&mut inbox, &whole[cut..]);
            let frame = inbox.next_frame(100).unwrap().expect("a whole frame");
            assert_eq!(decode::<ToWorker>(frame), Ok((run_message(7), &b"payload"[..])));
            assert_eq!(inbox.next_frame(100), Ok(None));
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive() {
        let mut inbox = Inbox::default();
        arrive(&mut inbox, &u32::MAX.to_le_bytes());
        let error = inbox.next_frame(1000).unwrap_err();
        assert_eq!(error, WireError::TooLong { bytes: u32::MAX as usize, limit: 1000 });
    }

    #[test]
    fn a_frame_that_is_announced_takes_no_room_before_it_comes() {
        let mut inbox = Inbox::default();
        arrive(&mut inbox, &(100_u32 << 20).to_le_bytes());
        for _ in 0..100 {
            assert_eq!(inbox.next_frame(100 << 20), Ok(None));
            arrive(&mut inbox, &[0]);
        }
        assert!(inbox.bytes.capacity() <= 64 * READ_AT_ONCE, "{}", inbox.bytes.capacity());
    }

    #[test]
    fn a_text_said_to_be_longer_than_its_frame_is_no_message() {
        let panic = Panic { message: "m".into(), location: "l".into(), backtrace: "b".into() };
        let (seq, usage) = (1, Usage::default());
        let message = FromWorker::Failed { seq, usage, failure: Failure::Panicked(panic) };
        let mut whole = Vec::new();
        append(&mut whole, &message, &[]);
        let honest = whole.split_off(4);
        assert_eq!(decode::<FromWorker>(&honest), Ok((message, &[][..])));
        // Each byte in turn becomes a number of four billion.
        for at in 0..honest.len() {
            let mut forged = honest.clone();
            forged.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
            let _ = decode::<FromWorker>(&forged);
        }
        let length = honest.iter().position(|byte| *byte == b'm').unwrap() - 1;
        let mut forged = honest;
        forged.splice(length..=length, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(decode::<FromWorker>(&forged), Err(WireError::NoMessage));
    }

    proptest! {
        #[test]
        fn messages_survive_and_their_forgeries_are_errors_or_messages(
            seq in any::<u64>(),
            numbers in prop::array::uniform3(any::<u64>()),
            text in ".{0,40}",
            which in 0..8_usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let [run_ns, cpu, memory] = numbers;
            let usage = Usage { run_ns, cpu_ns: Some(cpu), memory_bytes: Some(memory), ..Usage::default() };
            let panic = Panic { message: text.clone(), location: text.clone(), backtrace: text.clone() };
            let step = Step::DecodeArguments;
            let codec = Failure::Codec { step, subject: text.clone(), source: text };
            let failed = |failure| FromWorker::Failed { seq, usage, failure };
            let message = [
                FromWorker::Hello { version: cpu as u32, digest: seq },
                FromWorker::Ready { thread: cpu as u32 },
                FromWorker::Done { seq, usage, place: Place::Arena { offset: cpu, bytes: memory } },
                FromWorker::Skipped { seq },
                failed(Failure::Panicked(panic)),
                failed(codec),
                failed(Failure::TooLarge { what: Oversized::Result, bytes: cpu, limit: memory }),
                failed(Failure::UnknownTask { advice: OTHER_BUILD }),
            ].into_iter().nth(which).expect("there are eight");
            let mut bytes = Vec::new();
            append(&mut bytes, &message, b"payload");
            prop_assert_eq!(decode::<FromWorker>(&bytes[4..]), Ok((message, &b"payload"[..])));
            for (at, byte) in flips {
                *at.get_mut(&mut bytes) = byte;
            }
            let mut inbox = Inbox::default();
            arrive(&mut inbox, &bytes);
            while let Ok(Some(frame)) = inbox.next_frame(1 << 20) {
                let _ = decode::<FromWorker>(frame);
                let _ = decode::<ToWorker>(frame);
            }
            prop_assert!(inbox.bytes.capacity() <= 64 * READ_AT_ONCE);
        }

        #[test]
        fn frames_survive_any_chunking(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            chunk in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for (seq, payload) in (0..).zip(&payloads) {
                append(&mut bytes, &run_message(seq), payload);
            }
            let mut inbox = Inbox::default();
            let mut arrived = Vec::new();
            for part in bytes.chunks(chunk) {
                arrive(&mut inbox, part);
                while let Some(frame) = inbox.next_frame(1000).unwrap() {
                    let (message, payload) = decode::<ToWorker>(frame).unwrap();
                    prop_assert_eq!(message, run_message(arrived.len() as u64));
                    arrived.push(payload.to_vec());
                }
            }
            prop_assert_eq!(arrived, payloads);
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut inbox = Inbox::default();
            arrive(&mut inbox, &bytes);
            while let Ok(Some(frame)) = inbox.next_frame(400) {
                let _ = decode::<FromWorker>(frame);
                let _ = decode::<ToWorker>(frame);
            }
        }
    }
}
