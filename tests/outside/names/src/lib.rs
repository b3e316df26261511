//! Others have the library through this crate.

/// Where a framework might keep what it exports.
pub mod deps {
    pub use ob as outboard;
}

#[ob::task(crate = "ob")]
pub fn double(n: u64) -> u64 {
    2 * n
}

#[cfg(test)]
mod tests {
    ob::test_worker!();

    #[ob::main(crate = "ob", flavor = "current_thread")]
    async fn doubled() -> Result<u64, ob::Error> {
        let client = ob::Client::local().workers(1).await?;
        client.submit(super::double, 21).await
    }

    #[test]
    fn a_renamed_dependency_has_worker_processes_in_tests() {
        assert_eq!(doubled().unwrap(), 42);
    }
}
