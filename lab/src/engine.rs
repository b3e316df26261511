//! Which engine carries tasks: the options of all commands that start `after`.

/// Which engine carries tasks to workers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EngineArgs {
    /// Engine of `after`: local://, inline:// or dask://host:port (default: OUTBOARD_URL, then
    /// local://)
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Worker processes on this machine (default: one for each core)
    #[arg(long, value_name = "N", conflicts_with = "url",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
}

impl EngineArgs {
    /// The engine's URL, where one was asked for on the command line.
    pub(crate) fn url(&self) -> Option<String> {
        match self.workers {
            Some(workers) => Some(format!("local://?workers={workers}")),
            None => self.url.clone(),
        }
    }

    /// The same with a limit on the memory of workers, unless a URL was asked
    /// for, here or in the environment.
    pub(crate) fn limited(&self, memory_bytes: u64) -> Self {
        let limit = format!("memory_limit={memory_bytes}");
        let url = match self.workers {
            Some(workers) => Some(format!("local://?workers={workers}&{limit}")),
            None if self.url.is_some() => self.url.clone(),
            None if std::env::var_os("OUTBOARD_URL").is_some() => None,
            None => Some(format!("local://?{limit}")),
        };
        Self { url, workers: None }
    }
}
