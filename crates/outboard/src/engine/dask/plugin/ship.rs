//! Gives the plugin, as source, to a scheduler, which gives it to its workers of
//! now and of later; and asks those what has become of it.

use std::io;
use std::time::Duration;

use dask_protocol::message::{Identity, Ran, RegisterWorkerPlugin, RunOnWorkers};
use dask_protocol::pickle::Pickle;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::MODULE;
use crate::engine::dask::cluster::Cluster;
use crate::engine::dask::connection::Connection;

/// The plugin itself.
pub(super) const SOURCE: &str = include_str!("../../../../python/outboard_dask/__init__.py");

/// Makes a module of the source, where no other client has, and a plugin of it.
const LOAD: &str = "((modules := __import__('sys').modules), name in modules or \
                    (modules.update({name: (new := __import__('types').ModuleType(name))}), \
                    exec(compile(source, name, 'exec'), new.__dict__)), \
                    modules[name].Plugin(program, build, options))[-1]";

/// How long a worker may take to say what has become of its program.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long all of it may take.
const SHIPPING: Duration = Duration::from_secs(120);

/// Which program is to be beside the workers, and with which options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plugin {
    /// A path at the workers; where it is empty, a variable there has it.
    program: String,
    /// As a query of a URL.
    options: String,
}

impl Plugin {
    pub(crate) fn new(program: &str) -> Self {
        Self { program: program.to_owned(), options: String::new() }
    }

    /// Options of the programs' own engine, which have been checked.
    pub(crate) fn set_options(&mut self, given: &[(String, String)]) {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let options = given.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        self.options = options.collect::<Vec<_>>().join("&");
    }

    /// What a worker loads.
    fn pickle(&self, build: &str) -> Vec<u8> {
        let mut pickle = Pickle::new();
        pickle.global("builtins", "eval");
        pickle.str(LOAD);
        pickle.begin_dict();
        let named = [("name", MODULE), ("source", SOURCE), ("build", build)];
        for (name, value) in named.into_iter().chain([("options", self.options.as_str())]) {
            pickle.str(name);
            pickle.str(value);
        }
        pickle.str("program");
        match self.program.as_str() {
            "" => pickle.none(),
            program => pickle.str(program),
        }
        pickle.end_dict();
        pickle.tuple_of_two();
        pickle.call();
        pickle.finish()
    }
}

fn plugin_name(build: &str) -> String {
    format!("outboard-{build}")
}

/// Gives the plugin to a scheduler, unless it has one of this build that works, and
/// waits for the programs beside its workers.
///
/// # Errors
///
/// If there are workers, and there is a program beside none of them: why.
pub(crate) async fn ship(
    questions: &mut Connection,
    plugin: &Plugin,
    build: &str,
) -> io::Result<()> {
    let shipped = tokio::time::timeout(SHIPPING, ship_in_time(questions, plugin, build)).await;
    shipped.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn ship_in_time(questions: &mut Connection, plugin: &Plugin, build: &str) -> io::Result<()> {
    let works = |problems: &[(String, String)]| {
        problems.is_empty() || problems.iter().any(|(_, problem)| problem.is_empty())
    };
    register(questions, plugin, build, true).await?;
    let mut problems = problems(questions, build).await?;
    if !works(&problems) {
        // It may be there with another path: nobody has any use of that one.
        register(questions, plugin, build, false).await?;
        problems = self::problems(questions, build).await?;
    }
    for (worker, problem) in problems.iter().filter(|(_, problem)| !problem.is_empty()) {
        tracing::warn!(worker, problem, "no program beside a worker");
    }
    match problems.first() {
        Some(first) if !works(&problems) => Err(io::Error::other(described(first))),
        _ => Ok(()),
    }
}

async fn register(
    questions: &mut Connection,
    plugin: &Plugin,
    build: &str,
    idempotent: bool,
) -> io::Result<()> {
    let (plugin, name) = (plugin.pickle(build), plugin_name(build));
    questions.ask(RegisterWorkerPlugin { plugin, name, idempotent }).await
}

/// Why no worker offers a function.
///
/// # Errors
///
/// The connection's.
pub(crate) async fn why_not(questions: &mut Connection, build: &str) -> io::Result<String> {
    let problems = problems(questions, build).await?;
    let problem = problems.iter().find(|(_, problem)| !problem.is_empty());
    Ok(match (problem, problems.len()) {
        (Some(problem), _) => described(problem),
        (None, 0) => "there is no worker".to_owned(),
        (None, _) => "the program beside its workers does not have it".to_owned(),
    })
}

fn described((worker, problem): &(String, String)) -> String {
    format!("no program runs beside the worker {worker}: {problem}")
}

/// What each Python worker has to say of its program: nothing, if that is there.
async fn problems(questions: &mut Connection, build: &str) -> io::Result<Vec<(String, String)>> {
    let cluster = Cluster::from(questions.ask(Identity).await?);
    let mut function = Pickle::new();
    function.global(MODULE, "report");
    let mut args = Pickle::new();
    args.tuple(|args| {
        args.str(build);
        args.float(PATIENCE.as_secs_f64());
    });
    let run = RunOnWorkers { function: function.finish(), args: args.finish() };
    let workers = questions.ask(run).await?.into_iter();
    let python = workers.filter(|(worker, _)| !cluster.is_native_at(worker));
    Ok(python.map(|(worker, ran)| (worker, problem(ran))).collect())
}

fn problem(ran: Ran) -> String {
    match ran {
        Ran::Raised(text) => text,
        Ran::Result(result) => result.into_bytes().map_or_else(
            |_| "it does not say what became of it".to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_a_path_and_options_of_worker_processes() {
        let mut plugin = Plugin::new("/usr/bin/app");
        let given = [("spares", "0"), ("memory_limit", "256 MiB")];
        plugin.set_options(&given.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let pickle = plugin.pickle("ab");
        let has = |text: &[u8]| pickle.windows(text.len()).any(|part| part == text);
        assert!(has(b"spares=0&memory_limit=256%20MiB") && has(b"/usr/bin/app"));
        assert!(has(b"class Plugin(WorkerPlugin)"));
    }
}
