//! Each version has its own task functions and worker processes.

#[outboard::task]
fn newer_task(n: u64) -> u64 {
    n + 1
}

#[older::task(crate = "older")]
fn older_task(n: u64) -> u64 {
    n + 10
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    older::init();
    serve()
}

/// The second `init` is in the attribute.
#[outboard::main]
async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:?} {:?}", outboard::is_worker(), older::is_worker());
    let newer = outboard::Client::local().workers(1).await?;
    let older = older::Client::local().workers(1).await?;
    println!("{} {}", newer.submit(newer_task, 0).await?, older.submit(older_task, 0).await?);
    Ok(())
}
