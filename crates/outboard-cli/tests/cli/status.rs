use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use axum::Router;
use axum::routing::get;
use outboard::{Client, TaskFuture};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::{DEADLINE, run};

const SIZE: (u16, u16) = (30, 110);

#[outboard::task]
fn busy() {
    while !outboard::cancelled() {
        thread::yield_now();
    }
}

/// A server with a status page, in this process; gone when dropped.
struct Site {
    runtime: Option<Runtime>,
    client: Client,
    address: SocketAddr,
}

impl Site {
    fn start() -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        let (client, address) = runtime.block_on(async {
            let client = Client::connect("inline://?workers=1").await.expect("it is a good URL");
            let status = outboard_axum::status(client.clone());
            let app = Router::new().route("/fast", get("Hello, world")).nest("/status", status);
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(async move { axum::serve(listener, app).await });
            (client, address)
        });
        Self { runtime: Some(runtime), client, address }
    }

    /// Has the worker compute until the future is dropped.
    fn compute(&self) -> TaskFuture<()> {
        let runtime = self.runtime.as_ref().expect("it is not dropped");
        let _inside = runtime.enter();
        let future = self.client.submit(busy, ());
        let started = async {
            while self.client.admin().snapshot().running == 0 {
                tokio::task::yield_now().await;
            }
        };
        let started = async { tokio::time::timeout(DEADLINE, started).await };
        runtime.block_on(started).expect("the task starts");
        future
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// `outboard status` in a terminal of its own.
struct Screen {
    child: Child,
    keys: ChildStdin,
    written: Arc<Written>,
}

/// What was written to the terminal.
struct Written {
    all: Mutex<(vt100::Parser, String)>,
    more: Condvar,
}

impl Written {
    /// Waits until the screen, and all that was written, are as they should be.
    fn wait_until(&self, what: &str, condition: impl Fn(&vt100::Screen, &str) -> bool) {
        let all = self.all.lock().expect("no reader panicked");
        let not_yet =
            |(shows, said): &mut (vt100::Parser, String)| !condition(shows.screen(), said);
        let waited = self.more.wait_timeout_while(all, DEADLINE, not_yet);
        let (all, timeout) = waited.expect("no reader panicked");
        assert!(!timeout.timed_out(), "{what}: not on {}", all.0.screen().contents());
    }
}

impl Screen {
    /// Starts it in a shell, which says the process before it, and how it ended and
    /// what became of the terminal after it.
    fn start(url: &str) -> Self {
        let shell = format!(
            "stty rows {} cols {}; (echo pid=$(exec sh -c 'echo $PPID')=; exec {} status {url}); \
             echo code=$?=; stty -a",
            SIZE.0,
            SIZE.1,
            env!("CARGO_BIN_EXE_outboard")
        );
        let mut script = Command::new("script");
        script.args(["-qfc", &shell, "/dev/null"]).env("TERM", "xterm-256color");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("script comes with the system");
        let mut out = child.stdout.take().expect("stdout is piped");
        let parser = vt100::Parser::new(SIZE.0, SIZE.1, 0);
        let written =
            Arc::new(Written { all: Mutex::new((parser, String::new())), more: Condvar::new() });
        let into = Arc::clone(&written);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let mut all = into.all.lock().expect("no reader panicked");
                all.0.process(&bytes[..read]);
                all.1.push_str(&String::from_utf8_lossy(&bytes[..read]));
                into.more.notify_all();
            }
        });
        let keys = child.stdin.take().expect("stdin is piped");
        Self { child, keys, written }
    }

    fn wait_until_it_says(&self, what: &str) {
        self.written.wait_until(what, |screen, _| screen.contents().contains(what));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
    }

    /// The process.
    fn pid(&self) -> Pid {
        let pid = |said: &str| {
            said.split("pid=").nth(1)?.split_once('=')?.0.parse().ok().and_then(Pid::from_raw)
        };
        self.written.wait_until("its pid", |_, said| pid(said).is_some());
        let all = self.written.all.lock().expect("no reader panicked");
        pid(&all.1).expect("it was said")
    }

    /// Checks that it ended with success and left the terminal as it was.
    fn has_ended_well(&self) {
        self.wait_until_it_says("code=0=");
        self.wait_until_it_says(" icanon");
        let all = self.written.all.lock().expect("no reader panicked");
        let (screen, text) = (all.0.screen(), all.0.screen().contents());
        assert!(!text.contains("-icanon") && !text.contains("-echo "), "{text}");
        assert!(!screen.alternate_screen(), "the screen is given back");
        assert!(!screen.hide_cursor(), "and the cursor");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn json_is_one_snapshot() {
    let site = Site::start();
    let _computing = site.compute();
    // A server's own address stands for the page there.
    for path in ["/status", "/status/status.json", "", "/"] {
        let (code, stdout, stderr) = run(&["status", &site.url(path), "--json", "-H", "X-Any: it"]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
        let view: Value = serde_json::from_str(&stdout).expect("it is JSON");
        assert_eq!((&view["product"], &view["engine"]), (&"outboard".into(), &"inline".into()));
        let mut workers = view["workers"].as_array().expect("it is one").iter();
        let busy = workers.find(|worker| worker["state"] == "busy").expect("one is busy");
        assert_eq!(busy["task"]["function"], "cli::status::busy");
    }
}

/// A server with https, and the directory of its certificate; gone when dropped.
struct Https {
    runtime: Option<Runtime>,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Https {
    fn start(app: Router) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-out")
            .arg(&cert)
            .arg("-keyout")
            .arg(&key)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&cert).expect("it is one")],
                PrivateKeyDer::from_pem_file(&key).expect("it is one"),
            )
            .expect("they belong together");
        let runtime = Runtime::new().expect("threads can be started");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        runtime.spawn(async move { axum::serve(tls, app).await });
        Self { runtime: Some(runtime), address, directory }
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("it listens");
            // A client that does not trust it hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[test]
fn https_is_asked_where_the_system_trusts_the_certificate() {
    let site = Site::start();
    let status = outboard_axum::status(site.client.clone());
    let https = Https::start(Router::new().nest("/status", status));
    let url = format!("https://localhost:{}", https.address.port());
    let ask = |trusted: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outboard"));
        command.args(["status", &url, "--json"]).env("SSL_CERT_FILE", trusted);
        let output = command.output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = ask(&https.directory.path().join("cert.pem"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("\"product\": \"outboard\""), "{stdout}");

    let other = Https::start(Router::new());
    let (code, stdout, stderr) = ask(&other.directory.path().join("cert.pem"));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("certificate"), "{stderr}");
    let none = https.directory.path().join("none.pem");
    let (code, _, stderr) = ask(&none);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
}

#[test]
fn a_server_without_a_page_is_told_with_both_places() {
    let runtime = Runtime::new().expect("threads can be started");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    runtime.spawn(async move { axum::serve(listener, Router::new()).await });
    let (code, stdout, stderr) = run(&["status", &url, "--json"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains(&format!("nor at {url}/status; give its whole URL")), "{stderr}");
    runtime.shutdown_background();
}

#[test]
fn without_a_page_it_is_one_line_that_says_why() {
    let site = Site::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let closed = free.local_addr().expect("it is bound");
    drop(free);
    for (url, why) in [
        (format!("http://{closed}/status"), "onnection refused"),
        (site.url("/fast"), "this is not a status page of Outboard"),
        (site.url("/nothing"), "http 404: there is no status page"),
        (site.url("/?x=1"), "http 404: there is no status page"),
        ("http://no.such.host.invalid/status".to_owned(), "failed to lookup address"),
    ] {
        let (code, stdout, stderr) = run(&["status", &url, "--json"]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(&url) && stderr.contains(why), "{stderr}");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let (code, stdout, stderr) = run(&["status", "http://127.0.0.1:9/status"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("needs a terminal") && stderr.contains("--json"), "{stderr}");
}

#[test]
fn in_a_terminal_it_follows_the_page_until_q_and_leaves_the_terminal_as_it_was() {
    let site = Site::start();
    let mut screen = Screen::start(&site.url("/status"));
    screen.wait_until_it_says("all well");
    let computing = site.compute();
    screen.wait_until_it_says("cli::status::busy");
    screen.press("r");
    screen.wait_until_it_says("Crashes and panics");
    drop((computing, site));
    screen.wait_until_it_says("no connection since");
    screen.press("q");
    screen.has_ended_well();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let site = Site::start();
    for signal in [Signal::TERM, Signal::INT] {
        let screen = Screen::start(&site.url("/status"));
        let pid = screen.pid();
        screen.wait_until_it_says("all well");
        kill_process(pid, signal).expect("it is there");
        screen.has_ended_well();
    }
}
