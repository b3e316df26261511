//! What this worker says to its scheduler.

use std::time::{SystemTime, UNIX_EPOCH};

use rmpv::Value;

use super::outcome::Raised;
use dask_protocol::Serialized;
use dask_protocol::document::{Message, field, map};
use dask_protocol::key::Key;
use dask_protocol::pickle::Pickle;

/// One operation, with an exception beside it if it has one.
#[derive(Debug)]
pub(super) struct Say {
    fields: Vec<(Value, Value)>,
    exception: Option<Vec<u8>>,
}

/// When a task was executed, and by which process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    start: f64,
    stop: f64,
    worker: usize,
}

/// Seconds since 1970, as Python has them.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl Timing {
    /// Of what was not executed now.
    pub(super) fn none() -> Self {
        Self::start().end(0)
    }

    pub(super) fn start() -> Self {
        Self { start: unix_now(), ..Self::default() }
    }

    pub(super) fn end(self, worker: usize) -> Self {
        Self { stop: unix_now(), worker, ..self }
    }

    fn value(self) -> Value {
        Value::Array(vec![map([
            ("action", "compute".into()),
            ("start", self.start.into()),
            ("stop", self.stop.into()),
        ])])
    }
}

impl Say {
    fn new<const N: usize>(operation: &str, stimulus: &str, fields: [(&str, Value); N]) -> Self {
        let stimulus = format!("{stimulus}-{}", unix_now());
        let mut all = vec![("op".into(), operation.into())];
        all.extend(fields.map(|(name, value)| (name.into(), value)));
        all.push(("stimulus_id".into(), stimulus.into()));
        Self { fields: all, exception: None }
    }

    pub(super) fn finished(key: &Key, run: i64, value: &Serialized, timing: Timing) -> Self {
        let class = value.type_name();
        let pickled = class.map_or(Value::Nil, |class| Value::Binary(pickled_class(class)));
        Self::new(
            "task-finished",
            "task-finished",
            [
                ("status", "OK".into()),
                ("key", key.value()),
                ("run_id", run.into()),
                ("nbytes", value.size().into()),
                ("type", pickled),
                ("typename", class.unwrap_or("object").into()),
                ("metadata", Value::Map(Vec::new())),
                ("thread", timing.worker.into()),
                ("startstops", timing.value()),
            ],
        )
    }

    pub(super) fn erred(key: &Key, run: i64, raised: Raised, timing: Timing) -> Self {
        let said = Self::new(
            "task-erred",
            "task-erred",
            [
                ("status", "error".into()),
                ("key", key.value()),
                ("run_id", run.into()),
                ("traceback", Value::Nil),
                ("exception_text", raised.text.into()),
                ("traceback_text", "".into()),
                ("thread", timing.worker.into()),
                ("startstops", timing.value()),
            ],
        );
        Self { exception: Some(raised.pickle), ..said }
    }

    /// A task goes back to the scheduler.
    pub(super) fn reschedule(key: &Key) -> Self {
        Self::new("reschedule", "reschedule", [("key", key.value())])
    }

    pub(super) fn status(status: &str) -> Self {
        Self::new("worker-status-change", "worker-status-change", [("status", status.into())])
    }

    /// A value is here. If nobody wants it, the scheduler has it removed again.
    pub(super) fn copied(key: &Key) -> Self {
        let keys = Value::Array(vec![key.value()]);
        Self::new("add-keys", KEPT, [("keys", keys)])
    }

    /// The answer to a question whether a task can go elsewhere.
    pub(super) fn stolen(key: &Key, state: Option<&str>, question: &Value) -> Self {
        let state = state.map_or(Value::Nil, Value::from);
        let stimulus = field(question, "stimulus_id").cloned().unwrap_or(Value::Nil);
        let fields = [
            ("op", "steal-response".into()),
            ("key", key.value()),
            ("state", state),
            ("stimulus_id", stimulus),
        ];
        Self { fields: fields.map(|(name, value)| (name.into(), value)).into(), exception: None }
    }

    /// What is done.
    #[cfg(test)]
    pub(super) fn operation(&self) -> &str {
        self.fields[0].1.as_str().unwrap_or_default()
    }

    /// The last word of a stay.
    pub(super) fn close() -> Self {
        Self { fields: vec![("op".into(), "close-stream".into())], exception: None }
    }
}

/// What [`Say::copied`] gives as its reason.
const KEPT: &str = "outboard-copied";

/// Whether the scheduler has copies removed of its own accord, to save memory.
pub(super) fn saves_memory(stimulus: &str) -> bool {
    stimulus.starts_with("active_memory_manager")
}

fn pickled_class(class: &str) -> Vec<u8> {
    let mut pickle = Pickle::new();
    match class {
        // It has no name under which it could be imported.
        "NoneType" => {
            pickle.global("builtins", "type");
            pickle.none();
            pickle.tuple_of_one();
            pickle.call();
        }
        class => pickle.global("builtins", class),
    }
    pickle.finish()
}

/// All that is to be said at once, as one message.
pub(super) fn batch(all: Vec<Say>) -> Message {
    let mut message = Message::new(Value::Nil);
    let operations = all.into_iter().map(|said| {
        let Say { mut fields, exception } = said;
        if let Some(pickle) = exception {
            fields.push(("exception".into(), message.attach(Serialized::from_bytes(pickle))));
        }
        Value::Map(fields)
    });
    let operations = Value::Array(operations.collect());
    message.value = operations;
    message
}
