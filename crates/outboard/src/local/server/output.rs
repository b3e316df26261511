//! Passes the workers' stdout and stderr through, line by line, with the
//! worker's number, and keeps the last lines of stderr.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::sleep;

use super::shortage::LastAllocation;
use crate::error::{Shortage, panic_message};
use crate::local::process::{Watched, watch};
use crate::local::shm::page::Page;
use crate::os::refused;
use crate::trace::{WorkerLine, WorkerOutput};

/// How long output gathers after some was passed on: a worker that writes many
/// short lines must not keep the supervisor awake.
const GATHER: Duration = Duration::from_millis(4);

/// How many lines of stderr are kept for `WorkerLost`.
const TAIL_LINES: usize = 100;

/// The longest line; a longer one is cut into several.
const LINE_BYTES: usize = 8 << 10;

/// How many batches of lines may wait to be written before lines are dropped.
const WAITING_BATCHES: usize = 64;

/// How many bytes, and about how many lines, are read from one pipe before
/// others get their turn.
const TURN_BYTES: usize = 256 << 10;
const TURN_LINES: u64 = 1000;

/// How many turns the rest of a dead worker's output gets. A pipe holds 64 KiB unless it is
/// told otherwise, and a turn is a page at least.
const LAST_TURNS: usize = 32;

/// One of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Lines of one worker that came together, each with its end, and with what is before it in
/// the server's own output.
struct Batch {
    stream: Stream,
    worker: usize,
    text: Vec<u8>,
}

/// Passes lines on, on a thread of its own, so that a terminal, a pipe or a function that
/// blocks delays no kill. Lines that find no room are dropped and counted.
#[derive(Clone, Debug)]
pub(super) struct Printer {
    lines: SyncSender<Batch>,
    output: WorkerOutput,
}

impl Printer {
    /// Starts the thread; it ends when the printer and its clones are dropped
    /// and all is written, which disconnects the receiver.
    pub(super) fn start(output: WorkerOutput) -> io::Result<(Self, Receiver<()>)> {
        let (lines, received) = sync_channel(WAITING_BATCHES);
        let (end, ended) = sync_channel(0);
        let to = output.clone();
        let thread = std::thread::Builder::new().name("outboard-output".into()).spawn(move || {
            print_all(&received, &to);
            drop(end);
        });
        thread.map_err(|error| refused("start a thread", error))?;
        Ok((Self { lines, output }, ended))
    }
}

fn print_all(lines: &Receiver<Batch>, output: &WorkerOutput) {
    for Batch { stream, worker, text } in lines {
        if hand_over(output, stream, worker, &text) {
            continue;
        }
        // The server's own output may be closed; then nobody reads this.
        let _ = match stream {
            Stream::Stdout => io::stdout().write_all(&text).and_then(|()| io::stdout().flush()),
            Stream::Stderr => io::stderr().write_all(&text),
        };
    }
}

/// Gives lines to whom the program named; whether it named anyone.
fn hand_over(output: &WorkerOutput, stream: Stream, worker: usize, text: &[u8]) -> bool {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').all(|line| {
        let text = &String::from_utf8_lossy(line);
        let line = WorkerLine { worker, is_stderr: stream == Stream::Stderr, text };
        // It is the program's own code, and others' lines come after this one.
        match catch_unwind(AssertUnwindSafe(|| output.take(line))) {
            Ok(taken) => taken,
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(panic, "the function that takes lines of workers panicked");
                true
            }
        }
    })
}

/// The server's end of one pipe of one worker.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Pipe<Unblocked>,
    watched: Watched<OwnedFd>,
}

/// A pipe that is read without waiting.
#[derive(Debug)]
struct Unblocked(Arc<OwnedFd>);

impl Read for Unblocked {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, bytes)?)
    }
}

impl Output {
    /// Has the current runtime watch a pipe.
    pub(super) fn new(
        pipe: OwnedFd,
        stream: Stream,
        worker: usize,
        printer: Printer,
    ) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pipe = Arc::new(pipe);
        let watched = watch(pipe.clone(), Interest::READABLE)?;
        Ok(Self { pipe: Pipe::new(Unblocked(pipe), stream, worker, printer), watched })
    }

    /// Passes on what comes, to its end. The worker's page is told what was read of
    /// stderr, and says where in that its task begins.
    pub(super) async fn pass(&mut self, page: &Page) {
        while !self.pipe.closed {
            let Ok(mut readable) = self.watched.readable().await else { return };
            let any = self.pipe.drain(page);
            if self.pipe.dry {
                readable.clear_ready();
            }
            if any {
                sleep(GATHER).await;
            }
        }
    }

    /// See [`Pipe::finish`].
    pub(super) fn finish(self, page: &Page, since: u64) -> LastWords {
        self.pipe.finish(page, since)
    }
}

/// Lines of what is read.
#[derive(Debug)]
struct Pipe<R> {
    reader: R,
    stream: Stream,
    worker: usize,
    /// What each line begins with.
    prefix: String,
    printer: Printer,
    /// How many bytes were read.
    read: u64,
    /// A line that has not ended, and where in all that is read it begins.
    partial: Vec<u8>,
    begins: u64,
    /// Lines to be printed, and how many they are.
    batch: Vec<u8>,
    batched: u64,
    /// The last lines, and where each begins.
    tail: VecDeque<(u64, Vec<u8>)>,
    allocation: LastAllocation,
    dropped: u64,
    /// All was read that was there.
    dry: bool,
    closed: bool,
}

/// What a worker wrote last.
#[derive(Debug, PartialEq)]
pub(super) struct LastWords {
    pub(super) lines: Vec<String>,
    /// The allocation that failed, if that is what they are about.
    pub(super) shortage: Option<Shortage>,
}

impl<R: Read> Pipe<R> {
    /// `reader` must not block.
    fn new(reader: R, stream: Stream, worker: usize, printer: Printer) -> Self {
        Self {
            reader,
            stream,
            worker,
            prefix: printer.output.prefix(worker),
            printer,
            read: 0,
            partial: Vec::new(),
            begins: 0,
            batch: Vec::new(),
            batched: 0,
            tail: VecDeque::new(),
            allocation: LastAllocation::default(),
            dropped: 0,
            dry: false,
            closed: false,
        }
    }

    /// Passes on what can be read without waiting; whether that was a line.
    fn drain(&mut self, page: &Page) -> bool {
        self.read(page);
        let any = self.batched > 0;
        self.print();
        any
    }

    /// Takes lines for one turn; gives how many bytes that were.
    fn read(&mut self, page: &Page) -> usize {
        let mut buffer = [0; 4 << 10];
        let mut read = 0;
        self.dry = false;
        while !self.closed && read < TURN_BYTES && self.batched < TURN_LINES {
            match self.read_some(page, &mut buffer) {
                Ok(0) => self.closed = true,
                Ok(bytes) => {
                    read += bytes;
                    self.take(page, &buffer[..bytes]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.dry = true;
                    break;
                }
                Err(_) => self.closed = true,
            }
        }
        read
    }

    /// Reads without waiting, and has the worker know how much it was. That adds what the
    /// pipe still holds, which it must not do in between.
    fn read_some(&mut self, page: &Page, buffer: &mut [u8]) -> io::Result<usize> {
        let told = self.stream == Stream::Stderr;
        if told {
            page.set_stderr_read(self.read, true);
        }
        let result = self.reader.read(buffer);
        self.read += *result.as_ref().unwrap_or(&0) as u64;
        if told {
            page.set_stderr_read(self.read, false);
        }
        result
    }

    /// The last lines, but for the first so many bytes of all that came; what is left is
    /// taken as a line.
    fn finish(mut self, page: &Page, since: u64) -> LastWords {
        // What the pipe can hold is read; a process that was left behind may go
        // on writing, and is not waited for.
        for _ in 0..LAST_TURNS {
            if self.read(page) == 0 {
                break;
            }
            self.print();
        }
        if !self.partial.is_empty() {
            self.end_line(page, true);
        }
        self.print();
        let tail =
            self.tail.iter().filter_map(|(begins, line)| written_since(since, *begins, line));
        let lines = tail.map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        LastWords { lines, shortage: self.allocation.since(since) }
    }

    fn take(&mut self, page: &Page, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(page, &bytes[..end]);
            self.end_line(page, true);
            self.begins += 1;
            bytes = &bytes[end + 1..];
        }
        self.append(page, bytes);
    }

    fn append(&mut self, page: &Page, mut bytes: &[u8]) {
        while self.partial.len() + bytes.len() > LINE_BYTES {
            let (now, later) = bytes.split_at(LINE_BYTES - self.partial.len());
            self.partial.extend_from_slice(now);
            self.end_line(page, false);
            bytes = later;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// Takes what has come of a line: all of it, or a first piece.
    fn end_line(&mut self, page: &Page, whole: bool) {
        self.batch.extend_from_slice(self.prefix.as_bytes());
        self.batch.extend_from_slice(&self.partial);
        if whole || !self.printer.output.is_raw() {
            self.batch.push(b'\n');
        }
        self.batched += 1;
        if self.stream == Stream::Stderr {
            self.remember(page);
        }
        self.begins += self.partial.len() as u64;
        self.partial.clear();
    }

    /// Keeps the line for `WorkerLost`, in the place of the oldest.
    fn remember(&mut self, page: &Page) {
        // What a worker writes, it writes after it has said where its task begins.
        let since = page.stderr_before();
        if let Some(line) = written_since(since, self.begins, &self.partial) {
            self.allocation.take(self.begins.max(since), since, &String::from_utf8_lossy(line));
        }
        let full = self.tail.len() == TAIL_LINES;
        let (_, mut line) = full.then(|| self.tail.pop_front()).flatten().unwrap_or_default();
        line.clone_from(&self.partial);
        self.tail.push_back((self.begins, line));
    }

    /// Hands the lines to the printer, or counts them as dropped.
    fn print(&mut self) {
        if self.batched == 0 {
            return;
        }
        let (mut text, lines) = (std::mem::take(&mut self.batch), self.batched);
        self.batched = 0;
        if self.dropped > 0 {
            let of = format!("{}({} lines dropped before these)\n", self.prefix, self.dropped);
            text.extend_from_slice(of.as_bytes());
        }
        match self.printer.lines.try_send(Batch { stream: self.stream, worker: self.worker, text })
        {
            Err(TrySendError::Full(_)) => self.dropped += lines,
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.dropped = 0,
        }
    }
}

/// What of a line comes after the first so many bytes of all, if anything does.
fn written_since(since: u64, begins: u64, line: &[u8]) -> Option<&[u8]> {
    let before = usize::try_from(since.saturating_sub(begins)).ok()?;
    // Of a line that another task began, the end alone may be left, which says nothing.
    let rest = line.get(before..)?;
    (before == 0 || !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(bytes: &[u8]) -> (Pipe<&[u8]>, Receiver<Batch>) {
        let (lines, received) = sync_channel(3);
        let printer = Printer { lines, output: WorkerOutput::default() };
        (Pipe::new(bytes, Stream::Stderr, 2, printer), received)
    }

    fn page() -> Page {
        Page::create().unwrap().0
    }

    fn text(lines: &Receiver<Batch>) -> String {
        lines.try_iter().map(|batch| String::from_utf8_lossy(&batch.text).into_owned()).collect()
    }

    #[test]
    fn lines_carry_the_workers_number_and_are_kept() {
        let (pipe, lines) = pipe(b"one\ntwo\nrest");
        assert_eq!(pipe.finish(&page(), 0).lines, ["one", "two", "rest"]);
        assert_eq!(text(&lines), "[worker 2] one\n[worker 2] two\n[worker 2] rest\n");
    }

    #[test]
    fn what_came_before_is_left_out_to_the_byte() {
        for (since, lines) in [
            (0, vec!["old", "begun, new", "x"]),
            (3, vec!["begun, new", "x"]),
            (4, vec!["begun, new", "x"]),
            (11, vec!["new", "x"]),
            (14, vec!["x"]),
            (15, vec!["x"]),
            (16, vec![]),
        ] {
            let (pipe, _lines) = pipe(b"old\nbegun, new\nx");
            assert_eq!(pipe.finish(&page(), since).lines, lines, "{since}");
        }
    }

    #[test]
    fn a_failed_allocation_of_another_task_is_not_this_ones() {
        const FAILED: &[u8] = b"memory allocation of 77 bytes failed\n";
        for (before, shortage) in [(0, Some(77)), (FAILED.len() as u64, None)] {
            let (pipe, _lines) = pipe(FAILED);
            let shortage = shortage.map(|bytes| Shortage::Allocation { bytes: Some(bytes) });
            assert_eq!(pipe.finish(&page(), before).shortage, shortage);
        }
        let (mut pipe, _lines) = pipe(b"");
        let page = page();
        pipe.take(&page, FAILED);
        page.set_stderr_before(FAILED.len() as u64);
        pipe.take(&page, b"memory allocation of 8 bytes failed\n");
        let shortage = pipe.finish(&page, FAILED.len() as u64).shortage;
        assert_eq!(shortage, Some(Shortage::Allocation { bytes: Some(8) }));
    }

    #[test]
    fn the_worker_knows_what_was_read() {
        let (mut pipe, _lines) = pipe(b"one\ntwo");
        let page = page();
        pipe.drain(&page);
        let read = page.stderr_read();
        assert_eq!((read.bytes(), read.is_going_on()), (7, false));
    }

    #[test]
    fn the_tail_is_bounded() {
        let text: String = (0..1000).map(|n| format!("{n}\n")).collect();
        let (pipe, _lines) = pipe(text.as_bytes());
        let tail = pipe.finish(&page(), 0).lines;
        assert_eq!((tail.len(), tail[0].as_str()), (TAIL_LINES, "900"));
    }

    #[test]
    fn a_failed_allocation_is_noticed_though_its_line_is_no_longer_kept() {
        let trace = "  99: main\n".repeat(TAIL_LINES + 1);
        let text = format!("memory allocation of 8 bytes failed\n{trace}");
        let (pipe, _lines) = pipe(text.as_bytes());
        let words = pipe.finish(&page(), 0);
        assert_eq!(words.lines.len(), TAIL_LINES);
        assert_eq!(words.shortage, Some(Shortage::Allocation { bytes: Some(8) }));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let text = vec![b'x'; LINE_BYTES * 2 + 1];
        let (pipe, _lines) = pipe(&text);
        let lengths: Vec<_> = pipe.finish(&page(), 0).lines.iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES, LINE_BYTES, 1]);
    }

    #[test]
    fn raw_lines_go_through_byte_for_byte() {
        let long = vec![b'x'; LINE_BYTES + 1];
        let (lines, received) = sync_channel(3);
        let printer = Printer { lines, output: WorkerOutput::raw() };
        let bytes = [b"{}\n", &*long, b"\n"].concat();
        Pipe::new(&*bytes, Stream::Stdout, 2, printer).finish(&page(), 0);
        assert_eq!(text(&received).into_bytes(), bytes);
    }

    #[test]
    fn a_function_gets_each_line_and_may_panic() {
        let (taken, lines) = std::sync::mpsc::channel();
        let output = WorkerOutput::call(move |line| {
            taken.send(format!("{line:?}")).unwrap();
            assert_ne!(line.text, "bad");
        });
        assert!(hand_over(&output, Stream::Stderr, 2, b"bad\ngood\n"));
        let line = |text| format!("{:?}", WorkerLine { worker: 2, is_stderr: true, text });
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [line("bad"), line("good")]);
        assert!(!hand_over(&WorkerOutput::raw(), Stream::Stderr, 2, b"bad\n"));
    }

    #[test]
    fn dropped_lines_are_counted_and_said() {
        let (mut pipe, lines) = pipe(b"");
        for line in [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"] {
            pipe.take(&page(), line);
            pipe.print();
        }
        assert_eq!(text(&lines), "[worker 2] 1\n[worker 2] 2\n[worker 2] 3\n");
        pipe.take(&page(), b"6\n");
        pipe.print();
        assert_eq!(text(&lines), "[worker 2] 6\n[worker 2] (2 lines dropped before these)\n");
    }
}
