//! How workers stand apart from the server: priority, groups, descriptors,
//! standard streams.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use outboard::Client;

use super::{client, workers};
use crate::support::process::stat;
use crate::support::run;
use crate::support::scratch::Scratch;
use crate::support::server::{DIRECTORY, SCENARIO, Server};

/// The niceness of the thread that calls it.
fn niceness() -> i32 {
    let text = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, after_name) = text.rsplit_once(')').unwrap();
    after_name.split_ascii_whitespace().nth(16).and_then(|nice| nice.parse().ok()).unwrap()
}

#[test]
fn workers_yield_to_the_server() {
    run(async {
        let client = client(1).await;
        let own = niceness();
        assert_eq!(client.submit(niceness, ()).await.unwrap(), own.max(10));
        let of_a_thread = || std::thread::spawn(niceness).join().unwrap();
        assert_eq!(client.submit(of_a_thread, ()).await.unwrap(), own.max(10));
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", workers(&client)[0].pid));
        assert_eq!(score.unwrap().trim(), "1000");
        let keen = Client::local().workers(1).spares(0).niceness(3).await.unwrap();
        assert_eq!(keen.submit(niceness, ()).await.unwrap(), own.max(3));
    });
}

#[test]
fn a_worker_has_a_group_of_its_own_in_the_servers_session() {
    run(async {
        let client = client(2).await;
        let [group, session] = [2, 3];
        for worker in workers(&client) {
            let fields = stat(worker.pid).unwrap();
            assert_eq!(fields[group], worker.pid.to_string(), "Ctrl-C reaches the server only");
            assert_eq!(fields[session], stat(std::process::id()).unwrap()[session]);
        }
    });
}

/// What the descriptors of this process are, beyond the first three.
fn descriptors() -> Vec<String> {
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter(|entry| number(entry).is_some_and(|fd| fd > 2));
    open.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

#[test]
fn descriptors_of_the_server_are_not_inherited() {
    run(async {
        // As a careless library opens them: not closed on exec.
        let (leaked, _other) = rustix::pipe::pipe().unwrap();
        let inode = rustix::fs::fstat(&leaked).unwrap().st_ino;
        let client = client(1).await;
        let open = client.submit(descriptors, ()).await.unwrap();
        assert!(!open.contains(&format!("pipe:[{inode}]")), "{open:?}");
        let ours =
            "socket, bell, stdout and stderr, the server, its arena and directory, the listing";
        assert!(open.len() <= 11, "{ours}: {open:?}");
    });
}

/// Runs this very program, with the worker's environment.
fn program_of_a_task(at: PathBuf) -> bool {
    let own = std::env::current_exe().unwrap();
    let mut server = Command::new(own);
    server.args(["scenario::play", "--exact", "--ignored", "--nocapture"]);
    server.env("OUTBOARD_URL", "local://?workers=2&spares=0");
    let output = server.env(SCENARIO, "from_env").env(DIRECTORY, at).output().unwrap();
    output.status.success()
}

#[test]
fn a_program_that_a_task_starts_is_no_worker_but_may_have_some() {
    run(async {
        let client = client(1).await;
        let scratch = Scratch::new();
        assert!(client.submit(program_of_a_task, scratch.path()).await.unwrap());
        assert_eq!(scratch.notes("client"), ["local 2"]);
    });
}

#[test]
fn stdin_of_a_task_is_empty() {
    run(async {
        let client = client(1).await;
        let read = || std::io::read_to_string(std::io::stdin()).map_err(|e| e.to_string());
        for _ in 0..2 {
            assert_eq!(client.submit(read, ()).await.unwrap(), Ok(String::new()));
        }
    });
}

#[test]
fn what_a_task_writes_appears_with_its_workers_number() {
    run(async {
        let mut server = Server::start("output");
        server.succeeds().await;
        let stderr = server.scratch.notes("stderr");
        for line in ["[worker 1] words of a task", "[worker 1] without an end"] {
            assert_eq!(stderr.iter().filter(|said| *said == line).count(), 1, "{server}");
        }
    });
}

#[test]
fn an_idle_client_sleeps() {
    run(async {
        let mut server = Server::start("idle");
        server.succeeds().await;
    });
}

#[test]
fn a_task_knows_that_it_is_in_a_worker() {
    run(async {
        assert!(!outboard::is_worker());
        let client = client(1).await;
        assert!(client.submit(outboard::is_worker, ()).await.unwrap());
        let on_a_thread = || std::thread::spawn(outboard::is_worker).join().unwrap();
        assert!(client.submit(on_a_thread, ()).await.unwrap());
    });
}
