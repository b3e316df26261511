//! A lost worker's report has what its task wrote, and nothing of another one.

use outboard::Client;
use outboard::error::WorkerLoss;

use super::client;
use crate::support::run;

/// Writes in every way, and ends well or not, as a tenant whose words are its own.
fn talk(round: u32, text: String) {
    let text = &text;
    match round % 4 {
        0 => panic!("{text}"),
        1 => eprintln!("{text}"),
        2 => eprint!("{text}"),
        _ => eprintln!("memory allocation of 77 bytes failed"),
    }
}

/// Takes its worker down, with these last words.
fn die(words: String) -> u8 {
    eprint!("{words}");
    std::process::abort()
}

/// How a task of one tenant ends after another tenant's in the same worker.
async fn after_another(client: &Client, round: u32, words: &str) -> WorkerLoss {
    let _ = client.tenant("A").submit(talk, (round, "words of A".into())).await;
    let error = client.tenant("B").submit(die, words.into()).await.unwrap_err();
    assert!(!error.is_out_of_memory(), "round {round}: {error}");
    error.worker_loss().unwrap().clone()
}

#[test]
fn a_report_has_nothing_of_the_task_before() {
    run(async {
        let client = client(1).await;
        for round in 0..24 {
            let lost = after_another(&client, round, "").await;
            assert!(lost.stderr.is_empty(), "round {round}: {:?}", lost.stderr);
            let lost = after_another(&client, round, "one\ntwo").await;
            assert_eq!(lost.stderr, ["one", "two"], "round {round}");
        }
    });
}

#[test]
fn tasks_that_are_sent_ahead_have_reports_of_their_own() {
    run(async {
        let client = client(1).await;
        for _ in 0..5 {
            let mut tasks: Vec<_> =
                (0..40).map(|n| client.submit(|n: u32| eprintln!("words of {n}"), n)).collect();
            let error = client.submit(die, "mine".into()).await.unwrap_err();
            assert_eq!(error.worker_loss().unwrap().stderr, ["mine"]);
            for task in tasks.drain(..) {
                task.await.unwrap();
            }
        }
    });
}

#[test]
fn a_failed_allocation_counts_after_another_tasks_one() {
    run(async {
        let client = client(1).await;
        client.submit(talk, (3, String::new())).await.unwrap();
        let words = "memory allocation of 8 bytes failed\n";
        let error = client.submit(die, words.into()).await.unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    });
}
