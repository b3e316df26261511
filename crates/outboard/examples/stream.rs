//! A task that sends items while it runs: words of a text as they are found, its progress, and
//! how many there were. Dropping the stream stops the task.

use outboard::{Client, Error, SendError, Sender};

/// Sends each word of a text that is longer than the one before; gives how many words it read.
#[outboard::task]
fn longer_words(text: String, out: Sender<String>) -> Result<usize, SendError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut longest = 0;
    for (n, word) in words.iter().enumerate() {
        outboard::progress(n as u64, words.len() as u64, word);
        if word.len() > longest {
            longest = word.len();
            out.send((*word).to_owned())?;
        }
    }
    Ok(words.len())
}

/// Without an end, until nobody reads.
#[outboard::task]
fn naturals() -> impl Iterator<Item = u64> {
    0..
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let client = Client::local().workers(1).await?;
    let text = "a big elephant in the entertainment business";
    let mut words = client.stream(longer_words, text.to_owned());
    while let Some(word) = words.next().await {
        println!("{}", word?);
    }
    println!("of {} words", words.output().await?.expect("somebody reads"));

    let mut numbers = client.stream(naturals, ());
    let sum = numbers.next().await.expect("one")? + numbers.next().await.expect("two")?;
    drop(numbers);
    println!("0 + 1 = {sum}");
    client.shutdown().await;
    Ok(())
}
