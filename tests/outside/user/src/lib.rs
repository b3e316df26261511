//! Counts words, in other processes.

/// How many words a text has.
#[outboard::task]
pub fn count(text: String) -> usize {
    text.split_whitespace().count()
}

/// The first word of a text, which must have one.
#[outboard::task]
pub fn first(text: String) -> String {
    text.split_whitespace().next().expect("a text has a word").to_owned()
}

#[cfg(test)]
mod tests {
    use outboard::Client;

    use super::*;

    outboard::test_worker!();

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Runtime::new().unwrap().block_on(future)
    }

    #[test]
    fn words_are_counted_in_another_process() {
        block_on(async {
            let client = Client::local().workers(2).await.unwrap();
            assert_eq!(client.submit(count, "one two".to_owned()).await.unwrap(), 2);
            let pid = client.submit(|| std::process::id(), ()).await.unwrap();
            assert_ne!(pid, std::process::id());
        });
    }

    #[test]
    fn a_text_without_words_fails_its_task() {
        block_on(async {
            let client = Client::local().workers(1).await.unwrap();
            let error = client.submit(first, String::new()).await.unwrap_err();
            assert!(error.is_panicked(), "{error}");
            assert_eq!(client.submit(first, "one two".to_owned()).await.unwrap(), "one");
        });
    }

    #[test]
    fn the_same_works_inline() {
        block_on(async {
            let client = Client::connect("inline://?workers=1").await.unwrap();
            assert_eq!(client.submit(count, "one".to_owned()).await.unwrap(), 1);
        });
    }
}
