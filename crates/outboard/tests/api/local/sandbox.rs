//! A worker in a sandbox: what breaks out of it fails, and what computes goes on to work.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use outboard::{Bytes, Client, LocalBuilder, Sandbox};
use rayon::prelude::*;

use crate::support::log::note_log;
use crate::support::process::Process;
use crate::support::raw::{self, call};
use crate::support::scratch::{Scratch, note};
use crate::support::server::{Server, binary};
use crate::support::tasks::pid;
use crate::support::{eventually, run};

/// What a test has outside of the sandbox, and what it may write.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Places {
    outside: PathBuf,
    allowed: PathBuf,
    port: u16,
    server: i64,
}

fn local() -> LocalBuilder {
    Client::local().workers(1).spares(0)
}

fn locked(places: &Places) -> Sandbox {
    let readable = [Path::new("/usr"), Path::new("/lib"), Path::new("/lib64"), Path::new("/bin")];
    let readable = readable.into_iter().filter(|path| path.exists());
    Sandbox::new().no_network().no_exec().read_only(readable).read_write([&places.allowed])
}

type Attempt = fn(&Places) -> std::io::Result<()>;

fn checked(result: Result<i64, i32>) -> std::io::Result<()> {
    result.map(drop).map_err(std::io::Error::from_raw_os_error)
}

fn fork_and_execute() -> std::io::Result<()> {
    let child = raw::fork();
    if child == 0 {
        let error = Command::new("/bin/true").exec();
        raw::exit_at_once(error.raw_os_error().unwrap_or(99));
    }
    match raw::wait_for(child) {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code)),
    }
}

/// A file that is opened by another name.
fn through_a_link(places: &Places) -> std::io::Result<()> {
    let link = places.allowed.join("link");
    let _ = fs::remove_file(&link);
    symlink(places.outside.join("file"), &link)?;
    fs::write(link, "through a link")
}

fn datagrams_of_a_pair(places: &Places) -> std::io::Result<()> {
    let (one, _other) = UnixDatagram::pair()?;
    one.send_to(b"out", places.outside.join("datagrams")).map(drop)
}

fn mounts(places: &Places) -> std::io::Result<()> {
    let at = places.outside.join("mount");
    let at = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
    let at = at.as_ptr() as i64;
    let kind = c"tmpfs".as_ptr() as i64;
    checked(call(libc::SYS_mount, [kind, at, kind, 0, 0]))?;
    checked(call(libc::SYS_umount2, [at, 0, 0, 0, 0]))
}

/// The child ends when it is let go of: a signal would not reach it.
fn trace_a_child() -> std::io::Result<()> {
    let (mut held, holder) = std::io::pipe()?;
    let child = raw::fork();
    if child == 0 {
        drop(holder);
        let _ = held.read(&mut [0]);
        raw::exit_at_once(0);
    }
    let traced = call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, child.into(), 0, 0, 0]);
    drop(holder);
    assert_eq!(raw::wait_for(child), 0);
    checked(traced)
}

fn io_uring() -> std::io::Result<()> {
    let parameters = [0_u64; 15];
    let opened = call(libc::SYS_io_uring_setup, [1, parameters.as_ptr() as i64, 0, 0, 0]);
    checked(opened.and_then(|ring| call(libc::SYS_close, [ring, 0, 0, 0, 0])))
}

/// Ways out; each works without a sandbox, where the tests are root.
const WAYS: &[(&str, Attempt)] = &[
    ("tcp", |it| TcpStream::connect(("127.0.0.1", it.port)).map(drop)),
    ("listen", |_| TcpListener::bind(("127.0.0.1", 0)).map(drop)),
    ("udp", |it| {
        UdpSocket::bind(("127.0.0.1", 0))?.send_to(b"out", ("127.0.0.1", it.port)).map(drop)
    }),
    ("unix", |it| UnixStream::connect(it.outside.join("socket")).map(drop)),
    ("datagrams of a pair", datagrams_of_a_pair),
    ("netlink", |_| {
        let [family, kind] = [libc::AF_NETLINK, libc::SOCK_RAW].map(i64::from);
        checked(call(libc::SYS_socket, [family, kind, 0, 0, 0]))
    }),
    ("spawn", |_| Command::new("/bin/true").status().map(drop)),
    ("fork and execute", |_| fork_and_execute()),
    ("write", |it| fs::write(it.outside.join("new"), "out")),
    ("overwrite", |it| fs::write(it.outside.join("file"), "out")),
    ("append", |it| File::options().append(true).open(it.outside.join("file"))?.write_all(b"out")),
    ("through a link", through_a_link),
    ("truncate", |it| {
        let path = it.outside.join("file");
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        checked(call(libc::SYS_truncate, [path.as_ptr() as i64, 0, 0, 0, 0]))
    }),
    ("create a directory", |it| {
        fs::create_dir(it.outside.join("made"))?;
        fs::remove_dir(it.outside.join("made"))
    }),
    ("move in", |it| {
        fs::rename(it.outside.join("file"), it.allowed.join("moved"))?;
        fs::rename(it.allowed.join("moved"), it.outside.join("file"))
    }),
    ("link out", |it| {
        let to = it.outside.join(format!("linked-{}", std::process::id()));
        let from = it.allowed.join("from");
        fs::write(&from, "mine")?;
        fs::hard_link(from, to)
    }),
    ("remove", |it| {
        fs::remove_file(it.outside.join("victim"))?;
        fs::write(it.outside.join("victim"), "again")
    }),
    ("read", |it| fs::read(it.outside.join("file")).map(drop)),
    ("list", |it| fs::read_dir(&it.outside).map(drop)),
    ("owner", |it| std::os::unix::fs::chown(it.outside.join("file"), Some(0), None)),
    ("trace", |_| trace_a_child()),
    ("memory", |it| fs::read(format!("/proc/{}/environ", it.server)).map(drop)),
    ("signal", |it| checked(call(libc::SYS_kill, [it.server, 0, 0, 0, 0]))),
    ("signal of a thread", |it| checked(call(libc::SYS_tgkill, [it.server, it.server, 0, 0, 0]))),
    ("limits", |it| checked(call(libc::SYS_prlimit64, [it.server, 7, 0, 0, 0]))),
    ("namespace", |_| {
        let flags = i64::from(libc::CLONE_NEWNS | libc::SIGCHLD);
        let child = call(libc::SYS_clone, [flags, 0, 0, 0, 0]);
        if child == Ok(0) {
            raw::exit_at_once(0);
        }
        checked(child.map(|child| i64::from(raw::wait_for(child as i32))))
    }),
    ("mount", mounts),
    ("io_uring", |_| io_uring()),
    ("keyring", |_| checked(call(libc::SYS_keyctl, [0, -3, 0, 0, 0]))),
    ("shared memory", |_| {
        let made = call(libc::SYS_shmget, [0, 4096, i64::from(libc::IPC_CREAT | 0o600), 0, 0]);
        let id = made.map_err(std::io::Error::from_raw_os_error)?;
        checked(call(libc::SYS_shmctl, [id, i64::from(libc::IPC_RMID), 0, 0, 0]))
    }),
];

/// The ways that a container may refuse as well.
const NOT_EVERYWHERE: [&str; 4] = ["mount", "namespace", "io_uring", "keyring"];

#[outboard::task(name = "tests::break_out")]
fn break_out(way: usize, places: Places) -> Result<(), String> {
    let refused = |error: std::io::Error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "refused".to_owned(),
        _ => error.to_string(),
    };
    WAYS[way].1(&places).map_err(refused)
}

/// Directories for a test, and sockets to reach.
struct Outside {
    _scratch: [Scratch; 2],
    _sockets: (TcpListener, UnixListener, UnixDatagram),
    places: Places,
}

impl Outside {
    fn new() -> Self {
        let scratch = [Scratch::new(), Scratch::new()];
        let [outside, allowed] = [0, 1].map(|at: usize| scratch[at].path());
        fs::write(outside.join("file"), "secret").unwrap();
        fs::write(outside.join("victim"), "secret").unwrap();
        fs::create_dir(outside.join("mount")).unwrap();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = UnixListener::bind(outside.join("socket")).unwrap();
        let datagrams = UnixDatagram::bind(outside.join("datagrams")).unwrap();
        let places = Places { outside, allowed, port, server: std::process::id().into() };
        Self { _scratch: scratch, _sockets: (tcp, unix, datagrams), places }
    }
}

#[test]
fn every_way_out_is_closed() {
    run(async {
        let outside = Outside::new();
        let places = &outside.places;
        let (open, closed) = (local(), local().sandbox(locked(places)));
        let (open, closed) = (open.await.unwrap(), closed.await.unwrap());
        let worker = closed.submit(pid, ()).await.unwrap();
        for (way, (name, _)) in WAYS.iter().enumerate() {
            if !NOT_EVERYWHERE.contains(name) {
                let went = open.submit(break_out, (way, places.clone())).await.unwrap();
                assert_eq!(went, Ok(()), "{name}, without a sandbox");
                fs::write(places.outside.join("file"), "secret").unwrap();
            }
            let went = closed.submit(break_out, (way, places.clone())).await.unwrap();
            assert_eq!(went, Err("refused".to_owned()), "{name}");
        }
        assert_eq!(fs::read_to_string(places.outside.join("file")).unwrap(), "secret");
        assert_eq!(closed.submit(pid, ()).await.unwrap(), worker, "it went on");
    });
}

/// What the effective user of a setuid program is that nobody starts.
fn privileges(program: PathBuf) -> String {
    let output = Command::new(program).arg("-u").uid(65_534).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_setuid_program_gives_no_privileges() {
    if !rustix::process::geteuid().is_root() {
        return println!("only root can make such a program: not tried");
    }
    run(async {
        let scratch = Scratch::new();
        let program = scratch.path().join("id");
        fs::copy("/usr/bin/id", &program).unwrap();
        for (path, mode) in [(scratch.path(), 0o755), (program.clone(), 0o4755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let open = local().await.unwrap().submit(privileges, program.clone()).await.unwrap();
        if open != "0" {
            return println!("no such programs in the temporary directory: not tried");
        }
        let client = local().sandbox(Sandbox::new()).await.unwrap();
        assert_eq!(client.submit(privileges, program).await.unwrap(), "65534");
    });
}

/// Whether a task reads a file, executes a program, and sees the server's environment.
fn reach(file: PathBuf, server: u32) -> [bool; 3] {
    let executed = Command::new("/bin/true").status().is_ok_and(|status| status.success());
    let seen = fs::read(format!("/proc/{server}/environ")).is_ok();
    [fs::read(file).is_ok(), executed, seen]
}

#[test]
fn a_sandbox_of_no_methods_refuses_no_more_than_it_says() {
    run(async {
        let outside = Outside::new();
        let arguments = || (outside.places.outside.join("file"), std::process::id());
        let client = Client::connect("local://?workers=1&spares=0&sandbox=1").await.unwrap();
        let reached = client.submit(reach, arguments()).await.unwrap();
        assert_eq!(reached, [true, true, false]);
        let way = WAYS.iter().position(|(name, _)| *name == "write").unwrap();
        let went = client.submit(break_out, (way, outside.places.clone())).await.unwrap();
        assert_eq!(went, Err("refused".to_owned()));
    });
}

/// What parsers, allocators and libraries do.
fn compute(at: PathBuf) -> u64 {
    let parallel: u64 = (0..100_000_u64).into_par_iter().map(|n| n % 7).sum();
    let threads: Vec<_> = (0..4_u64).map(|n| std::thread::spawn(move || n)).collect();
    let threads: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let mut numbers: Vec<i32> = (0..1_000).rev().collect();
    raw::sort(&mut numbers);
    assert_eq!((numbers[0], numbers[999]), (0, 999));
    let mut named = tempfile::NamedTempFile::new_in(&at).unwrap();
    named.write_all(b"mine").unwrap();
    named.persist(at.join("kept")).unwrap();
    assert_eq!(fs::read(at.join("kept")).unwrap(), b"mine");
    tempfile::tempfile_in(&at).unwrap().write_all(b"gone").unwrap();
    let directory = tempfile::tempdir_in(&at).unwrap();
    fs::write(directory.path().join("entry"), "of an archive").unwrap();
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(directory.path().join("entry"), mode).unwrap();
    fs::rename(directory.path().join("entry"), at.join("entry")).unwrap();
    directory.close().unwrap();
    fs::write("/dev/null", "nothing").unwrap();
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("VmHWM"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(async { 1 }).await }).unwrap();
    parallel + threads
}

fn panics() {
    panic!("in a sandbox");
}

#[test]
fn what_computes_goes_on_to_work() {
    run(async {
        let outside = Outside::new();
        let places = &outside.places;
        let client = local().stack_size(4 << 20).sandbox(locked(places)).await.unwrap();
        let expected = (0..100_000_u64).map(|n| n % 7).sum::<u64>() + 6;
        assert_eq!(client.submit(compute, places.allowed.clone()).await.unwrap(), expected);
        // Through the arena, and through files of their own.
        for bytes in [100, 2 << 20, 90 << 20] {
            let sent = Bytes::from(vec![7_u8; bytes]);
            let back = client.submit(|sent: Bytes| Bytes::from(sent.to_vec()), sent.clone());
            assert!(back.await.unwrap() == sent, "{bytes} bytes");
        }
        let shared = client.scatter(vec![3_u64; 1 << 20]).await.unwrap();
        let sum = client.submit(|it: outboard::Scattered<Vec<u64>>| it.iter().sum::<u64>(), shared);
        assert_eq!(sum.await.unwrap(), 3 << 20);
        let error = client.submit(panics, ()).await.unwrap_err();
        assert!(error.to_string().contains("in a sandbox"), "{error}");
        // Memory is measured: both files of it can be read, and the peak be begun anew.
        let fill = |mebibytes: usize| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            std::hint::black_box(vec![1_u8; mebibytes << 20]).len()
        };
        let (_, high) = client.submit(fill, 200).with_report().await.unwrap();
        let (_, low) = client.submit(fill, 1).with_report().await.unwrap();
        let [high, low] = [high, low].map(|report| report.peak_memory_bytes.expect("a peak"));
        assert!(high > 200 << 20 && low < high, "{high} {low}");
    });
}

#[test]
fn a_worker_that_is_replaced_is_locked_up_as_well() {
    run(async {
        let outside = Outside::new();
        let sandbox = locked(&outside.places);
        let builder = local().sandbox(sandbox).recycle_changed(true);
        let client = builder.await.unwrap();
        let before = client.submit(pid, ()).await.unwrap();
        let change = || std::env::set_current_dir("/usr").unwrap();
        client.submit(change, ()).await.unwrap();
        let is_new = || client.admin().snapshot().per_worker.iter().all(|it| it.pid != before);
        eventually("another one serves", is_new).await;
        let way = WAYS.iter().position(|(name, _)| *name == "write").unwrap();
        let went = client.submit(break_out, (way, outside.places.clone())).await.unwrap();
        assert_eq!(went, Err("refused".to_owned()));
        // Not lost: it leaves by itself.
        eventually("it has left", || client.admin().snapshot().restarts.recycled == 1).await;
    });
}

/// What the system says of each thread of this worker, beside its name.
fn threads() -> Vec<(String, String)> {
    let listed = fs::read_dir("/proc/self/task").unwrap().flatten();
    let status = listed.map(|entry| fs::read_to_string(entry.path().join("status")).unwrap());
    let said = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let both = |it: &str| said(it, "NoNewPrivs:") + &said(it, "Seccomp:");
    status.map(|it| (said(&it, "Name:"), both(&it))).collect()
}

/// Set for the scenario: a thread starts in `#[on_start]`.
const VARIABLE: &str = "OUTBOARD_TEST_EARLY_THREAD";

/// What that thread is asked, and what it answers.
static EARLY: Mutex<Option<(Sender<PathBuf>, Receiver<bool>)>> = Mutex::new(None);

#[outboard::on_start]
fn start_a_thread() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let ((ask, asked), (answer, answers)) = (channel::<PathBuf>(), channel());
    *EARLY.lock().unwrap() = Some((ask, answers));
    std::thread::spawn(move || {
        // Beside a lock that the handler must not wait for.
        for path in asked {
            answer.send(fs::write(path, "early").is_ok()).unwrap();
        }
    });
    // Before it is over, the thread may do that.
    assert!(ask_early(std::env::temp_dir().join(format!("early-{}", std::process::id()))));
}

fn ask_early(path: PathBuf) -> bool {
    let early = EARLY.lock().unwrap();
    let (ask, answers) = early.as_ref().unwrap();
    ask.send(path.clone()).unwrap();
    let wrote = answers.recv().unwrap();
    let _ = fs::remove_file(path);
    wrote
}

/// Leaves a process of this program.
fn leave_a_fork(at: PathBuf) {
    let child = raw::fork();
    if child == 0 {
        loop {
            raw::pause();
        }
    }
    note(&at, "processes", &child.to_string());
    note(&at, "processes", &std::process::id().to_string());
}

pub(crate) async fn play(at: PathBuf) {
    let sandbox = Sandbox::new().no_network().no_exec().read_write([&at]);
    let client = local().stack_size(1 << 20).sandbox(sandbox).await.unwrap();
    for (name, said) in client.submit(threads, ()).await.unwrap() {
        note(&at, "threads", &format!("{said} {name}"));
    }
    let outside = std::env::temp_dir().join("early-outside");
    let wrote = client.submit(ask_early, outside).await.unwrap();
    note(&at, "early", &wrote.to_string());
    client.submit(leave_a_fork, at.clone()).await.unwrap();
    note(&at, "done", "");
    std::future::pending::<()>().await;
}

#[test]
fn all_threads_are_locked_up_and_end_with_their_server() {
    run(async {
        let mut command = binary();
        command.env(VARIABLE, "1");
        let mut server = Server::start_as("sandbox", command);
        server.says("done").await;
        let threads = server.says("threads").await;
        assert!(threads.len() >= 4, "main, tasks', watch, early: {threads:?}");
        assert!(threads.iter().all(|thread| thread.starts_with("12 ")), "{threads:?}");
        assert!(threads.iter().any(|thread| thread.contains("outboard-watch")), "{threads:?}");
        assert_eq!(server.says("early").await, ["false"], "a thread of `#[on_start]`");
        let left: Vec<Process> = server.processes("processes").await;
        server.kill();
        for process in &left {
            process.ends().await;
        }
    });
}

#[test]
fn a_path_that_is_not_there_is_an_error_of_the_start() {
    run(async {
        let sandbox = Sandbox::new().read_only(["/not/there"]).best_effort();
        let error = local().sandbox(sandbox).await.unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("`/not/there`"), "{error}");
    });
}

#[test]
fn what_the_kernel_lacks_is_refused_or_done_without() {
    if Command::new("python3").args(["-c", "import ctypes"]).status().is_err() {
        return eprintln!("skipped: there is no python3 to install a filter with");
    }
    run(async {
        for (sandbox, starts) in [("no_network", false), ("no_network,best_effort", true)] {
            let mut command = Command::new("python3");
            let call = libc::SYS_landlock_create_ruleset.to_string();
            let unknown = libc::ENOSYS.to_string();
            command.args(["-c", super::wants::REFUSES, &call, &unknown]);
            command.arg(std::env::current_exe().unwrap());
            command.env("OUTBOARD_URL", format!("local://?workers=1&spares=0&sandbox={sandbox}"));
            let mut server = Server::start_as("incomplete_sandbox", command);
            server.succeeds().await;
            let (said, log) = (&server.says("client").await[0], besides_the_loss(&server));
            if starts {
                assert_eq!(said, "refused, written");
                assert_eq!(log.len(), 1, "{log:?}");
                assert!(log[0].contains("sandbox is incomplete"), "{log:?}");
                assert!(log[0].contains("lacks=\"landlock"), "{log:?}");
            } else {
                assert!(said.contains("Unavailable") && said.contains("lacks landlock"), "{said}");
                assert!(log.is_empty(), "{log:?}");
            }
        }
    });
}

#[test]
fn a_proc_that_shows_processes_only_is_enough() {
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !rustix::process::geteuid().is_root() || !mounts.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: only root can mount");
    }
    run(async {
        let mut command = Command::new("unshare");
        let mounted = "mount -t proc -o subset=pid,hidepid=2 proc /proc && exec \"$0\" \"$@\"";
        command.args(["--mount", "--pid", "--fork", "sh", "-c", mounted]);
        command.arg(std::env::current_exe().unwrap());
        command.env("OUTBOARD_URL", "local://?workers=1&spares=0&sandbox=no_network");
        let mut server = Server::start_as("incomplete_sandbox", command);
        server.succeeds().await;
        assert_eq!(server.says("client").await, ["refused, not"]);
        assert_eq!(besides_the_loss(&server), Vec::<String>::new());
    });
}

/// What was logged, but for the loss of the worker that the scenario kills.
fn besides_the_loss(server: &Server) -> Vec<String> {
    let mut log = server.scratch.notes("log");
    log.retain(|line| !line.contains("was lost: killed by SIGKILL"));
    log
}

/// The scenario: what a worker may do where the system has not all layers, after one was
/// replaced as well.
pub(crate) async fn incomplete(at: PathBuf) {
    note_log(at.clone());
    let client = match Client::from_env().await {
        Ok(client) => client,
        Err(error) => return note(&at, "client", &format!("{:?}: {error}", error.kind())),
    };
    let before = client.submit(pid, ()).await.unwrap();
    Process::open(before).kill();
    eventually("another worker is up", || {
        client.admin().snapshot().per_worker.iter().any(|worker| worker.pid != before)
    })
    .await;
    let may = |at: PathBuf| {
        let listens = TcpListener::bind(("127.0.0.1", 0)).is_ok();
        let writes = fs::write(at.join("written"), "by a worker").is_ok();
        (listens, writes)
    };
    let (listens, writes) = client.submit(may, at.clone()).await.unwrap();
    let words =
        (if listens { "listens" } else { "refused" }, if writes { "written" } else { "not" });
    note(&at, "client", &format!("{}, {}", words.0, words.1));
    client.shutdown().await;
}
