//! Bytes and arrays inside of something, which go to a worker and back as bytes alone do.

use outboard::{Array, Bytes, Client};

use crate::support::run;

/// More than a worker with this limit could have twice.
const LIMIT: u64 = 48 << 20;
const MUCH: usize = 60 << 20;

#[outboard::task]
fn thumbnail(image: Bytes, width: u32) -> Result<Bytes, String> {
    if width > 0 { Ok(image) } else { Err("it has no width".into()) }
}

#[outboard::task]
fn halves(name: String, samples: Array<f32>) -> Option<(String, Array<f32>)> {
    (samples.len() > 1).then_some((name, samples))
}

/// The last byte, of which the worker keeps all.
#[outboard::task]
fn keep((number, bytes): (u8, Bytes)) -> Option<u8> {
    static KEPT: std::sync::Mutex<Vec<Bytes>> = std::sync::Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap();
    kept.push(bytes);
    let whole = |(bytes, number): (&Bytes, u8)| bytes.iter().all(|byte| *byte == number);
    kept.iter().zip(0..).all(whole).then_some(number)
}

#[test]
fn a_worker_copies_neither_arguments_nor_result() {
    run(async {
        let client = Client::local().workers(1).memory_limit(LIMIT).await.unwrap();
        let image = Bytes::from(vec![7; MUCH]);
        let back = client.submit(thumbnail, (image.clone(), 9)).await.unwrap();
        assert!(back.unwrap() == image);
        assert!(client.submit(thumbnail, (image, 0)).await.unwrap().is_err());
        let samples = Array::shaped([MUCH / 8, 2], vec![0.5_f32; MUCH / 4]);
        let back = client.submit(halves, ("both".into(), samples.clone())).await.unwrap();
        let (name, there) = back.unwrap();
        assert_eq!((name.as_str(), there.shape()), ("both", samples.shape()));
        assert!(there == samples);
        client.shutdown().await;
    });
}

#[test]
fn what_a_task_keeps_of_a_part_of_its_arguments_stays_as_it_was() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        for number in 0..5 {
            let bytes = Bytes::from(vec![number; (1 << 20) + 5]);
            let kept = client.submit(keep, (number, bytes)).await.unwrap();
            assert_eq!(kept, Some(number), "what came before is as it was");
        }
        client.shutdown().await;
    });
}
