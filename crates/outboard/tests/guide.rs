//! The tests that the guide shows in its chapter on testing, as they stand there.

#[outboard::task]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[cfg(test)]
mod tests {
    use super::add;

    outboard::test_worker!();

    #[tokio::test]
    async fn adds_in_another_process() {
        let client = outboard::Client::local().workers(1).await.unwrap();
        assert_eq!(client.submit(add, (1, 2)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_crash_is_an_error() {
        let client = outboard::Client::local().workers(1).await.unwrap();
        let error = client.submit(|| -> () { std::process::abort() }, ()).await.unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
    }
}
