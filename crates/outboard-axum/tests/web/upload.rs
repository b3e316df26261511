use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::put;
use futures_util::StreamExt;
use outboard::{Bytes, Client, Receiver, Sender};
use outboard_axum::{Compute, Offload, Problem, body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Scratch, eventually, get, receive, run, start};

#[outboard::task(name = "upload::length")]
fn length(upload: Receiver<Bytes>) -> usize {
    upload.map_while(Result::ok).map(|piece| piece.len()).sum()
}

#[outboard::task(name = "upload::upper")]
fn upper(upload: Receiver<Bytes>, out: Sender<Bytes>) {
    for piece in upload.map_while(Result::ok) {
        out.send(piece.to_ascii_uppercase().into()).unwrap();
    }
}

/// Reads nothing before it is released.
#[outboard::task(name = "upload::later")]
fn later(at: std::path::PathBuf, mut upload: Receiver<Bytes>) -> usize {
    let mut length = upload.recv().unwrap().unwrap().len();
    std::fs::write(at.join("read"), "").unwrap();
    while at.exists() && !at.join("released").exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for piece in upload {
        length += piece.unwrap().len();
    }
    length
}

/// An application that counts the bytes that it has taken from connections.
async fn app(at: std::path::PathBuf) -> (Client, SocketAddr, Arc<AtomicUsize>) {
    let client = Client::local().workers(1).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counts = taken.clone();
    let limited = |compute: Compute, Path(limit): Path<u64>, body: Body| async move {
        let upload = Receiver::new(body.into_data_stream()).limit(limit);
        Ok::<_, Problem>(compute.submit(length, upload).await?.to_string())
    };
    let slow = |compute: Compute, body: Body| async move {
        let chunks = body.into_data_stream();
        let chunks = chunks.inspect(move |chunk| {
            counts.fetch_add(chunk.as_ref().map_or(0, |chunk| chunk.len()), SeqCst);
        });
        Ok::<_, Problem>(compute.submit(later, (at, Receiver::new(chunks))).await?.to_string())
    };
    let shout = |compute: Compute, upload: Body| async move {
        body(compute.stream(upper, Receiver::new(upload.into_data_stream())))
    };
    let app = Router::new()
        .route("/limited/{limit}", put(limited))
        .route("/slow", put(slow))
        .route("/upper", put(shout))
        .route("/alive", axum::routing::get(|| async { "yes" }))
        .layer(Offload::new(client.clone()));
    (client, start(app).await, taken)
}

/// A request whose body comes in chunks, without the chunks.
async fn begin(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await
}

async fn upload(address: SocketAddr, path: &str, chunks: &[usize]) -> Answer {
    let mut stream = begin(address, path).await;
    for length in chunks {
        chunk(&mut stream, &vec![7; *length]).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    receive(stream).await.expect("an answer")
}

#[test]
fn a_body_is_read_by_the_task_and_one_above_its_limit_is_413() {
    run(async {
        let (client, server, _) = app(Scratch::new().path()).await;
        let answer = upload(server, "/limited/3000000", &[1, 70_000, 2_000_000]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2070001"));
        let answer = upload(server, "/limited/100", &[60, 60]).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body.contains("too_large"), "{answer:?}");
        assert_eq!(client.admin().snapshot().failed, 1);
    });
}

#[test]
fn a_body_that_is_no_body_is_400() {
    run(async {
        let (_, server, _) = app(Scratch::new().path()).await;
        let mut stream = begin(server, "/limited/1000").await;
        chunk(&mut stream, b"some").await.unwrap();
        stream.write_all(b"no length\r\n").await.unwrap();
        let answer = receive(stream).await.expect("an answer");
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains("input_failed"), "{answer:?}");
    });
}

#[test]
fn bytes_go_in_and_come_out_while_the_body_arrives() {
    run(async {
        let (_, server, _) = app(Scratch::new().path()).await;
        let mut stream = begin(server, "/upper").await;
        let mut answer = String::new();
        for (sent, expected) in [("one", "ONE"), ("two", "TWO")] {
            chunk(&mut stream, sent.as_bytes()).await.unwrap();
            while !answer.contains(expected) {
                let mut bytes = [0; 1000];
                let read = stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "{answer}");
                answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
        }
    });
}

#[test]
fn a_browser_that_leaves_in_the_middle_stops_the_task() {
    run(async {
        let scratch = Scratch::new();
        let (client, server, _) = app(scratch.path()).await;
        let mut stream = begin(server, "/limited/1000").await;
        chunk(&mut stream, b"some").await.unwrap();
        eventually("it runs", || client.admin().snapshot().running == 1).await;
        drop(stream);
        eventually("its worker is free", || client.admin().snapshot().running == 0).await;
        let answer = upload(server, "/limited/1000", &[7]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "7"));
    });
}

#[test]
fn a_task_that_reads_slowly_slows_the_browser_and_nobody_else() {
    run(async {
        let scratch = Scratch::new();
        let (_, server, taken) = app(scratch.path()).await;
        let mut stream = begin(server, "/slow").await;
        let sends = tokio::spawn(async move {
            for _ in 0..200 {
                chunk(&mut stream, &[7; 100_000]).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
            receive(stream).await.expect("an answer")
        });
        eventually("it has read", || scratch.path().join("read").exists()).await;
        for _ in 0..100 {
            assert_eq!(get(server, "/alive").await.status, 200);
        }
        // The window, what the task has, and what does not fit: hyper's reads have 400 KiB.
        let taken = taken.load(SeqCst);
        assert!(taken < 2 << 20 && !sends.is_finished(), "{taken} bytes were taken");
        std::fs::write(scratch.path().join("released"), "").unwrap();
        let answer = sends.await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "20000000"));
    });
}
