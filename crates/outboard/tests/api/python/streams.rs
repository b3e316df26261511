//! Generators: their items, what they return, and how they end.

use futures_util::StreamExt;
use outboard::{Bytes, ErrorKind, python};

use super::{builder, client};
use crate::support::scratch::Scratch;
use crate::support::{eventually, run};

#[test]
fn items_come_in_order_and_then_what_the_generator_returns() {
    run(async {
        let client = client().await;
        let count = python::<(u64,), String>("trouble:count").items::<u64>();
        let mut stream = client.stream(count, 1_000);
        let mut items = Vec::new();
        while let Some(item) = stream.next().await {
            items.push(item.unwrap());
        }
        assert_eq!(items, (0..1_000).collect::<Vec<_>>());
        assert_eq!(stream.output().await.unwrap(), "1000 numbers");
        let pairs = python::<(Vec<u8>, Vec<u8>), ()>("builtins:zip").items::<(u8, u8)>();
        let pairs = client.stream(pairs, (vec![1, 2], vec![3, 4]));
        let pairs: Vec<_> = pairs.map(Result::unwrap).collect().await;
        assert_eq!(pairs, [(1, 3), (2, 4)]);
        client.shutdown().await;
    });
}

#[test]
fn a_generator_waits_for_its_reader_and_loses_nothing() {
    run(async {
        let client = client().await;
        let wide = python::<(u64, usize), ()>("trouble:wide").items::<Bytes>();
        // Twelve windows, and items that fill more than one.
        for (items, size) in [(300, 10_000), (3, 400_000)] {
            let mut stream = client.stream(wide, (items, size));
            for number in 0..items {
                let item = stream.next().await.unwrap().unwrap();
                assert_eq!((item.len(), u64::from(item[0])), (size, number % 251));
            }
            assert!(stream.next().await.is_none());
            stream.output().await.unwrap();
        }
        client.shutdown().await;
    });
}

#[test]
fn the_first_item_comes_before_the_end_and_a_drop_kills() {
    run(async {
        let (client, scratch) = (client().await, Scratch::new());
        let hold = python::<(std::path::PathBuf,), ()>("trouble:count_and_hold").items::<u8>();
        let mut stream = client.stream(hold, scratch.path());
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        scratch.started(1).await;
        let worker = crate::support::process::Process::find(scratch.pid()).unwrap();
        drop(stream);
        worker.ends().await;
        client.shutdown().await;
    });
}

#[test]
fn an_exception_comes_after_the_items() {
    run(async {
        let client = client().await;
        let fail = python::<(u64,), ()>("trouble:count_and_fail").items::<u64>();
        let mut stream = client.stream(fail, 2);
        assert_eq!(stream.next().await.unwrap().unwrap(), 0);
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Raised);
        assert_eq!(error.exception().unwrap().message, "enough");
        client.shutdown().await;
    });
}

#[test]
fn an_item_larger_than_a_payload_is_refused() {
    run(async {
        let client = builder(|python| python).pool("python", |pool| pool.max_payload(1_000));
        let client = client.await.unwrap();
        let wide = python::<(u64, usize), ()>("trouble:wide").items::<Bytes>();
        let mut stream = client.stream(wide, (1, 2_000));
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("the limit is 1000"), "{error}");
        eventually("its worker is free", || client.admin().snapshot().running == 0).await;
        client.shutdown().await;
    });
}
