//! One trace across server and worker: the example with OpenTelemetry is run on
//! every engine, and what it exports is read.

use std::collections::HashMap;

use crate::examples::{example, printed};

/// A span as the exporter prints it, from the server or from a worker.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    fields: HashMap<String, String>,
    pub(crate) text: String,
}

impl Exported {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or_else(|| panic!("no {field} in {}", self.text), String::as_str)
    }
}

/// The spans in a program's output. Each process prints its own in order; the
/// lines of workers have their number before them.
pub(crate) fn spans(output: &str) -> Vec<Exported> {
    let mut by_process: HashMap<&str, Vec<Exported>> = HashMap::new();
    for line in output.lines() {
        let worker = line.strip_prefix("[worker ").and_then(|rest| rest.split_once("] "));
        let (process, line) = worker.unwrap_or(("server", line));
        let spans = by_process.entry(process).or_default();
        if line.starts_with("Span #") {
            spans.push(Exported::default());
        }
        // What the example itself prints may come in between.
        let of_a_span = line.starts_with(['\t', ' ']) || line.starts_with("Span #");
        let Some(span) = spans.last_mut().filter(|_| of_a_span) else { continue };
        if let Some((name, value)) = line.split_once(':') {
            let names_event = span.text.contains("Events:");
            let name =
                if names_event { format!("event {}", name.trim()) } else { name.trim().into() };
            span.fields.insert(name, value.trim().to_owned());
        }
        span.text += line;
        span.text += "\n";
    }
    by_process.into_values().flatten().collect()
}

/// Those of that name.
pub(crate) fn named<'a>(spans: &'a [Exported], name: &str) -> Vec<&'a Exported> {
    let quoted = format!("\"{name}\"");
    let is_it = |own: &String| own == name || *own == quoted;
    spans.iter().filter(|span| span.fields.get("Name").is_some_and(is_it)).collect()
}

/// Whether a span has the event of a division, with the task's own target and fields.
pub(crate) fn has_its_fields(span: &str) -> bool {
    ["target", "a", "b", "task", "worker", "attempt"]
        .iter()
        .all(|name| span.contains(&format!("->  {name}: ")))
        && span.contains("target: String(Static(\"trace\"))")
}

/// What a program with that URL and its workers print is one trace for each
/// request; with what tasks said in the server, if that comes back.
pub(crate) fn check(output: &str, comes_back: bool) {
    assert!(output.contains("6 / 2 = 3") && output.contains("divide by zero"), "{output}");
    let spans = spans(output);
    let (handlers, tasks) = (named(&spans, "handler"), named(&spans, "task"));
    assert_eq!((handlers.len(), tasks.len()), (2, 2), "{output}");
    for task in tasks {
        let parent = handlers.iter().find(|span| span.get("SpanId") == task.get("ParentSpanId"));
        let parent = parent.unwrap_or_else(|| panic!("the parent is a handler's span: {output}"));
        assert_eq!(task.get("TraceId"), parent.get("TraceId"));
        assert!(task.text.contains("divide"), "{}", task.text);
        assert!(task.text.contains("dividing"), "{}", task.text);
    }
    let traces: Vec<_> = handlers.iter().map(|span| span.get("TraceId")).collect();
    assert_ne!(traces[0], traces[1], "two requests are two traces");
    let failed: Vec<_> =
        (handlers.iter()).filter(|span| span.text.contains("attempt to divide by zero")).collect();
    assert_eq!(failed.len(), 1, "the panic appears under the request that asked: {output}");
    assert!(failed[0].text.contains("worker") && failed[0].text.contains("attempt"));
    if comes_back {
        for handler in handlers {
            assert!(handler.text.contains("dividing"), "what a task says comes back: {output}");
            assert!(has_its_fields(&handler.text), "{}", handler.text);
        }
    }
}

#[test]
fn a_span_in_the_handler_is_the_parent_of_the_one_in_the_worker() {
    check(&printed(example("trace").env("OUTBOARD_URL", "local://?workers=1")), true);
}

#[test]
fn a_span_in_the_handler_is_the_parent_of_the_one_in_the_thread() {
    check(&printed(example("trace").env("OUTBOARD_URL", "inline://?workers=1")), false);
}
