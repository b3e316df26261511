//! What the server hears of a worker that is Python, as if it were another one.

use super::{Arrived, Link};
use crate::local::server::link::items::Hearing;
use crate::local::server::link::python::Finish;
use crate::local::shm::answers::Nonsense;
use crate::local::wire::FromWorker;
use crate::local::wire::python::FromPython;
use crate::value::payload::Payload;

/// Takes one message; an answer waits in `beside` for its place in the order.
pub(super) fn take(
    link: &Link,
    hearing: &mut Hearing,
    heard: FromPython<'_>,
    (messages, beside): (&mut Vec<Arrived>, &mut Option<(FromWorker, Payload)>),
) -> Result<(), Nonsense> {
    let (mut message, payload) = match heard {
        FromPython::Like(message, payload) => (message, Payload::copy(payload)),
        FromPython::Ready { cpu_ns } => {
            link.measure(cpu_ns);
            let thread = link.pid;
            messages.push((FromWorker::Ready { thread }, Ok(Payload::copy(&[]))));
            return Ok(());
        }
        FromPython::Item { seq, item } => return hearing.hear_item(link, seq, item),
        FromPython::Waits { seq, taken } => {
            link.stream_waits(seq, taken);
            return Ok(());
        }
        FromPython::Progress { seq, noted } => {
            link.note_progress(seq, &noted);
            return Ok(());
        }
    };
    match &mut message {
        FromWorker::Done { seq, usage, .. } | FromWorker::Failed { seq, usage, .. } => {
            let finish = link.finish_python(*seq, usage)?;
            usage.memory_bytes = link.measured_bytes(usage.run_ns);
            if matches!(finish, Finish::Counts) {
                *beside = Some((message, payload));
            }
        }
        _ => messages.push((message, Ok(payload))),
    }
    Ok(())
}
