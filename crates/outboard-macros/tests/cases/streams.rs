//! A function that streams is no function of `submit`, and cannot be shared.

use outboard::{Client, Sender};

#[outboard::task]
fn count(to: u64, out: Sender<u64>) {
    (0..to).for_each(|n| out.send(n).unwrap());
}

#[outboard::task(pure)]
fn shared(out: Sender<u64>) {
    drop(out);
}

#[outboard::task]
fn borrows(out: Sender<&str>) {
    drop(out);
}

#[outboard::task]
fn same(n: u64) -> u64 {
    n
}

fn main() {}

async fn wrong(client: Client) {
    let _ = client.submit(count, 3).await;
    let _ = client.stream(same, 3).next().await;
}
