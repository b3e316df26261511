//! Clusters that compress what goes from host to host: nobody does so for us, but
//! schedulers pass values and exceptions on as they got them.

use outboard::dask::python;
use serde_bytes::ByteBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Release, on_every_release};

on_every_release!(
    what_python_scatters_compressed_is_an_argument_and_comes_back,
    exceptions_and_results_that_a_scheduler_passes_on_are_read,
);

/// How long they are.
#[outboard::task(name = "tests.lengths")]
fn lengths(bytes: ByteBuf, text: String) -> (usize, usize) {
    (bytes.len(), text.chars().count())
}

async fn what_python_scatters_compressed_is_an_argument_and_comes_back(release: Release) {
    let mut cluster = release.compressing("zlib", 0);
    cluster.add_native("workers=1&spares=0");
    cluster.ready().await;
    let said = cluster
        .python(
            "import dask
name = 'tests.lengths'
need = resource(name)
def use(way):
    dask.config.set({'distributed.comm.compression': way})
def lengths(client, size):
    data = [b'ab' * (size // 2), 'é' * 50_000]
    scattered = client.scatter(data)
    called = client.submit(function(name), *scattered, resources=need, pure=False)
    print(called.result(), client.gather(scattered) == data)
# Frames of more than 64 MiB are split.
for way, size in [('lz4', 200_000), ('zstd', 200_000), ('zlib', 200_000), ('snappy', 70 << 20)]:
    client.run_on_scheduler(use, way)
    use(way)
    with Client(sys.argv[1]) as other:
        print(other.scheduler_comm.comm.handshake_options['compression'], end=' ')
        lengths(other, size)
",
        )
        .await;
    let expected = "lz4 (200000, 50000) True\nzstd (200000, 50000) True\n\
        zlib (200000, 50000) True\nsnappy (73400320, 50000) True\n";
    assert_eq!(said, expected);
}

/// Where a worker is known, which only those reach who compress: passes on what
/// they say. A client of ours comes to nothing there.
async fn gateway(worker: String) -> String {
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut here, _) = listener.accept().await.unwrap();
            let worker = worker.clone();
            tokio::spawn(async move {
                let mut first = vec![0; 1 << 10];
                let length = here.read(&mut first).await?;
                if first[..length].windows(12).any(|part| part == b"compression\xc0") {
                    return Ok(());
                }
                let mut there = TcpStream::connect(worker).await?;
                there.write_all(&first[..length]).await?;
                tokio::io::copy_bidirectional(&mut here, &mut there).await.map(drop)
            });
        }
    });
    place
}

async fn exceptions_and_results_that_a_scheduler_passes_on_are_read(release: Release) {
    let mut cluster = release.compressing("lz4", 0);
    let listens = format!("127.0.0.4:{}", super::cluster::free_port());
    let known = gateway(listens.clone()).await;
    cluster.add_worker_behind(&listens, &known);
    cluster.ready().await;
    let client = cluster.client().await;
    let shout = python::<(usize,), ()>("only_workers:shout");
    let error = client.submit(shout, 100_000).await.unwrap_err();
    let raised = error.exception().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(raised.class, "only_workers.LoudError", "{raised:?}");
    assert!(raised.message.starts_with("('on purpose', 'xxx"), "{raised:?}");
    let large = python::<(usize,), ByteBuf>("only_workers:large");
    assert_eq!(client.submit(large, 300_000).await.unwrap(), vec![b'x'; 300_000]);
    client.shutdown().await;
}
