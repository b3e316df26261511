//! What is drawn of a view, as a terminal shows it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;

/// What a server would say, in its own words.
fn view() -> View {
    let nothing = json!({ "killed": 1, "lost": 2, "recycled": 0, "dismissed": 0 });
    let outcomes = json!({
        "submitted": 9, "done": 5, "failed": 3, "panicked": 1, "lost": 2, "cancelled": 0,
        "timed_out": 0, "refused": 0,
    });
    let times = json!({
        "counts": [0, 0, 1, 4, 2], "p50_ms": 4.0, "p90_ms": 8.0, "p99_ms": 8.0, "max_ms": 8.0,
        "sum_ms": 20.0,
    });
    let worker = |number: usize, state: &str, task| {
        json!({
            "number": number, "pid": 4_242, "state": state, "task": task, "next_in_line": 0,
            "done": 5, "memory_bytes": 12 << 20, "cpu_ms": 100.0, "worn": null,
            "restarts": nothing,
        })
    };
    let task = json!({
        "task": "2f.0", "function": "pages::render", "attempt": 1,
        "tenant": "ann\u{1b}[2J", "since_ms": 1_000.0, "run_ms": 63_000.0,
    });
    let mut view = serde_json::to_value(View::default()).expect("a view is JSON");
    let said = json!({
        "product": "outboard", "engine": "local", "open": true, "uptime_ms": 64_000.0,
        "wanted_workers": 2,
        "alerts": [{ "severe": true, "text": "No worker is up: nothing is computed." }],
        "workers": [worker(1, "busy", task), worker(2, "idle", json!(null))],
        "queue": [{ "priority": 3, "tenant": null, "queued": 7, "oldest_ms": 12_000.0 }],
        "functions": [{
            "function": "pages::render", "outcomes": outcomes, "run": times, "wait": times,
            "cpu_ms": 3.0, "peak_memory_bytes": null,
        }],
        "crashes": [{
            "at_ms": 60_000.0, "summary": "worker 1 was lost: killed by SIGSEGV", "worker": 1,
            "pid": 7, "cause": "killed by SIGSEGV", "shortage": null, "function": "pages::render",
            "attempt": 1, "run_ms": 1.0, "cpu_ms": null, "memory_bytes": null,
            "memory_at_start_bytes": null, "argument_bytes": 8, "argument_digest": "00",
            "stderr": ["last\u{7}words"],
        }],
    });
    for (name, value) in said.as_object().expect("it is one") {
        view[name] = value.clone();
    }
    serde_json::from_value(view).expect("it is a view")
}

fn screen(shown: &Shown, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory is there");
    terminal.draw(|frame| draw(frame, shown)).expect("memory takes it");
    terminal.backend().to_string()
}

fn shown() -> Shown {
    Shown::new("http://127.0.0.1:9000/status".to_owned(), view())
}

#[test]
fn pools_stand_one_beneath_the_other() {
    let mut shown = shown();
    assert!(!screen(&shown, 100, 20).contains("gpu"));
    let pool = json!({
        "pool": "gpu", "open": true, "wanted_workers": 2, "least_workers": 0, "most_workers": 8,
        "up": 2, "busy": 1, "standby": 0, "memory_bytes": 3 << 20, "tasks": view().tasks,
        "admission": view().admission, "restarts": view().restarts,
    });
    shown.view.pools = vec![serde_json::from_value(pool).expect("it is a pool")];
    let drawn = screen(&shown, 100, 20);
    assert!(drawn.contains("gpu          1 of 2 busy (0 to 8) · 0 waiting"), "{drawn}");
}

#[test]
fn an_overview_has_what_is_wrong_what_runs_and_what_waits() {
    let text = screen(&shown(), 120, 30);
    for words in [
        "in trouble",
        "No worker is up",
        "1 of 2 busy",
        "pages::render 2f.0 for ann",
        "1 min 3 s",
        "1 killed, 2 lost",
        "(none named)",
        "12.0s",
        "1 panicked, 2 lost",
        "http://127.0.0.1:9000/status",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn in_sixty_columns_a_function_is_told_by_its_end() {
    let mut shown = shown();
    let name = "shop::pages::of_customers::invoices::render_as_pdf";
    shown.view.functions[0].function = name.to_owned();
    shown.view.workers[0].task.as_mut().expect("it is busy").function = name.to_owned();
    let text = screen(&shown, 60, 24);
    let (of_functions, of_workers) =
        ("…tomers::invoices::render_as_pdf", "…::invoices::render_as_pdf");
    for words in [of_functions, of_workers, "1 min 3 s", "8.0ms"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let text = screen(&shown, 160, 24);
    assert!(text.contains(&format!("{name} 2f.0")), "{text}");
}

#[test]
fn reports_are_shown_in_full_and_scroll() {
    let mut shown = shown();
    shown.reports = true;
    let text = screen(&shown, 100, 20);
    assert!(text.contains("killed by SIGSEGV") && text.contains("last·words"), "{text}");
    shown.scroll = 1;
    let text = screen(&shown, 100, 20);
    assert!(!text.contains("killed by SIGSEGV") && text.contains("last·words"), "{text}");
}

#[test]
fn text_of_others_does_not_move_the_cursor() {
    let text = screen(&shown(), 120, 30);
    assert!(text.contains("ann·[2J"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_size_can_be_drawn() {
    let mut shown = shown();
    for reports in [false, true] {
        shown.reports = reports;
        for width in [1, 2, 10, 40, 80, 149, 150, 300] {
            for height in [1, 2, 5, 12, 24, 100] {
                screen(&shown, width, height);
            }
        }
    }
}

#[test]
fn a_lost_connection_is_told_with_since_when_and_until_it_is_back() {
    let mut shown = shown();
    shown.lose("connection refused".to_owned());
    shown.lose("timed out".to_owned());
    let text = screen(&shown, 120, 30);
    assert!(text.contains("no connection since "), "{text}");
    assert!(text.contains(" UTC (") && text.contains("): timed out; trying again"), "{text}");
    assert!(text.contains("pages::render"), "what was known stays: {text}");
    shown.update(view());
    assert!(!screen(&shown, 120, 30).contains("no connection"));
}

#[test]
fn a_histogram_is_as_high_as_its_most() {
    assert_eq!(histogram(&[0, 0, 1, 8, 4, 0]), "▁█▄ ");
    assert_eq!(histogram(&[]), "");
    assert_eq!(histogram(&[1; 40]).chars().count(), 12);
}

#[test]
fn numbers_have_commas_and_times_have_units() {
    for (number, text) in [(0, "0"), (999, "999"), (10_000, "10,000"), (1_234_567, "1,234,567")] {
        assert_eq!(count(number), text);
    }
    for (ms, text) in [(0.0, "0 s"), (0.0144, "14.4µs"), (5.26, "5.3ms"), (59_940.0, "59.9s")] {
        assert_eq!(age(ms), text);
    }
}
