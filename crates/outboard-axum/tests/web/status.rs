use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use outboard::Client;
use outboard::admin::WorkerState;
use outboard_axum::{Status, status, view::View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Answer, Scratch, eventually, get, get_with, hold, receive, run, send, start};

/// What no page may take for markup.
const HOSTILE: &str = "<script>alert(1)</script>";

#[outboard::task]
fn crashes_loudly() {
    eprintln!("{HOSTILE}");
    std::process::abort()
}

#[outboard::task]
fn panics_loudly() {
    panic!("{HOSTILE}")
}

#[outboard::task]
fn answers(n: u64) -> u64 {
    n
}

async fn local() -> Client {
    Client::local().workers(1).await.unwrap()
}

async fn view(address: SocketAddr, path: &str) -> View {
    let answer = get_with(address, path, "accept: application/json\r\n").await;
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

async fn post(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let rest = format!("content-length: 0\r\n{headers}\r\n");
    stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
    receive(stream).await.expect("an answer")
}

/// One who looks, and reads events as they come.
struct Viewer {
    stream: TcpStream,
    text: String,
}

impl Viewer {
    async fn open(address: SocketAddr, path: &str) -> Self {
        Self { stream: send(address, path, "").await, text: String::new() }
    }

    /// One whose socket holds little of what it has not read.
    async fn small(address: SocketAddr, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// The data of the next event of a name, leaving out all others; `None` at the
    /// end.
    async fn next(&mut self, name: &str) -> Option<serde_json::Value> {
        loop {
            let event = self.event().await?;
            if let Some(data) = event.strip_prefix(&format!("event: {name}\ndata: ")) {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next bar that is the first of its turn.
    async fn bar(&mut self) -> serde_json::Value {
        loop {
            let turn = self.next("turn").await.unwrap();
            if !turn["bars"][0].is_null() {
                return turn["bars"][0].clone();
            }
        }
    }

    async fn event(&mut self) -> Option<String> {
        loop {
            // A chunk begins with its length, which is no line of an event.
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let begin = event.find("event: ").unwrap_or(event.len());
                let event = event[begin..].to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.text += std::str::from_utf8(&bytes[..read]).unwrap(),
            }
        }
    }
}

#[test]
fn it_is_there_under_any_prefix_with_headers_that_bind_it() {
    run(async {
        let client = local().await;
        let app = Router::new()
            .nest("/status", status(client.clone()))
            .nest("/ops/deep", status(client.clone()))
            .nest_service("/slash", status::<()>(client).with_state(()));
        let address = start(app).await;
        for (path, base) in [
            ("/status", "./status/"),
            ("/ops/deep", "./deep/"),
            ("/slash/", "./"),
            ("/slash", "./slash/"),
        ] {
            let page = get(address, path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(page.body.contains(&format!("src=\"{base}page.js\"")), "{path}: {}", page.body);
            let script = format!("{}/page.js", path.trim_end_matches('/'));
            assert_eq!(
                get(address, &script).await.header("content-type"),
                Some("text/javascript; charset=utf-8"),
                "{script}"
            );
        }
        for path in ["/status", "/status/page.css", "/status/status.json"] {
            let answer = get(address, path).await;
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    });
}

#[test]
fn json_says_what_runs_what_waits_and_what_crashed() {
    run(async {
        // A spare would be lent to the tenant that waits.
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        client.tenant("ann").submit(answers, 1).await.unwrap();
        client.submit(crashes_loudly, ()).await.unwrap_err();
        client.submit(panics_loudly, ()).await.unwrap_err();
        let scratch = Scratch::new();
        let held = client.tenant("ann").submit(hold, scratch.path());
        scratch.started().await;
        // Some are sent ahead, the others wait.
        let other = client.tenant(HOSTILE).priority(3);
        let _wait: Vec<_> = (0..200).map(|n| other.submit(answers, n)).collect();
        let view = view(address, "/status").await;
        assert_eq!((view.product.as_str(), view.engine.as_str()), ("outboard", "local"));
        assert!(view.open && !view.controls);
        let worker = view.workers.iter().find(|worker| worker.state == "busy").unwrap();
        let task = worker.task.as_ref().unwrap();
        assert_eq!(
            (task.task.clone(), task.function.as_str(), task.tenant.as_deref()),
            (held.id().unwrap().to_string(), "web::conformance::hold", Some("ann"))
        );
        let line = &view.queue[0];
        assert_eq!((line.priority, line.tenant.as_deref()), (3, Some(HOSTILE)));
        assert!(line.queued > 0 && line.queued == view.tasks.queued, "{line:?}");
        let crash = &view.crashes[0];
        assert_eq!(
            (crash.cause.as_deref(), &crash.stderr[..]),
            (Some("killed by SIGABRT"), &[HOSTILE.to_owned()][..])
        );
        assert_eq!(view.panics[0].message, HOSTILE);
        let crashed = view.alerts.iter().any(|alert| alert.text.starts_with("A worker crashed"));
        assert!(crashed, "{:?}", view.alerts);
        let row = view.functions.iter().find(|row| row.function == "web::status::answers").unwrap();
        assert_eq!((row.outcomes.done, row.run.counts.iter().sum::<u64>()), (1, 1));
        assert_eq!(view, serde_json::from_str(&serde_json::to_string(&view).unwrap()).unwrap());
        scratch.release();
    });
}

#[test]
fn what_is_hostile_never_leaves_its_string() {
    run(async {
        let client = local().await;
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        client.tenant(HOSTILE).submit(crashes_loudly, ()).await.unwrap_err();
        let json = get(address, "/status/status.json").await;
        assert!(json.body.contains("script"), "{}", json.body);
        assert_eq!(json.header("content-type"), Some("application/json"), "so it is no page");
        let page = get(address, "/status").await;
        assert!(!page.body.contains("alert(1)"), "the page has no data in it");
        let odd = get(address, "/status?%3Cscript%3E'").await;
        assert_eq!(odd.body, page.body);
    });
}

#[test]
fn a_viewer_sees_a_task_run_and_end_and_a_crash() {
    run(async {
        let client = local().await;
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        let mut viewer = Viewer::open(address, "/status/events").await;
        assert_eq!(viewer.next("hello").await.unwrap()["new"], true);
        let scratch = Scratch::new();
        let held = client.submit(hold, scratch.path());
        let id = held.id().unwrap().to_string();
        loop {
            let view = viewer.next("view").await.unwrap();
            let mut workers = view["workers"].as_array().unwrap().iter();
            if workers.any(|worker| worker["task"]["task"] == id.as_str()) {
                break;
            }
        }
        scratch.release();
        held.await.unwrap();
        let bar = viewer.bar().await;
        assert_eq!((&bar["end"], &bar["task"]), (&"done".into(), &id.as_str().into()), "{bar}");
        client.submit(crashes_loudly, ()).await.unwrap_err();
        let crash = viewer.next("crash").await.unwrap();
        assert_eq!(crash["stderr"][0], HOSTILE);
        // One who comes later is told all of that.
        let mut late = Viewer::open(address, "/status/events").await;
        assert_eq!(late.next("crash").await.unwrap()["at_ms"], crash["at_ms"]);
        assert_eq!(late.bar().await["task"], id.as_str());
    });
}

/// Whether somebody watches the client: only then events are kept.
async fn is_watched(client: &Client) -> bool {
    let future = client.submit(answers, 1);
    let id = future.id().unwrap();
    future.await.unwrap();
    client.admin().story(id).is_some()
}

#[test]
fn there_is_one_reading_while_somebody_looks_and_none_otherwise() {
    run(async {
        let client = local().await;
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        get(address, "/status").await;
        get(address, "/status/status.json").await;
        assert!(!is_watched(&client).await, "a page and a view are no reading");
        let mut viewers = Vec::new();
        for _ in 0..3 {
            let mut viewer = Viewer::open(address, "/status/events").await;
            viewer.next("view").await.unwrap();
            viewers.push(viewer);
        }
        assert!(is_watched(&client).await);
        viewers.truncate(1);
        viewers[0].next("view").await.unwrap();
        assert!(is_watched(&client).await, "one is left");
        viewers.clear();
        // The server notices that the last has gone when it writes to it.
        let start = std::time::Instant::now();
        while is_watched(&client).await {
            assert!(start.elapsed() < Duration::from_secs(60), "the reading goes on");
        }
    });
}

#[test]
fn a_viewer_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
    run(async {
        let client = local().await;
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        let mut slow = Viewer::small(address, "/status/events").await;
        slow.next("view").await.unwrap();
        // Large messages, so that what the sockets hold is soon full.
        let tenant = "a tenant with a long name, ".repeat(200);
        let mut quick = Viewer::open(address, "/status/events").await;
        let (mut bytes, mut messages) = (0, 0);
        while bytes < 8 << 20 || messages < 50 {
            let batch = (0..50).map(|n| client.tenant(format!("{tenant}{n}")).submit(answers, n));
            outboard::gather(batch.collect::<Vec<_>>()).await.unwrap();
            bytes += quick.event().await.expect("the quick one goes on").len();
            messages += 1;
        }
        let missed = slow.next("missed").await.expect("it is told");
        assert!(missed["messages"].as_u64() > Some(0), "{missed}");
        slow.next("view").await.expect("and goes on with what there is now");
    });
}

#[test]
fn streams_end_with_the_server() {
    run(async {
        let client = local().await;
        let app = Router::new().nest("/status", status(client.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = outboard_axum::serve(listener, app)
            .client(client)
            .grace(Duration::from_secs(1_000))
            .stop_on(async { stopped.await.unwrap() });
        let served = tokio::spawn(serve.into_future());
        let mut viewer = Viewer::open(address, "/status/events").await;
        viewer.next("view").await.unwrap();
        stop.send(()).unwrap();
        viewer.next("end").await.expect("it is told");
        assert!(viewer.event().await.is_none(), "and cut off");
        let cut = served.await.unwrap().unwrap();
        assert!(cut.is_nothing(), "{cut}");
    });
}

const OWN: &str = "x-outboard-status: 1\r\n";

#[test]
fn without_controls_nothing_can_be_done() {
    run(async {
        let client = local().await;
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        for path in ["/drain", "/cancel/1.0", "/recycle/1", "/", "/status.json"] {
            let answer = post(address, &format!("/status{path}"), OWN).await;
            assert!(matches!(answer.status, 404 | 405), "{path}: {answer:?}");
        }
        assert!(client.admin().snapshot().open);
    });
}

#[test]
fn controls_cancel_recycle_and_drain() {
    run(async {
        let client = local().await;
        let page = Status::new(client.clone()).controls(true).router();
        let address = start(Router::new().nest("/status", page)).await;
        assert!(view(address, "/status").await.controls);
        let scratch = Scratch::new();
        let held = client.submit(hold, scratch.path());
        scratch.started().await;
        let cancel = format!("/status/cancel/{}", held.id().unwrap());
        assert_eq!(post(address, &cancel, OWN).await.status, 200);
        assert!(held.await.unwrap_err().is_cancelled());
        assert_eq!(post(address, &cancel, OWN).await.status, 404, "it has ended");
        assert_eq!(post(address, "/status/cancel/nonsense", OWN).await.status, 400);
        client.submit(answers, 1).await.unwrap();
        // The worker of the task that was cancelled may still be on its way out.
        let idle = |client: &Client| {
            let workers = client.admin().snapshot().per_worker.into_iter();
            let mut idle = workers.filter(|worker| worker.state == WorkerState::Idle);
            idle.next().map(|worker| worker.number)
        };
        eventually("a worker serves", || idle(&client).is_some()).await;
        let recycle = format!("/status/recycle/{}", idle(&client).unwrap());
        assert_eq!(post(address, &recycle, OWN).await.status, 200);
        eventually("it is replaced", || client.admin().snapshot().restarts.recycled == 1).await;
        assert_eq!(post(address, "/status/recycle/999", OWN).await.status, 404);
        assert_eq!(post(address, "/status/recycle/x", OWN).await.status, 400);
        assert_eq!(post(address, "/status/drain", OWN).await.status, 200);
        assert!(client.submit(answers, 1).await.unwrap_err().is_closed());
        assert!(!view(address, "/status").await.open);
    });
}

#[test]
fn requests_of_other_sites_are_refused() {
    run(async {
        let client = local().await;
        let page = Status::new(client.clone()).controls(true).router();
        let address = start(Router::new().nest("/status", page)).await;
        let own = |more: &str| format!("{OWN}{more}\r\n");
        for hostile in [
            // What a form or a script without leave sends.
            String::new(),
            "content-type: application/x-www-form-urlencoded\r\n".to_owned(),
            "sec-fetch-site: same-origin\r\n".to_owned(),
            // What a script sends that an application's CORS lets through.
            own("sec-fetch-site: cross-site"),
            own("sec-fetch-site: same-site"),
            own("sec-fetch-site: none"),
            own("origin: http://evil.example"),
            own("origin: null"),
            own(&format!("origin: http://{address}.evil.example")),
            own(&format!("origin: http://{address}\r\nsec-fetch-site: cross-site")),
        ] {
            let answer = post(address, "/status/drain", &hostile).await;
            assert_eq!(answer.status, 403, "{hostile:?}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        assert_eq!(get_with(address, "/status/drain", OWN).await.status, 405, "only POST");
        assert!(client.admin().snapshot().open, "nothing was drained");
        let same = own(&format!("origin: http://{address}"));
        assert_eq!(post(address, "/status/drain", &same).await.status, 200);
    });
}

#[test]
fn every_engine_has_one() {
    run(async {
        let client = Client::connect("inline://?workers=2").await.unwrap();
        let address = start(Router::new().nest("/status", status(client.clone()))).await;
        let mut viewer = Viewer::open(address, "/status/events").await;
        viewer.next("view").await.unwrap();
        client.submit(answers, 1).await.unwrap();
        client.submit(panics_loudly, ()).await.unwrap_err();
        let mut ends = Vec::new();
        while ends.len() < 2 {
            let turn = viewer.next("turn").await.unwrap();
            ends.extend(turn["bars"].as_array().unwrap().iter().map(|bar| bar["end"].clone()));
        }
        assert_eq!(ends, ["done", "failed"]);
        let view = view(address, "/status").await;
        assert_eq!((view.engine.as_str(), view.workers.len()), ("inline", 2));
        assert!(view.workers.iter().all(|worker| worker.memory_bytes.is_none()));
    });
}

#[test]
fn a_site_whose_name_leads_here_reads_nothing() {
    run(async {
        let client = local().await;
        let hosts = ["ops.example.com"];
        let named = Status::new(client.clone()).controls(true).hosts(hosts).router();
        let app = Router::new()
            .nest("/status", Status::new(client).controls(true).router())
            .nest("/named", named);
        let address = start(app).await;
        let asked = async |method: &str, path: &str, host: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            let rest = "content-length: 0\r\nx-outboard-status: 1\r\n\r\n";
            stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
            receive(stream).await.unwrap()
        };
        for (method, path) in [
            ("GET", "/status"),
            ("GET", "/status/status.json"),
            ("GET", "/status/events"),
            ("GET", "/named/status.json"),
            ("POST", "/status/recycle/1"),
        ] {
            let answer = asked(method, path, "evil.example:9000").await;
            assert_eq!(answer.status, 421, "{path}: {answer:?}");
            assert!(answer.body.contains("Status::hosts"), "{answer:?}");
        }
        for host in ["127.0.0.1:1", "[::1]:1", "localhost:1", "server"] {
            assert_eq!(asked("GET", "/status/status.json", host).await.status, 200, "{host}");
        }
        assert_eq!(asked("GET", "/named/status.json", "OPS.example.com:443").await.status, 200);
        // Worker 1 may be the one that stands by.
        let answer = asked("POST", "/named/recycle/1", "ops.example.com").await;
        assert!([200, 404].contains(&answer.status), "{answer:?}");
    });
}
