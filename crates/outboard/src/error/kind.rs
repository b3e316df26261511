//! The kinds of failure, each with its name.

use std::fmt;

/// Defines the kinds together with their names, so that no list of them misses one.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What kind of failure an [`Error`](super::Error) is.
        ///
        /// [`as_str`](Self::as_str) and `Display` give its name, `timed_out` for
        /// example. Names are part of the interface and do not change: use them in
        /// logs, in labels of metrics and in answers to clients.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The name of this kind, in lower case with underscores.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// The task function panicked. Its worker lives on.
    Panicked = "panicked",
    /// The Python function raised an exception.
    Raised = "raised",
    /// The worker process died, or was stopped, while it ran the task.
    WorkerLost = "worker_lost",
    /// The worker process ran out of memory;
    /// [`WorkerLoss::shortage`](super::WorkerLoss::shortage) says which memory.
    OutOfMemory = "out_of_memory",
    /// The same arguments have killed workers before and are refused for a while;
    /// see [`quarantine`](crate::LocalBuilder::quarantine).
    Quarantined = "quarantined",
    /// The timeout ran out, in the queue or while the task ran.
    TimedOut = "timed_out",
    /// A caller cancelled the task.
    Cancelled = "cancelled",
    /// The queue is full; see [`Error::retry_after`](super::Error::retry_after).
    Overloaded = "overloaded",
    /// The arguments, or the result, exceed the engine's bound, or a key or the name of a
    /// tenant is longer than 8 KiB.
    TooLarge = "too_large",
    /// No worker of this engine knows the function.
    UnknownTask = "unknown_task",
    /// Arguments or result could not be encoded or decoded: a type's own error or panic,
    /// a field that is missing, more than 128 levels.
    Codec = "codec",
    /// A URL names no engine, or an option of it is wrong.
    InvalidUrl = "invalid_url",
    /// The engine could not be reached or started.
    Unavailable = "unavailable",
    /// The client was drained or shut down, or its runtime ended.
    Closed = "closed",
    /// This engine, or the client's options, do not offer what was asked for.
    Unsupported = "unsupported",
    /// The stream that the task [receives](crate::Receiver) failed before its end.
    InputFailed = "input_failed",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_as_they_were_and_no_two_are_equal() {
        // Dashboards and clients have these: add to the list, and change nothing in it.
        let names = [
            "panicked",
            "raised",
            "worker_lost",
            "out_of_memory",
            "quarantined",
            "timed_out",
            "cancelled",
            "overloaded",
            "too_large",
            "unknown_task",
            "codec",
            "invalid_url",
            "unavailable",
            "closed",
            "unsupported",
            "input_failed",
        ];
        let told: Vec<String> = ErrorKind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(told, names);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn a_name_is_that_of_its_variant() {
        for kind in ErrorKind::ALL {
            let variant = kind.as_str().replace('_', "");
            assert_eq!(format!("{kind:?}").to_lowercase(), variant);
        }
    }
}
