//! What tasks log, as the server's own logs have it: the example is run with `tracing-subscriber`
//! and JSON, in real processes, and what it prints is read.

use serde_json::{Value, json};

use crate::examples::{example, printed};

/// The events of the example, with that filter.
fn events(filter: &str) -> Vec<Value> {
    let text = printed(example("logs").env("RUST_LOG", filter));
    let event = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(event).collect()
}

/// Those with that message.
fn with_message<'a>(events: &'a [Value], message: &str) -> Vec<&'a Value> {
    let is_it = |event: &&Value| {
        event["fields"]["message"].as_str().is_some_and(|own| own.contains(message))
    };
    events.iter().filter(is_it).collect()
}

/// The ids of the requests in whose spans an event is, outermost first, and the other spans.
fn spans(event: &Value) -> String {
    let spans = event["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |span: &Value| match &span["id"] {
        Value::String(id) => id.clone(),
        _ => span["name"].as_str().unwrap().to_owned(),
    };
    spans.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_tasks_events_have_the_requests_spans_and_their_own_target_level_and_fields() {
    let events = events("warn,logs=info");
    let resizing = with_message(&events, "resizing");
    assert_eq!(resizing.len(), 2, "{events:?}");
    for (event, (id, width)) in resizing.iter().zip([("a1", 641), ("b2", 4_000)]) {
        assert_eq!((&event["level"], &event["target"]), (&json!("INFO"), &json!("logs")));
        assert_eq!(spans(event), format!("{id} handler"), "{event}");
        let fields = event["fields"].as_object().unwrap();
        let expected = [
            ("width", json!(width)),
            ("scale", json!(0.5)),
            ("cached", json!(false)),
            ("format", json!("png")),
            ("worker", json!(1)),
            ("attempt", json!(1)),
        ];
        for (name, value) in expected {
            assert_eq!(fields.get(name), Some(&value), "{name} of {event}");
        }
        assert!(fields["task"].is_string() && fields.len() == 8, "{event}");
    }
    let odd = with_message(&events, "odd width");
    assert_eq!(odd.len(), 2);
    assert_eq!((&odd[0]["level"], &odd[0]["target"]), (&json!("WARN"), &json!("codec")));
    assert_eq!(odd[0]["fields"]["rest"], json!("Some(1)"));
    assert!(with_message(&events, "shown").is_empty(), "{events:?}");
}

#[test]
fn a_filter_by_target_holds_in_tasks() {
    let all = events("warn,logs=debug,codec=info");
    assert_eq!(with_message(&all, "not shown").len(), 2);
    assert_eq!(with_message(&all, "a library's").len(), 2);
    let few = events("error");
    assert!(few.iter().all(|event| event["level"] == "ERROR"), "{few:?}");
    assert_eq!(few.len(), 2, "a panic and a crash: {few:?}");
}

#[test]
fn a_panic_and_a_crash_are_one_event_each_and_lines_of_workers_are_events() {
    let events = events("info");
    let errors: Vec<_> = events.iter().filter(|event| event["level"] == "ERROR").collect();
    let [panic, crash] = errors[..] else { panic!("{errors:?}") };
    assert_eq!((spans(panic), spans(crash)), ("b2 handler".to_owned(), "c3".to_owned()));
    assert_eq!(panic["fields"]["panic"], "too wide");
    assert!(panic["fields"]["location"].as_str().unwrap().contains("logs.rs:"), "{panic}");
    assert_eq!(panic["fields"]["function"], "logs::resize");
    assert_eq!(crash["fields"]["kind"], "worker_lost");
    assert_eq!(crash["fields"]["function"], "logs::crash");
    assert_eq!(crash["fields"]["stderr"], "a line on stderr");
    assert!(crash["fields"]["pid"].is_u64());
    // The panic is told once, not in lines of stderr as well.
    assert_eq!(with_message(&events, "too wide").len(), 1, "{events:?}");
    let last = with_message(&events, "last words");
    assert_eq!(last.iter().map(|event| spans(event)).collect::<Vec<_>>(), ["c3"]);
    for (stream, level, times) in [("stdout", "INFO", 2), ("stderr", "WARN", 1)] {
        let lines = with_message(&events, &format!("a line on {stream}"));
        let lines = lines.iter().filter(|line| line["target"] == "outboard::worker");
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), times, "{events:?}");
        let fields = &lines[0]["fields"];
        assert_eq!((&fields["stream"], &fields["worker"]), (&json!(stream), &json!(1)));
        assert_eq!(lines[0]["level"], level);
    }
}
