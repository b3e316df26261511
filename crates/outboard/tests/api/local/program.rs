//! Workers that are another program.

use outboard::{Client, ErrorKind};

use crate::examples::example;
use crate::support::{eventually, run};

/// The program `examples/tasks.rs`, which has some of the functions below.
fn program() -> std::path::PathBuf {
    example("tasks").get_program().into()
}

#[outboard::task(name = "tasks::fib")]
fn fib(_: u64) -> u64 {
    panic!("this is not the workers' program");
}

/// It has another version there.
#[outboard::task(name = "tasks::length", version = 2)]
fn length(_: Vec<u8>) -> usize {
    0
}

#[outboard::task(name = "tasks::only_here")]
fn only_here() {}

async fn lacks(client: &Client) -> [String; 3] {
    [
        client.submit(only_here, ()).await.unwrap_err(),
        client.submit(length, Vec::new()).await.unwrap_err(),
        client.submit(|n: u64| n, 1).await.unwrap_err(),
    ]
    .map(|error| {
        assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
        error.to_string()
    })
}

#[test]
fn tasks_run_in_the_other_program() {
    run(async {
        let client = Client::local().workers(1).program(program()).await.unwrap();
        assert_eq!(client.submit(fib, 20).await.unwrap(), 6_765);
        let path = program().display().to_string();
        let [absent, types, unnamed] = lacks(&client).await;
        assert!(absent.contains("`tasks::only_here`") && absent.contains(&path), "{absent}");
        assert!(absent.contains("no such function"), "{absent}");
        assert!(types.contains("another version") && types.contains(&path), "{types}");
        assert!(unnamed.contains("mark it with #[task]"), "{unnamed}");
        let now = client.admin().snapshot();
        assert_eq!((now.restarts.all(), now.failed), (0, 0), "nothing was sent: {now:?}");
    });
}

#[test]
fn a_pool_can_have_another_program() {
    run(async {
        let path = program();
        let url =
            format!("local://?workers=1&pool.far.workers=1&pool.far.program={}", path.display());
        let client = Client::connect(&url).await.unwrap();
        client.submit(only_here, ()).await.unwrap();
        assert_eq!(client.pool("far").submit(fib, 10).await.unwrap(), 55);
        assert!(client.pool("far").submit(only_here, ()).await.is_err());
    });
}

#[test]
fn a_program_that_is_no_worker_is_said() {
    run(async {
        let error = Client::local().program("/nowhere/tasks").await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/tasks"), "{error}");
        let error = Client::local().workers(1).program("/bin/true").await.unwrap_err().to_string();
        assert!(error.contains("outboard::init()"), "{error}");
    });
}

#[test]
fn workers_of_it_are_replaced() {
    run(async {
        let client = Client::local().workers(1).spares(0).program(program()).await.unwrap();
        let worker = client.admin().snapshot().per_worker[0].clone();
        assert!(client.admin().recycle(worker.number));
        let replaced = || {
            let workers = client.admin().snapshot().per_worker;
            workers.len() == 1 && workers[0].pid != worker.pid
        };
        eventually("it is replaced", replaced).await;
        assert_eq!(client.submit(fib, 10).await.unwrap(), 55);
    });
}
