//! Its tasks write to both streams.

use outboard::Client;

#[outboard::task]
fn speak() {
    println!("to stdout");
    eprintln!("to stderr");
    print!("no end of line");
}

fn main() -> std::process::ExitCode {
    let is_worker = outboard::is_worker();
    outboard::init_with(|| eprintln!("set up, and known as a worker before: {is_worker}"));
    assert!(!is_worker && !outboard::is_worker());
    let result = programs::serve(async {
        let client = Client::local().workers(1).spares(0).await?;
        client.submit(speak, ()).await?;
        client.shutdown().await;
        Ok(())
    });
    println!("the server's own");
    result
}
