//! A real Dask cluster: a scheduler and workers, processes of their own on
//! free ports of 127.0.0.1.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};

use outboard::Client;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::server::{CLUSTER, Server};
use crate::support::{DEADLINE, eventually, found};

/// A release of `distributed`, by the name that `script/bootstrap` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    Oldest,
    Newest,
}

/// Python code that starts a program of Dask, and ends it with whoever started
/// it: then stdin ends.
pub(super) const START: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(1)), daemon=True).start()
name = sys.argv.pop(1)
sys.argv[0] = 'dask-' + name
__import__('distributed.cli.dask_' + name, fromlist=['main']).main()
";

impl Release {
    pub(crate) fn python(self) -> PathBuf {
        let name = match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python");
        let python = root.join(name).join("bin/python");
        assert!(python.exists(), "{} is missing: run script/bootstrap", python.display());
        python
    }

    /// A cluster that all tests of this release share: one that none of them
    /// harms.
    pub(crate) async fn shared(self) -> Arc<Cluster> {
        static SHARED: [OnceLock<Arc<Cluster>>; 2] = [OnceLock::new(), OnceLock::new()];
        let shared = &SHARED[self as usize];
        let cluster = shared.get_or_init(|| Arc::new(Cluster::start(self, 2, None))).clone();
        cluster.ready().await;
        cluster
    }

    /// A cluster of native workers that all tests of this release share: one that
    /// none of them harms.
    pub(crate) async fn shared_native(self) -> Arc<Cluster> {
        static SHARED: [OnceLock<Arc<Cluster>>; 2] = [OnceLock::new(), OnceLock::new()];
        let start = || {
            let mut cluster = Cluster::start(self, 0, None);
            cluster.add_native("workers=2&spares=1");
            Arc::new(cluster)
        };
        let cluster = SHARED[self as usize].get_or_init(start).clone();
        cluster.ready().await;
        cluster
    }

    /// A cluster of a test's own, with one native worker of two processes.
    pub(crate) async fn native(self) -> Cluster {
        let mut cluster = Cluster::start(self, 0, None);
        cluster.add_native("workers=2&spares=1");
        cluster.ready().await;
        cluster
    }

    /// A cluster of a test's own, with one worker, that speaks TLS.
    pub(crate) async fn secured(self, certificates: Certificates) -> Cluster {
        let cluster = Cluster::start(self, 1, Some(certificates));
        cluster.ready().await;
        cluster
    }

    /// A cluster of a test's own, whose scheduler is on another host than all the rest,
    /// and which compresses in that way what goes from one to another.
    pub(crate) fn compressing(self, way: &'static str, workers: usize) -> Cluster {
        Cluster::start_as(self, workers, None, Some(way))
    }

    /// A cluster of a test's own.
    pub(crate) async fn cluster(self, workers: usize) -> Cluster {
        let cluster = Cluster::start(self, workers, None);
        cluster.ready().await;
        cluster
    }
}

/// Its processes, killed when it is dropped.
pub(crate) struct Cluster {
    release: Release,
    directory: TempDir,
    port: u16,
    certificates: Option<Certificates>,
    compression: Option<&'static str>,
    scheduler: Program,
    workers: Vec<Program>,
}

/// One process.
struct Program(Child);

/// Says how what goes from host to host is compressed.
const COMPRESSION: &str = "DASK_DISTRIBUTED__COMM__COMPRESSION";

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(
        release: Release,
        name: &str,
        directory: &Path,
        compression: Option<&str>,
        args: &[&str],
    ) -> Self {
        let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let child = Command::new(release.python())
            .args(["-c", START, name])
            .args(args)
            // The modules that only workers have.
            .env("PYTHONPATH", if name == "worker" { python_path() } else { OsString::new() })
            .env("OUTBOARD_PLUGIN", directory.join("program"))
            .env("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "5s")
            .envs(compression.map(|way| (COMPRESSION, way)))
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn process(&self) -> Process {
        Process::open(self.0.id())
    }
}

/// Where the tests' Python modules are.
fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/dask/modules")
}

/// Where workers find them, and the plugin.
fn python_path() -> OsString {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    std::env::join_paths([modules(), plugin]).unwrap()
}

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cluster {
    fn start(release: Release, workers: usize, certificates: Option<Certificates>) -> Self {
        Self::start_as(release, workers, certificates, None)
    }

    fn start_as(
        release: Release,
        workers: usize,
        certificates: Option<Certificates>,
        compression: Option<&'static str>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let secured = certificates.as_ref();
        let scheduler = start_scheduler(release, directory.path(), port, secured, compression);
        let workers_of_it = Vec::new();
        let mut cluster = Self {
            release,
            directory,
            port,
            certificates,
            compression,
            scheduler,
            workers: workers_of_it,
        };
        (0..workers).for_each(|_| cluster.add_worker());
        cluster
    }

    /// Starts one more worker, with one thread.
    pub(crate) fn add_worker(&mut self) {
        let scheduler = self.address();
        let mut args = vec![
            scheduler.as_str(),
            "--host=127.0.0.1",
            "--dashboard-address=127.0.0.1:0",
            "--nthreads=1",
            "--no-nanny",
        ];
        let secured = self.certificates.iter().flat_map(Certificates::args).collect::<Vec<_>>();
        args.extend(secured.iter().map(String::as_str));
        self.push_worker(&args);
    }

    /// Starts one more worker of Python's that listens at one place and is known by
    /// another one.
    pub(crate) fn add_worker_behind(&mut self, listens: &str, known: &str) {
        let scheduler = self.address();
        let [listens, known] = [("listen", listens), ("contact", known)]
            .map(|(name, place)| format!("--{name}-address=tcp://{place}"));
        let dashboard = "--dashboard-address=127.0.0.1:0";
        self.push_worker(&[&scheduler, &listens, &known, dashboard, "--nthreads=1", "--no-nanny"]);
    }

    fn push_worker(&mut self, args: &[&str]) {
        let directory = self.directory.path();
        let worker = Program::start(self.release, "worker", directory, self.compression, args);
        self.workers.push(worker);
    }

    /// Starts one more worker with a nanny and threads, and lets the tests' own
    /// programs be started beside it.
    pub(crate) fn add_nanny(&mut self, threads: usize, more: &[&str]) {
        let (scheduler, threads) = (self.address(), format!("--nthreads={threads}"));
        let place = ["--host=127.0.0.1", "--dashboard-address=127.0.0.1:0"];
        let args: Vec<&str> = [scheduler.as_str(), &threads]
            .into_iter()
            .chain(place)
            .chain(more.to_owned())
            .collect();
        self.push_worker(&args);
    }

    /// A directory of its own, that its workers can read.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a native worker that runs so many tasks at once, and waits until it
    /// has joined.
    pub(crate) async fn native_worker(&self, workers: usize) -> Server {
        let server = self.native_worker_as(&format!("workers={workers}"));
        let joined = tokio::time::timeout(DEADLINE / 2, server.joined()).await;
        joined.unwrap_or_else(|_| panic!("it does not join; {server}; {}", self.log()));
        server
    }

    /// Starts a native worker with options of its URL.
    pub(crate) fn native_worker_as(&self, options: &str) -> Server {
        let mut command = crate::support::server::binary();
        let certificates = self.certificates.as_ref().map(Certificates::query);
        let query = format!("{options}&{}", certificates.unwrap_or_default());
        command.env(CLUSTER, format!("{}?{query}", self.address())).env("RUST_BACKTRACE", "1");
        Server::start_as("cluster_worker", command)
    }

    /// Runs a script of the tests with this release's Python and the scheduler's
    /// address; what it prints.
    pub(crate) async fn script(&self, name: &str) -> String {
        let path = modules().join(name);
        let asking = Command::new(self.release.python())
            .arg(path)
            .arg(self.address())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = tokio::task::spawn_blocking(|| asking.wait_with_output().unwrap());
        let output = output.await.unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{name}:\n{out}\n{err}\n{}", self.log());
        out
    }

    /// Starts one more worker, which is this very program, with options as its URL
    /// takes them.
    pub(crate) fn add_native(&mut self, options: &str) {
        let mut command = crate::support::server::binary();
        command.args(["outboard_test_worker", "--exact", "--nocapture"]);
        self.add_native_program(command, options);
    }

    /// The same, which is another program.
    pub(crate) fn add_native_program(&mut self, mut command: Command, options: &str) {
        let secured = self.certificates.iter().map(Certificates::query);
        let options = std::iter::once(options.to_owned()).chain(secured);
        let url = format!("{}?{}", self.address(), options.collect::<Vec<_>>().join("&"));
        let log = self.directory.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .env("OUTBOARD_WORKER", url)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.workers.push(Program(child));
    }

    /// How a worker ended, once it has.
    pub(crate) async fn worker_ends(&mut self, at: usize) -> ExitStatus {
        let mut status = None;
        eventually("a worker ends", || {
            status = self.workers[at].0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Runs Python code with Dask's own client as `client`; gives what it prints.
    pub(crate) async fn python(&self, code: &str) -> String {
        let begin = "import sys, operator\nfrom distributed import Client, wait\n\
            client = Client(sys.argv[1])\n\
            def function(name):\n    return operator.attrgetter('outboard::' + name)\n\
            def resource(name):\n\
            \x20   workers = client.scheduler_info(n_workers=-1)['workers'].values()\n\
            \x20   names = [r for w in workers for r in w['resources']]\n\
            \x20   return {next(r for r in names if r.startswith(f'outboard:{name}:')): 1}\n";
        let output = tokio::process::Command::new(self.release.python())
            .args(["-c", &format!("{begin}{code}"), &self.address()])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python"))
            .env("PYTHONPATH", modules())
            .envs(self.compression.map(|way| (COMPRESSION, way)))
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until all its workers have joined.
    pub(crate) async fn ready(&self) {
        let wanted = self.workers.len();
        found(format_args!("{wanted} workers join; {}", self.log()), || {
            let log = self.log();
            (log.matches("Register worker").count() >= wanted).then_some(())
        })
        .await;
    }

    /// Waits until so many tasks are next in line at its workers, as these tell
    /// Dask's own client.
    pub(crate) async fn has_ready(&self, tasks: usize) {
        const ASK: &str = "
import sys, time
from distributed import Client
def ready(dask_worker):
    return sum(ts.state == 'ready' for ts in dask_worker.state.tasks.values())
with Client(sys.argv[1]) as client:
    while sum(client.run(ready).values()) != int(sys.argv[2]):
        time.sleep(0.01)
";
        let mut asking = Command::new(self.release.python())
            .args(["-c", ASK, &self.address(), &tasks.to_string()])
            .spawn()
            .unwrap();
        let mut status = None;
        eventually("tasks are next in line", || {
            status = asking.try_wait().unwrap();
            status.is_some()
        })
        .await;
        assert!(status.unwrap().success());
    }

    /// What its processes have written.
    pub(crate) fn log(&self) -> String {
        match std::fs::read(self.directory.path().join("log")) {
            Ok(log) => String::from_utf8_lossy(&log).into_owned(),
            Err(error) => format!("the log cannot be read: {error}"),
        }
    }

    /// The scheduler's address, as Dask writes it.
    pub(crate) fn address(&self) -> String {
        let scheme = if self.certificates.is_some() { "tls" } else { "tcp" };
        format!("{scheme}://{}:{}", scheduler_host(self.compression), self.port)
    }

    /// What a client connects to.
    pub(crate) fn url(&self) -> String {
        format!("dask://{}:{}", scheduler_host(self.compression), self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.url()).await.unwrap()
    }

    pub(crate) fn worker(&self, at: usize) -> Process {
        self.workers[at].process()
    }

    pub(crate) fn kill_worker(&mut self, at: usize) {
        drop(self.workers.remove(at));
    }

    pub(crate) fn scheduler(&self) -> Process {
        self.scheduler.process()
    }

    pub(crate) fn kill_scheduler(&mut self) {
        self.scheduler.process().signal(Signal::KILL);
        self.scheduler.0.wait().unwrap();
    }

    /// Starts the scheduler again, at the same address.
    pub(crate) fn restart_scheduler(&mut self) {
        self.scheduler = start_scheduler(
            self.release,
            self.directory.path(),
            self.port,
            self.certificates.as_ref(),
            self.compression,
        );
    }
}

/// Where a scheduler is: at another address than the rest, which is another host
/// to Dask, where it is to compress.
fn scheduler_host(compression: Option<&str>) -> &'static str {
    compression.map_or("127.0.0.1", |_| "127.0.0.2")
}

fn start_scheduler(
    release: Release,
    directory: &Path,
    port: u16,
    certificates: Option<&Certificates>,
    compression: Option<&str>,
) -> Program {
    let (host, port) =
        (format!("--host={}", scheduler_host(compression)), format!("--port={port}"));
    let mut args = vec![host.as_str(), port.as_str(), "--dashboard-address=127.0.0.1:0"];
    let secured = certificates.into_iter().flat_map(Certificates::args).collect::<Vec<_>>();
    args.extend(secured.iter().map(String::as_str));
    if certificates.is_some() {
        args.push("--protocol=tls");
    }
    Program::start(release, "scheduler", directory, compression, &args)
}

/// An authority, and a certificate that it signed, as files.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// An authority, and another certificate that it signed.
    pub(crate) fn signed(directory: &Path) -> Self {
        let authority = Self::temporary(directory, "ca");
        let file = |name: &str| directory.join(name);
        let (request, extensions) = (file("leaf.csr"), file("leaf.ext"));
        std::fs::write(&extensions, "basicConstraints=CA:FALSE\n").unwrap();
        let (cert, key) = (file("leaf.pem"), file("leaf.key"));
        openssl(&["req", "-new", "-subj=/CN=leaf"], &[("keyout", &key), ("out", &request)]);
        let files = [
            ("in", &request),
            ("CA", &authority.ca),
            ("CAkey", &authority.key),
            ("extfile", &extensions),
            ("out", &cert),
        ];
        openssl(&["x509", "-req", "-days=2", "-CAcreateserial"], &files);
        Self { ca: authority.ca, cert, key }
    }

    /// One certificate that is both, as `Security.temporary()` makes it.
    pub(crate) fn temporary(directory: &Path, name: &str) -> Self {
        let cert = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        let args = ["req", "-x509", "-new", "-days=2", "-subj=/CN=dask-internal"];
        openssl(&args, &[("keyout", &key), ("out", &cert)]);
        Self { ca: cert.clone(), cert, key }
    }

    /// What Dask's programs are told.
    fn args(&self) -> [String; 3] {
        let file = |name: &str, file: &Path| format!("--tls-{name}={}", file.display());
        [file("ca-file", &self.ca), file("cert", &self.cert), file("key", &self.key)]
    }

    /// What a URL is told.
    pub(crate) fn query(&self) -> String {
        let Self { ca, cert, key } = self;
        format!("tls_ca={}&tls_cert={}&tls_key={}", ca.display(), cert.display(), key.display())
    }
}

fn openssl(args: &[&str], files: &[(&str, &PathBuf)]) {
    let mut command = Command::new("openssl");
    for arg in args {
        match arg.split_once('=') {
            Some((name, value)) => command.args([name, value]),
            None => command.arg(arg),
        };
    }
    if args[0] == "req" {
        command.args(["-newkey", "rsa:2048", "-nodes"]);
    }
    for (name, file) in files {
        command.arg(format!("-{name}")).arg(file);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
