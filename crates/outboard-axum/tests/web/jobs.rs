use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State;
use axum::response::Html;
use axum::routing::{get as route, post};
use axum::{Router, response::IntoResponse};
use browser::{Browser, Scheme};
use outboard::{Client, SendError, Sender};
use outboard_axum::{Compute, Cut, Jobs, Offload, tenant};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{
    Answer, Scratch, ask, eventually, get, hold, lives, receive, run, send, start,
};

/// Sends half of its items, waits until it is released, and sends the rest.
#[outboard::task]
fn halves(at: PathBuf, to: u32, out: Sender<u32>) -> Result<u32, SendError> {
    outboard::progress(1, 2, "the first half");
    (0..to / 2).try_for_each(|n| out.send(n))?;
    hold(at);
    (to / 2..to).try_for_each(|n| out.send(n))?;
    Ok(to)
}

#[outboard::task]
fn panics() {
    panic!("secret at /etc");
}

#[derive(Clone)]
struct Site {
    jobs: Jobs,
    at: PathBuf,
}

async fn held(State(site): State<Site>, compute: Compute) -> impl IntoResponse {
    site.jobs.submit(&compute, hold, site.at)
}

async fn streams(State(site): State<Site>, compute: Compute) -> impl IntoResponse {
    site.jobs.stream(&compute, halves, (site.at, 10))
}

async fn fails(State(site): State<Site>, compute: Compute) -> impl IntoResponse {
    site.jobs.submit(&compute, panics, ())
}

fn app(client: Client, jobs: Jobs, scratch: &Scratch) -> Router {
    Router::new()
        .route("/held", post(held))
        .route("/streams", post(streams))
        .route("/fails", post(fails))
        .nest("/jobs", jobs.router())
        .with_state(Site { jobs, at: scratch.path() })
        .layer(Offload::new(client).tenant(tenant::header("x-tenant")))
}

/// A server with one worker.
struct Scene {
    client: Client,
    scratch: Scratch,
    server: SocketAddr,
}

impl Scene {
    async fn new(jobs: Jobs) -> Self {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let server = start(app(client.clone(), jobs, &scratch)).await;
        Self { client, scratch, server }
    }

    /// Starts a job; its path.
    async fn submit(&self, path: &str) -> String {
        let answer = ask("POST", self.server, path, "").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").expect("it says where the job is").to_owned()
    }

    async fn job(&self, job: &str) -> Value {
        let answer = get(self.server, job).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The job, once it has that state.
    async fn job_is(&self, job: &str, state: &str) -> Value {
        loop {
            let now = self.job(job).await;
            if now["state"] == state {
                return now;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn events_after(&self, job: &str, seen: &str) -> Answer {
        let headers = format!("last-event-id: {seen}\r\n");
        ask("GET", self.server, &format!("{job}/events"), &headers).await
    }
}

/// The items of events, by their ids.
fn items(answer: &Answer) -> Vec<(u32, u32)> {
    let events = answer.body.split("\n\n").filter_map(|event| {
        let event = event.rsplit("\r\n").next()?;
        let (id, data) = event.strip_prefix("id: ")?.split_once("\ndata: ")?;
        Some((id.parse().ok()?, data.parse().ok()?))
    });
    events.collect()
}

fn all(from: u32, to: u32) -> Vec<(u32, u32)> {
    (from..to).map(|n| (n, n)).collect()
}

#[test]
fn a_job_is_accepted_told_and_gives_its_output() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        let job = scene.submit("/held").await;
        scene.scratch.started().await;
        let told = scene.job_is(&job, "running").await;
        assert!(job.ends_with(told["id"].as_str().unwrap()), "{told}");
        assert!(told["submitted_at_ms"].as_u64().unwrap() > 1_500_000_000_000, "{told}");
        assert!(told.get("output").is_none() && told.get("ended_at_ms").is_none(), "{told}");
        let waits = scene.submit("/held").await;
        assert_eq!(scene.job(&waits).await["state"], "queued");
        let worker = scene.scratch.pid();
        scene.scratch.release();
        let told = scene.job_is(&job, "done").await;
        assert_eq!(told["output"], worker);
        assert!(told["ended_at_ms"].as_u64() >= told["submitted_at_ms"].as_u64(), "{told}");
        assert!(told["queue_ms"].is_u64() && told["run_ms"].is_u64(), "{told}");
        scene.job_is(&waits, "done").await;
        let refused = ask("POST", scene.server, &job, "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, Some("get,head,delete")));
        assert_eq!(get(scene.server, &format!("{job}/other")).await.status, 404);
    });
}

#[test]
fn events_go_on_where_their_reader_left_off_and_end_once() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        let job = scene.submit("/streams").await;
        let mut reader = send(scene.server, &format!("{job}/events"), "").await;
        scene.scratch.started().await;
        let mut seen = String::new();
        while !(seen.contains("id: 4\ndata: 4\n") && seen.contains("event: progress")) {
            let mut some = [0; 1000];
            let count = reader.read(&mut some).await.unwrap();
            assert!(count > 0, "{seen}");
            seen += std::str::from_utf8(&some[..count]).unwrap();
        }
        let said = seen.split("event: progress\ndata: ").nth(1).and_then(|it| it.lines().next());
        let expected = json!({ "done": 1, "total": 2, "text": "the first half" });
        assert_eq!(serde_json::from_str::<Value>(said.unwrap()).unwrap(), expected);
        let told = scene.job(&job).await;
        assert_eq!(told["progress"], expected);
        assert_eq!(told["items"], 5);
        drop(reader);
        // The task goes on without a reader.
        scene.scratch.release();
        assert_eq!(scene.job_is(&job, "done").await["output"], json!({ "Ok": 10 }));
        let rest = scene.events_after(&job, "4").await;
        assert_eq!(rest.header("content-type"), Some("text/event-stream"));
        assert_eq!(items(&rest), all(5, 10));
        let end = "id: end\nevent: output\ndata: {\"Ok\":10}\n";
        assert!(rest.body.contains(end), "{}", rest.body);
        assert_eq!(items(&scene.events_after(&job, "from elsewhere").await), all(0, 10));
        assert_eq!(items(&scene.events_after(&job, "9").await), []);
        assert_eq!(scene.events_after(&job, "end").await.status, 204);
    });
}

#[test]
fn what_is_not_kept_of_a_stream_is_told() {
    run(async {
        // Two items, as each counts 48 bytes beside its own.
        let scene = Scene::new(Jobs::at("/jobs").replay_bytes(100)).await;
        let job = scene.submit("/streams").await;
        scene.scratch.release();
        scene.job_is(&job, "done").await;
        let answer = scene.events_after(&job, "").await;
        assert!(answer.body.contains("event: dropped\ndata: {\"items\":8}\n"), "{}", answer.body);
        assert_eq!(items(&answer), all(8, 10));
        let answer = scene.events_after(&job, "5").await;
        assert!(answer.body.contains("event: dropped\ndata: {\"items\":2}\n"), "{}", answer.body);
        assert!(!scene.events_after(&job, "7").await.body.contains("dropped"));
    });
}

#[test]
fn a_delete_kills() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        let job = scene.submit("/held").await;
        scene.scratch.started().await;
        let worker = scene.scratch.pid();
        let reader = send(scene.server, &format!("{job}/events"), "").await;
        assert_eq!(ask("DELETE", scene.server, &job, "").await.status, 204);
        eventually("its worker is killed", || !lives(worker)).await;
        let told = scene.job(&job).await;
        assert_eq!(
            (&told["state"], &told["problem"]["kind"]),
            (&json!("cancelled"), &json!("cancelled"))
        );
        let end = receive(reader).await.expect("its events end").body;
        assert!(end.contains("event: problem") && end.contains("cancelled"), "{end}");
        assert!(!scene.scratch.is_finished());
        assert_eq!(ask("DELETE", scene.server, &job, "").await.status, 204, "it is so already");
        eventually("it counts so", || scene.client.admin().snapshot().cancelled == 1).await;
    });
}

#[test]
fn a_failure_is_told_without_its_secrets() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        let job = scene.submit("/fails").await;
        let told = scene.job_is(&job, "failed").await;
        assert_eq!(told["problem"]["kind"], "panicked");
        let events = scene.events_after(&job, "").await.body;
        assert!(events.contains("event: problem") && !events.contains("secret"), "{events}");
        assert!(!told.to_string().contains("secret"), "{told}");
    });
}

#[test]
fn a_job_is_of_its_tenant_alone() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        let ann = "x-tenant: ann\r\n";
        let answer = ask("POST", scene.server, "/held", ann).await;
        let job = answer.header("location").unwrap();
        scene.scratch.started().await;
        for headers in ["", "x-tenant: bob\r\n"] {
            for (method, path) in [("GET", job), ("DELETE", job), ("GET", &format!("{job}/events"))]
            {
                let answer = ask(method, scene.server, path, headers).await;
                assert_eq!(answer.status, 404, "{method} {path} {headers}");
            }
        }
        assert_eq!(ask("GET", scene.server, job, ann).await.status, 200);
        let unknown = format!("/jobs/{}", "0".repeat(48));
        assert_eq!(ask("GET", scene.server, &unknown, ann).await.status, 404);
        assert_eq!(ask("DELETE", scene.server, job, ann).await.status, 204);
    });
}

#[test]
fn without_a_place_a_job_is_refused_and_what_was_dropped_is_gone() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs/").max_jobs(2).tenant_jobs(1)).await;
        let job = scene.submit("/held").await;
        let refused = ask("POST", scene.server, "/held", "").await;
        assert_eq!(refused.status, 429);
        let other = ask("POST", scene.server, "/held", "x-tenant: ann\r\n").await;
        assert_eq!(other.status, 202);
        let refused = ask("POST", scene.server, "/held", "x-tenant: bob\r\n").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let now = scene.client.admin().snapshot();
        assert_eq!(now.running + now.queued, 2, "nothing was submitted for it");
        scene.scratch.release();
        scene.job_is(&job, "done").await;
        let next = ask("POST", scene.server, "/held", "x-tenant: bob\r\n").await;
        assert_eq!(next.status, 202);
        assert_eq!(get(scene.server, &job).await.status, 410);
        assert_eq!(get(scene.server, &format!("{job}/events")).await.status, 410);
        assert_eq!(ask("DELETE", scene.server, &job, "").await.status, 410);
    });
}

#[test]
fn a_job_is_kept_for_so_long_and_an_output_that_is_too_large_fails() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs").keep(Duration::ZERO)).await;
        let job = scene.submit("/fails").await;
        while get(scene.server, &job).await.status == 200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(get(scene.server, &job).await.status, 410);
        let small = Scene::new(Jobs::at("/jobs").max_bytes(1025)).await;
        let job = small.submit("/held").await;
        small.scratch.release();
        assert_eq!(small.job_is(&job, "failed").await["problem"]["kind"], "too_large");
    });
}

#[test]
fn a_task_that_is_refused_is_no_job() {
    run(async {
        let scene = Scene::new(Jobs::at("/jobs")).await;
        scene.client.drain().await;
        for path in ["/held", "/streams"] {
            let answer = ask("POST", scene.server, path, "").await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.body.contains("\"kind\":\"closed\""), "{answer:?}");
        }
    });
}

/// A server that ends.
async fn serve(grace: Duration) -> (Scene, oneshot::Sender<()>, JoinHandle<std::io::Result<Cut>>) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let app = app(client.clone(), Jobs::at("/jobs"), &scratch);
    let serve = outboard_axum::serve(listener, app)
        .client(client.clone())
        .grace(grace)
        .stop_on(async { stopped.await.unwrap() });
    (Scene { client, scratch, server }, stop, tokio::spawn(serve.into_future()))
}

#[test]
fn a_server_that_ends_lets_jobs_finish_whether_somebody_reads_or_not() {
    run(async {
        for reads in [true, false] {
            let (scene, stop, ended) = serve(Duration::from_secs(1000)).await;
            let job = scene.submit("/streams").await;
            scene.scratch.started().await;
            let events = format!("{job}/events");
            let reader = if reads { Some(send(scene.server, &events, "").await) } else { None };
            // It is served before the server stops to accept.
            assert_eq!(get(scene.server, &job).await.status, 200);
            stop.send(()).unwrap();
            while tokio::net::TcpStream::connect(scene.server).await.is_ok() {
                tokio::task::yield_now().await;
            }
            scene.scratch.release();
            if let Some(reader) = reader {
                let answer = receive(reader).await.expect("events");
                assert_eq!(items(&answer), all(0, 10));
                assert!(answer.body.contains("event: output"), "{}", answer.body);
            }
            let cut = ended.await.unwrap().unwrap();
            assert!(cut.is_nothing() && scene.scratch.is_finished(), "{cut}");
        }
    });
}

#[test]
fn a_job_that_does_not_finish_in_time_is_cut_and_its_reader_told_so() {
    run(async {
        let (scene, stop, ended) = serve(Duration::from_millis(100)).await;
        let job = scene.submit("/held").await;
        scene.scratch.started().await;
        let reader = send(scene.server, &format!("{job}/events"), "").await;
        assert_eq!(get(scene.server, &job).await.status, 200);
        stop.send(()).unwrap();
        let end = receive(reader).await.expect("events").body;
        assert!(end.contains("event: problem") && end.contains("\"kind\":\"closed\""), "{end}");
        let cut = ended.await.unwrap().unwrap();
        assert_eq!(cut.tasks, 1, "{cut}");
        assert!(!lives(scene.scratch.pid()));
    });
}

/// A page that starts a job, and reads it.
const PAGE: &str = "<!doctype html><title>job</title><script>
    window.seen = []; window.ends = []; window.opened = 0;
    async function begin() {
        const answer = await fetch('/streams', { method: 'POST' });
        window.job = answer.headers.get('location');
        read();
    }
    function read() {
        const source = window.source = new EventSource(window.job + '/events');
        source.onopen = () => { window.opened += 1 };
        source.onmessage = event => window.seen.push([event.lastEventId, event.data]);
        source.addEventListener('output', event => window.ends.push(event.data));
    }
</script>";

#[test]
fn a_browser_reads_connects_again_and_sees_the_end() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (scene, cuts) = runtime.block_on(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let page = Router::new().route("/", route(async || Html(PAGE)));
        let inner = start(app(client.clone(), Jobs::at("/jobs"), &scratch).merge(page)).await;
        let (server, cuts) = breaks(inner).await;
        (Scene { client, scratch, server }, cuts)
    });
    let browser = Browser::start();
    browser.open(&format!("http://{}/", scene.server), [800, 600], Scheme::Light);
    browser.script("begin()");
    browser.wait_for("the first half", "window.seen.length == 5");
    // The network fails. EventSource connects again by itself, and says what it has seen.
    cuts.send(()).unwrap();
    browser.wait_for("it has connected again", "window.opened == 2");
    scene.scratch.release();
    browser.wait_for("the end", "window.ends.length == 1");
    // The server has closed the stream; it connects a third time, and gives up.
    browser.wait_for("it stops by itself", "window.source.readyState == EventSource.CLOSED");
    let seen = browser.script("return window.seen");
    let expected: Vec<_> = (0..10).map(|n| json!([n.to_string(), n.to_string()])).collect();
    assert_eq!(seen, json!(expected), "no item twice, none lost");
    assert_eq!(browser.script("return window.ends"), json!(["{\"Ok\":10}"]));
    // One who comes back later sees it all.
    browser.script("window.seen = []; window.ends = []; read()");
    browser.wait_for("the end again", "window.ends.length == 1 && window.seen.length == 10");
    drop(scene);
}

/// A network before a server, whose connections break when asked for.
async fn breaks(server: SocketAddr) -> (SocketAddr, tokio::sync::broadcast::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cut, _) = tokio::sync::broadcast::channel::<()>(1);
    let cuts = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cut = cuts.subscribe();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cut.recv() => near.set_zero_linger().unwrap(),
                }
            });
        }
    });
    (address, cut)
}
