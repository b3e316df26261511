//! The outbox of a worker, with several threads that submit, a socket that is
//! full now and then, and one that is closed meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::Deref;

use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;

#[path = "../../../crates/outboard/src/local/server/outbox.rs"]
mod outbox;

use outbox::{Outbox, Socket, Unsent};

/// How many bytes a frame has: more than a full socket takes.
const FRAME: usize = 2;

/// A frame has as many bytes as this, each with its task's number.
#[derive(Debug, Default)]
struct Chunk(Vec<u8>, Payload);

/// What has to be done before a chunk is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    #[default]
    None,
    /// It is copied, elsewhere because it is much.
    Much,
    Copied,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl outbox::Chunk for Chunk {
    fn emptied(self) -> Option<Self> {
        Some(Self::default())
    }
}

/// One worker's socket, and the server's end of it.
struct Link {
    outbox: Mutex<Outbox<Chunk>>,
    gate: Mutex<u64>,
    socket: Mutex<Kernel>,
    /// Whether a frame that waits takes further ones in.
    merges: bool,
    /// What all frames need.
    payload: Payload,
}

/// What the system has of a socket.
struct Kernel {
    received: Vec<u8>,
    room: usize,
    closed: bool,
}

impl Link {
    fn new(room: usize, merges: bool) -> Arc<Self> {
        let kernel = Kernel { received: Vec::new(), room, closed: false };
        let (outbox, socket, payload) = (Mutex::default(), Mutex::new(kernel), Payload::None);
        Arc::new(Self { outbox, gate: Mutex::new(0), socket, merges, payload })
    }

    /// One whose frames announce large payloads.
    fn with_payloads(room: usize) -> Arc<Self> {
        let link = Arc::try_unwrap(Self::new(room, false)).unwrap_or_else(|_| unreachable!());
        Arc::new(Self { payload: Payload::Much, ..link })
    }

    fn socket(&self) -> MutexGuard<'_, Kernel> {
        self.socket.lock().unwrap()
    }

    /// Appends the next task's frame under the gate's lock, as a submit does.
    fn append(&self) {
        let mut last = self.gate.lock().unwrap();
        *last += 1;
        let (seq, frame) = (*last, [*last as u8; FRAME]);
        self.with(|outbox| match outbox.last_mut().filter(|_| self.merges) {
            Some(waiting) => waiting.0.extend(frame),
            None => {
                let mut chunk = outbox.take_spare().unwrap_or_default();
                chunk.0.extend(frame);
                chunk.1 = self.payload;
                outbox.push(seq, chunk);
            }
        });
    }

    /// Writes what is there, and goes on when the worker has read. Whether the
    /// socket was broken.
    fn flush(&self) -> bool {
        let mut result = outbox::write(self);
        loop {
            match result {
                Err(Unsent::Full) => self.socket().room += 1,
                Err(Unsent::Much) => outbox::change_rest(self, |Chunk(frame, payload)| {
                    assert_eq!(payload, Payload::Much, "it is copied once");
                    Chunk(frame, Payload::Copied)
                }),
                Ok(()) => return false,
                Err(Unsent::Broken) => return true,
            }
            result = outbox::resume(self);
        }
    }

    fn submit(&self) -> bool {
        self.append();
        self.flush()
    }

    /// Asserts that so many frames arrived, whole, in order, once.
    fn received_all(&self, frames: u8) {
        let expected: Vec<u8> = (1..=frames).flat_map(|seq| [seq; FRAME]).collect();
        assert_eq!(self.socket().received, expected);
        assert!(self.with(|outbox| outbox.is_idle()));
    }
}

impl Socket for Link {
    type Chunk = Chunk;

    fn with<R>(&self, change: impl FnOnce(&mut Outbox<Chunk>) -> R) -> R {
        change(&mut self.outbox.lock().unwrap())
    }

    fn prepare(&self, chunk: Chunk) -> Result<Chunk, (Chunk, Unsent)> {
        if chunk.1 == Payload::Much { Err((chunk, Unsent::Much)) } else { Ok(chunk) }
    }

    fn send(&self, chunk: &Chunk, from: usize) -> Result<usize, Unsent> {
        assert_ne!(chunk.1, Payload::Much, "it is sent when its payload is there");
        let mut socket = self.socket();
        let fits = chunk[from..].len().min(socket.room);
        match (socket.closed, fits) {
            (true, _) => return Err(Unsent::Broken),
            (false, 0) => return Err(Unsent::Full),
            (false, fits) => socket.received.extend(&chunk[from..from + fits]),
        }
        socket.room -= fits;
        drop(socket);
        // The worker may answer as soon as it has read.
        let seq = u64::from(chunk[from]);
        assert!(self.with(|outbox| outbox.has_begun(seq)), "an honest answer to {seq} is refused");
        Ok(fits)
    }
}

/// Checks every order of steps in which no thread is interrupted more often
/// than this by another one that could go on as well.
fn check(interruptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(model);
}

/// So many threads submit one task each.
fn all_submit(link: &Arc<Link>, threads: usize) -> Vec<bool> {
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let link = link.clone();
            thread::spawn(move || link.submit())
        })
        .collect();
    let own = link.submit();
    others.into_iter().map(|thread| thread.join().unwrap()).chain([own]).collect()
}

#[test]
fn frames_of_several_threads_arrive_once_and_in_order() {
    for merges in [false, true] {
        check(3, move || {
            let link = Link::new(usize::MAX, merges);
            assert_eq!(all_submit(&link, 3), [false; 3]);
            link.received_all(3);
        });
    }
}

#[test]
fn a_socket_that_is_full_now_and_then_loses_nothing() {
    for merges in [false, true] {
        check(3, move || {
            let link = Link::new(1, merges);
            assert_eq!(all_submit(&link, 2), [false; 2]);
            link.received_all(2);
        });
    }
}

#[test]
fn a_payload_that_is_copied_elsewhere_keeps_its_turn() {
    for room in [1, usize::MAX] {
        check(3, move || {
            let link = Link::with_payloads(room);
            assert_eq!(all_submit(&link, 2), [false; 2]);
            link.received_all(2);
        });
    }
}

#[test]
fn a_flush_by_whoever_is_last_misses_nothing() {
    check(3, || {
        let link = Link::new(usize::MAX, false);
        let other = {
            let link = link.clone();
            thread::spawn(move || link.flush())
        };
        link.append();
        link.append();
        link.flush();
        other.join().unwrap();
        link.received_all(2);
    });
}

#[test]
fn what_is_not_written_cannot_have_been_answered() {
    check(3, || {
        let link = Link::new(0, false);
        link.append();
        link.append();
        assert!([1, 2].into_iter().all(|seq| !link.with(|outbox| outbox.has_begun(seq))));
        assert_eq!(outbox::write(&*link), Err(Unsent::Full));
        assert!(link.with(|outbox| outbox.has_begun(1) && !outbox.has_begun(2)));
    });
}

#[test]
fn nothing_follows_half_a_frame_when_the_socket_is_closed_meanwhile() {
    check(3, || {
        let link = Link::new(3, false);
        let closing = {
            let link = link.clone();
            thread::spawn(move || link.socket().closed = true)
        };
        let broken = all_submit(&link, 2);
        let again = link.submit();
        closing.join().unwrap();
        let kills = broken.into_iter().chain([again]).filter(|broken| *broken).count();
        let received = link.socket().received.clone();
        let expected: Vec<u8> = (1..=3).flat_map(|seq| [seq; FRAME]).collect();
        assert!(expected.starts_with(&received), "{received:?}");
        assert_eq!(kills, usize::from(received != expected), "one writer finds it broken");
    });
}
