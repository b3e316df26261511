//! Commands that need Linux, where it is not: each says so.

use anyhow::anyhow;

use crate::failure::Failure;

/// Whatever would follow.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(hide = true, num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<String>,
}

fn refuse(command: &str) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow!(
        "`lab {command}` needs Linux: it reads /proc and signals processes by descriptor"
    )))
}

pub(crate) mod bench {
    use super::Failure;
    pub(crate) use super::{Args, Args as PeerArgs};

    pub(crate) fn run(_: &Args) -> Result<(), Failure> {
        super::refuse("bench")
    }

    pub(crate) fn be_peer(_: &PeerArgs) -> Result<(), Failure> {
        super::refuse("peer")
    }
}

pub(crate) mod chaos {
    pub(crate) use super::Args;
    use super::Failure;

    pub(crate) fn run(_: &Args) -> Result<(), Failure> {
        super::refuse("chaos")
    }
}

pub(crate) mod worker {
    pub(crate) use super::Args;
    use super::Failure;

    pub(crate) fn run(_: &Args) -> Result<(), Failure> {
        super::refuse("worker")
    }
}
