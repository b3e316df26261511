//! A panic or a lost worker as one event of the log.

use crate::error::{Error, Panic};
use crate::task::outcome::{FieldValue, Said};

/// How much of what a lost worker wrote to stderr is in its event: the end of it.
const STDERR_BYTES: usize = 8 << 10;

/// A task has panicked.
pub(super) fn panicked(function: &str, panic: &Panic) -> Said {
    let mut fields = vec![
        text("function", function),
        text("panic", &panic.message),
        text("location", &panic.location),
    ];
    // As the runtime prints it, or not.
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
        fields.push(text("backtrace", &panic.backtrace));
    }
    said(format!("task {panic}"), fields)
}

/// A worker was lost, with that task or, where its name is empty, without any.
pub(super) fn lost(function: &str, error: &Error) -> Said {
    let mut fields = vec![text("kind", error.kind().as_str()), text("function", function)];
    if let Some(loss) = error.worker_loss() {
        fields.push(("pid".to_owned(), FieldValue::Unsigned(loss.pid.into())));
        fields.push(text("stderr", end(&loss.stderr.join("\n"))));
    }
    said(error.to_string(), fields)
}

fn said(message: String, mut fields: Vec<(String, FieldValue)>) -> Said {
    fields.retain(|(_, value)| *value != FieldValue::Text(String::new()));
    Said { level: 1, target: "outboard".to_owned(), message, fields, ..Said::default() }
}

fn text(name: &str, value: &str) -> (String, FieldValue) {
    (name.to_owned(), FieldValue::Text(value.to_owned()))
}

/// The text, or the end of it.
fn end(text: &str) -> &str {
    let mut begin = text.len().saturating_sub(STDERR_BYTES);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    &text[begin..]
}
