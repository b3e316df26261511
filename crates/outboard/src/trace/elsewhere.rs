//! Tasks whose callers are on other machines: where this process logs what they
//! say, and what of it goes back with their end.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Origin, adopt};
use crate::task::outcome::{FieldValue, Said};

/// How much of what one task says is kept: the last of it. It travels with the
/// result; of a failure, through the scheduler.
const MAX_BYTES: usize = 32 << 10;

/// What an event takes beside its texts.
const DESCRIBED: usize = 64;

/// What a task has said, as far as its caller would show it.
#[derive(Debug)]
pub(crate) struct Kept {
    level: u8,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    said: VecDeque<Said>,
    bytes: usize,
    dropped: u32,
}

impl Origin {
    /// That of a submit in another process, which knows the task by a key, said the
    /// context of its trace, and shows events of that level and above.
    pub(crate) fn elsewhere(
        function: &'static str,
        key: &dyn Display,
        context: Option<String>,
        level: u8,
    ) -> Arc<Self> {
        // It is there wherever an event of the task is shown.
        let span = tracing::error_span!(
            target: "outboard",
            parent: None,
            "cluster_task",
            function,
            key = %key,
            context
        );
        adopt(&span, context.as_deref());
        let kept = (level > 0).then(|| Kept { level, inner: Mutex::default() });
        Arc::new(Self { span, context, kept })
    }

    /// Keeps what a task says for its caller.
    pub(crate) fn keep(&self, said: &Said) {
        if let Some(kept) = self.kept.as_ref().filter(|kept| said.level <= kept.level) {
            kept.lock().keep(said.clone());
        }
    }

    /// What was kept, which its caller is to show.
    pub(crate) fn take_said(&self) -> Vec<Said> {
        self.kept.as_ref().map(|kept| kept.lock().take()).unwrap_or_default()
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, said: Said) {
        self.bytes += size(&said);
        self.said.push_back(said);
        while self.bytes > MAX_BYTES
            && let Some(first) = self.said.pop_front()
        {
            self.bytes -= size(&first);
            self.dropped += 1;
        }
    }

    fn take(&mut self) -> Vec<Said> {
        let Self { said, dropped, .. } = std::mem::take(self);
        let missing = (dropped > 0).then(|| Said {
            level: 2,
            target: "outboard".to_owned(),
            message: format!("{dropped} events of this task before these were dropped"),
            ..Said::default()
        });
        missing.into_iter().chain(said).collect()
    }
}

fn size(said: &Said) -> usize {
    let of_value = |value: &FieldValue| match value {
        FieldValue::Text(text) | FieldValue::Shown(text) => text.len(),
        _ => size_of::<u64>(),
    };
    let fields = said.fields.iter().map(|(name, value)| name.len() + of_value(value));
    DESCRIBED + said.target.len() + said.message.len() + fields.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(level: u8, message: String) -> Said {
        Said { level, message, ..Said::default() }
    }

    #[test]
    fn what_the_caller_would_not_show_is_not_kept() {
        let origin = Origin::elsewhere("f", &"f-1", None, 3);
        (1..=5).for_each(|level| origin.keep(&said(level, level.to_string())));
        let levels: Vec<u8> = origin.take_said().iter().map(|said| said.level).collect();
        assert_eq!(levels, [1, 2, 3]);
        assert!(origin.take_said().is_empty(), "it is taken once");
        let deaf = Origin::elsewhere("f", &"f-1", None, 0);
        deaf.keep(&said(1, "x".into()));
        assert!(deaf.take_said().is_empty());
    }

    #[test]
    fn of_much_the_last_is_kept() {
        let origin = Origin::elsewhere("f", &"f-1", None, 5);
        let many = 5000;
        (0..many).for_each(|number| origin.keep(&said(3, format!("{number:100}"))));
        let kept = origin.take_said();
        assert!(kept.iter().map(size).sum::<usize>() <= MAX_BYTES + 200);
        assert_eq!(kept.last().unwrap().message.trim(), (many - 1).to_string());
        let dropped = many - (kept.len() - 1);
        assert!(kept[0].message.starts_with(&format!("{dropped} events")), "{}", kept[0].message);
    }
}
