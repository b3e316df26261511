//! The library has another name here, and the program has registries of its own, which
//! are called as those of the library are.

use std::sync::OnceLock;

use linkme::distributed_slice;

#[distributed_slice]
static TASKS: [fn() -> u8];
#[distributed_slice(TASKS)]
static TASK: fn() -> u8 = || 1;

#[distributed_slice]
static NAMES: [&'static str];
#[distributed_slice(NAMES)]
static NAME: &str = "name";

#[distributed_slice]
static STARTS: [u8];
#[distributed_slice]
static START_NAMES: [u8];
#[distributed_slice]
static TEST_WORKERS: [u8];

static OFFSET: OnceLock<u64> = OnceLock::new();

#[ob::on_start(crate = "ob", order = 1)]
fn set_offset() {
    OFFSET.get_or_init(|| 1);
}

#[ob::task(crate = "ob", name = "names::shift")]
fn shift(n: u64) -> Option<u64> {
    Some(n + OFFSET.get()?)
}

#[ob::main(crate = "ob", worker_threads = 2)]
async fn main() -> Result<(), ob::Error> {
    let client = ob::Client::local().workers(1).await?;
    assert_eq!(client.submit(shift, 1).await?, Some(2));
    assert_eq!(client.submit(names::double, 2).await?, 4);
    assert_eq!((TASKS.len(), TASKS[0](), &NAMES[..]), (1, 1, &["name"][..]));
    assert_eq!((STARTS.len(), START_NAMES.len(), TEST_WORKERS.len()), (0, 0, 0));
    client.shutdown().await;
    println!("renamed");
    Ok(())
}
