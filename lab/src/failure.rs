//! How the program ends when it does not succeed: the exit code and its line.

use std::io;
use std::process::ExitCode;

/// Why the program ends with something else than success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments make no sense: exit code 2.
    Usage(String),
    /// What was asked for did not work: exit code 1.
    Failed(anyhow::Error),
    /// clap has help or the version to print: exit code 0.
    Help(clap::Error),
    /// Whoever read stdout has gone, as `head` does: nothing is left to say.
    Unread,
}

impl Failure {
    /// Says what happened, and gives the process its exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(line) => {
                eprintln!("lab: {line}");
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                eprintln!("lab: {error:#}");
                ExitCode::FAILURE
            }
            Self::Help(help) => match help.print() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => Self::from(error).report(),
            },
            Self::Unread => ExitCode::SUCCESS,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Unread
        } else {
            Self::Failed(error.into())
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        if error.use_stderr() { Self::Usage(one_line(&error)) } else { Self::Help(error) }
    }
}

/// clap's complaint without its usage lines: `unexpected argument '--fats'
/// found; a similar argument exists: '--fast' (see lab --help)`.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts = Vec::new();
    for paragraph in text.split("\n\n") {
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(complaint) = words.strip_prefix("error: ") {
            parts.push(complaint.to_owned());
        } else if let Some(tip) = words.strip_prefix("tip: ") {
            parts.push(tip.to_owned());
        }
    }
    format!("{} (see lab --help)", parts.join("; "))
}
