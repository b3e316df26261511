// What both builds have: a worker of a cluster, or a client that tells what its calls gave.

#[outboard::main(flavor = "current_thread")]
async fn main() -> Result<(), outboard::Error> {
    let url = std::env::args().nth(1).expect("the URL of a cluster");
    let client = outboard::Client::connect(&url).await?;
    for said in calls(&client).await {
        println!("{said}");
    }
    client.shutdown().await;
    Ok(())
}

async fn said<F, M>(client: &outboard::Client, function: F, args: F::Args) -> String
where
    F: outboard::TaskFunction<M>,
    F::Output: std::fmt::Debug,
{
    match client.submit(function, args).await {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}
