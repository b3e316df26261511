use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use outboard::Client;
use outboard_axum::{Metrics, metrics};

use crate::support::{Scratch, eventually, get, hold, run, start};

#[outboard::task]
fn fails() -> u8 {
    panic!("as it should")
}

#[outboard::task]
fn crashes() -> u8 {
    std::process::abort()
}

#[outboard::task]
fn naps(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[outboard::task(batch(wait = "1ms"))]
fn doubles(items: Vec<u64>) -> Vec<u64> {
    items.into_iter().map(|item| 2 * item).collect()
}

/// A client whose tasks have ended in all ways that there are.
async fn busy_client() -> Client {
    let client = Client::local().workers(1).await.unwrap();
    for tenant in ["ada", "bob", "\"}\n\\"] {
        client.tenant(tenant).submit(naps, 3).await.unwrap();
    }
    assert_eq!(client.batched(doubles, 4).await.unwrap(), 8);
    client.submit(fails, ()).await.unwrap_err();
    client.submit(crashes, ()).await.unwrap_err();
    let scratch = Scratch::new();
    let held = client.tenant("ada").submit(hold, scratch.path());
    scratch.started().await;
    drop(held);
    scratch.release();
    client.timeout(Duration::from_millis(5)).submit(naps, 1_000).await.unwrap_err();
    client
}

/// The value of a series, by its name with labels as they stand there.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// The names of the metrics that are described in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn prometheus_accepts_what_it_reads() {
    run(async {
        let client = busy_client().await;
        let address = start(Router::new().merge(Metrics::new(client).tenants(2).router())).await;
        let answer = get(address, "/metrics").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4"));
        is_accepted(&answer.body);
    });
}

#[test]
fn several_clients_have_one_route_and_a_label_each() {
    run(async {
        let (models, images) =
            (busy_client().await, Client::connect("inline://?workers=1").await.unwrap());
        images.submit(naps, 0).await.unwrap();
        let metrics = Metrics::of([("models", models), ("images", images)]).tenants(2);
        let address = start(Router::new().merge(metrics.router())).await;
        let text = get(address, "/metrics").await.body;
        is_accepted(&text);
        let done = |client: &str| {
            let labels =
                format!("function=\"web::metrics::naps\",outcome=\"done\",client=\"{client}\"");
            value(&text, &format!("outboard_tasks_total{{{labels}}}"))
        };
        assert_eq!((done("models"), done("images")), (Some(3.0), Some(1.0)), "{text}");
        let queued = text.lines().filter(|line| line.starts_with("outboard_running_tasks"));
        assert_eq!(queued.count(), 2, "{text}");
    });
}

#[test]
fn pools_have_a_label_each() {
    run(async {
        let url = "inline://?workers=2&pool.gpu.workers=1";
        let client = Client::connect(url).await.unwrap();
        client.submit(naps, 0).await.unwrap();
        client.pool("gpu").tenant("ada").submit(naps, 0).await.unwrap();
        let text = Metrics::new(client).tenants(2).text();
        is_accepted(&text);
        let wanted =
            |pool: &str| value(&text, &format!("outboard_wanted_workers{{pool=\"{pool}\"}}"));
        assert_eq!((wanted("default"), wanted("gpu")), (Some(2.0), Some(1.0)), "{text}");
        let taken = |pool: &str| {
            let labels = format!("function=\"web::metrics::naps\",pool=\"{pool}\"");
            value(&text, &format!("outboard_tasks_submitted_total{{{labels}}}"))
        };
        assert_eq!((taken("default"), taken("gpu")), (Some(1.0), Some(1.0)), "{text}");
        assert!(text.contains("tenant=\"ada\""), "{text}");
    });
}

#[test]
#[should_panic(expected = "two clients have the name")]
fn two_clients_of_one_name_are_refused() {
    run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let _ = Metrics::of([("a", client.clone()), ("a", client)]);
    });
}

/// Checks a text as Prometheus reads it.
fn is_accepted(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script/bootstrap installs promtool");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn each_end_is_counted_once_and_under_its_function() {
    run(async {
        let client = busy_client().await;
        let address = start(metrics(client)).await;
        let text = get(address, "/metrics").await.body;
        let ended = |function: &str, outcome: &str| {
            let name = format!("web::metrics::{function}");
            let series =
                format!("outboard_tasks_total{{function=\"{name}\",outcome=\"{outcome}\"}}");
            value(&text, &series).unwrap_or_else(|| panic!("no {series} in {text}"))
        };
        assert_eq!((ended("naps", "done"), ended("naps", "timed_out")), (3.0, 1.0));
        assert_eq!((ended("fails", "panicked"), ended("fails", "failed")), (1.0, 0.0));
        assert_eq!((ended("crashes", "worker_lost"), ended("crashes", "panicked")), (1.0, 0.0));
        let runs =
            |rest: &str| value(&text, &format!("outboard_run_seconds{rest}")).unwrap_or(f64::NAN);
        let naps = "function=\"web::metrics::naps\"";
        assert_eq!(runs(&format!("_count{{{naps}}}")), 3.0);
        assert_eq!(runs(&format!("_bucket{{{naps},le=\"+Inf\"}}")), 3.0);
        assert_eq!(runs(&format!("_bucket{{{naps},le=\"0.001024\"}}")), 0.0, "they took 3 ms");
        assert!(runs(&format!("_sum{{{naps}}}")) >= 0.009);
        assert_eq!(value(&text, "outboard_worker_ends_total{reason=\"lost\"}"), Some(1.0));
        let doubles = "function=\"web::metrics::doubles\"";
        for metric in ["batch_tasks", "batch_held_seconds"] {
            let count = format!("outboard_{metric}_count{{{doubles}}}");
            assert_eq!(value(&text, &count), Some(1.0), "{text}");
        }
        let of_one = format!("outboard_batch_tasks_bucket{{{doubles},le=\"1\"}}");
        assert_eq!(value(&text, &of_one), Some(1.0), "{text}");
        assert!(!text.contains("tenant"), "tenants are shown only where asked for");
    });
}

#[test]
fn tenants_beyond_the_bound_are_counted_together() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let metrics = Metrics::new(client.clone()).tenants(2);
        let done = |text: &str, tenant: &str| {
            let labels = format!("outcome=\"done\",tenant=\"{tenant}\"");
            let other = format!("tenant=\"{tenant}\",outcome=\"done\"");
            let series = |labels: &str| format!("outboard_tenant_tasks_total{{{labels}}}");
            value(text, &series(&labels)).or_else(|| value(text, &series(&other)))
        };
        client.tenant("ada").submit(naps, 30).await.unwrap();
        client.tenant("bob").submit(naps, 20).await.unwrap();
        for tenant in 0..50 {
            client.tenant(tenant).submit(naps, 0).await.unwrap();
        }
        client.submit(naps, 0).await.unwrap();
        let text = metrics.text();
        assert_eq!((done(&text, "ada"), done(&text, "bob")), (Some(1.0), Some(1.0)), "{text}");
        assert_eq!((done(&text, "other"), done(&text, "7")), (Some(51.0), None));
        client.tenant("ada").submit(naps, 0).await.unwrap();
        client.tenant(7).submit(naps, 0).await.unwrap();
        let text = metrics.text();
        assert_eq!((done(&text, "ada"), done(&text, "other")), (Some(2.0), Some(52.0)));
        let of_tenants = |text: String| {
            let lines = text.lines().filter(|line| line.starts_with("outboard_tenant"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let both = [metrics.text(), metrics.clone().text()].map(of_tenants);
        assert_eq!(both[0], both[1], "what was counted stays so");
    });
}

#[test]
fn the_dashboard_shows_what_is_there_and_all_of_it() {
    run(async {
        let client = busy_client().await;
        // A worker is there again after those that were lost and killed.
        client.submit(naps, 0).await.unwrap();
        let metrics = Metrics::new(client).tenants(2);
        // It is measured beside the first snapshot.
        let measured = "# TYPE outboard_worker_proportional_memory_bytes";
        eventually("PSS is there", || metrics.text().contains(measured)).await;
        let text = metrics.text();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grafana.json");
        let dashboard: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut shown = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let words = target["expr"].as_str().unwrap();
                let words = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let words = words.filter(|word| word.starts_with("outboard_"));
                shown.extend(words.map(|word| word.trim_end_matches("_bucket").to_owned()));
            }
        }
        let shown: BTreeSet<&str> = shown.iter().map(String::as_str).collect();
        assert_eq!(shown, names(&text));
    });
}
