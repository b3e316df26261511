//! Its tasks write to both streams.

use outboard::Client;

#[outboard::task]
fn speak() {
    println!("to stdout");
    eprintln!("to stderr");
    print!("no end of line");
}

fn main() -> std::process::ExitCode {
    outboard::init_with(|| eprintln!("set up"));
    let result = programs::serve(async {
        let client = Client::local().workers(1).spares(0).await?;
        client.submit(speak, ()).await?;
        client.shutdown().await;
        Ok(())
    });
    println!("the server's own");
    result
}
