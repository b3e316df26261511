//! What the running task says of its progress: a few words that the worker writes and the
//! server reads when somebody asks.
//!
//! A sequence lock: the version is odd while the worker writes. A reader that sees it change
//! looks again, and after some looks has nothing to show.

use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use super::Page;
use crate::task::progress::{Noted, TEXT_BYTES};

/// Version, number of the task, two numbers, length of the text; then the text.
const HEAD_WORDS: usize = 5;
const TEXT_WORDS: usize = TEXT_BYTES / 8;

/// How many words there are.
pub(super) const PROGRESS_WORDS: usize = HEAD_WORDS + TEXT_WORDS;

/// How often a reader looks, whatever the worker does to the version.
const LOOKS: usize = 100;

impl Page {
    fn progress_words(&self) -> &[AtomicU64] {
        &self.words()[super::FIRST_PROGRESS..super::FIRST_PROGRESS + PROGRESS_WORDS]
    }

    /// Worker: how far its task has come. Of two threads that say so at once, one is heard.
    pub(crate) fn set_progress(&self, seq: u64, noted: &Noted) {
        static WRITING: Mutex<()> = Mutex::new(());
        let Ok(_writing) = WRITING.try_lock() else { return };
        let [version, words @ ..] = self.progress_words() else { return };
        let before = version.load(Relaxed);
        version.store(before | 1, Relaxed);
        // Whoever sees one of the words below sees the odd version, too.
        fence(Release);
        let head = [seq, noted.done, noted.total, u64::from(noted.length)];
        let text = noted
            .text
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes")));
        for (word, value) in words.iter().zip(head.into_iter().chain(text)) {
            word.store(value, Relaxed);
        }
        version.store((before | 1).wrapping_add(1), Release);
    }

    /// Server: how far a task has come, if it said so.
    pub(crate) fn progress(&self, seq: u64) -> Option<Noted> {
        let [version, words @ ..] = self.progress_words() else { return None };
        for _ in 0..LOOKS {
            let before = version.load(Acquire);
            let mut values = [0; PROGRESS_WORDS - 1];
            for (value, word) in values.iter_mut().zip(words) {
                *value = word.load(Relaxed);
            }
            fence(Acquire);
            if before & 1 == 1 || version.load(Relaxed) != before {
                std::hint::spin_loop();
                continue;
            }
            let [of, done, total, length, text @ ..] = values;
            let mut bytes = [0; TEXT_BYTES];
            for (place, word) in bytes.chunks_exact_mut(8).zip(text) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            let length = length.min(TEXT_BYTES as u64) as u8;
            return (of == seq).then_some(Noted { done, total, length, text: bytes });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_one_value_and_never_parts_of_two() {
        const VALUES: u64 = 50_000;
        let (server, fd) = Page::create().unwrap();
        let worker = Page::open(&fd).unwrap();
        assert!(server.progress(7).is_none());
        let noted = |n: u64| Noted { done: n, total: n, length: 8, text: [n as u8; TEXT_BYTES] };
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=VALUES).for_each(|n| worker.set_progress(7, &noted(n))));
            let mut last = 0;
            while last < VALUES {
                let Some(seen) = server.progress(7) else { continue };
                assert_eq!(seen.done, seen.total);
                assert_eq!(seen.text, [seen.done as u8; TEXT_BYTES]);
                assert!(seen.done >= last, "the latest value wins");
                last = seen.done;
            }
        });
        assert!(server.progress(8).is_none(), "it is another task's");
    }
}
