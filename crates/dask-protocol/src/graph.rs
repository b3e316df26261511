//! Tasks as a client submits them: an expression, in a pickle.
//!
//! A scheduler loads it, and so imports whatever it names: a function that only workers
//! have is to be named in a pickle that the worker loads (`_pickle.loads`).

use crate::pickle::Pickle;
use crate::run_spec::MODULE;

/// A graph that is being written.
///
/// # Examples
///
/// ```
/// use dask_protocol::graph::Expression;
/// use dask_protocol::message::{ClientToScheduler, UpdateGraph};
///
/// let mut expression = Expression::new();
/// expression.task("add-1", |call| {
///     call.global("operator", "add");
///     call.int(1);
///     call.int(2);
/// });
/// let expression = expression.finish(&format!("{:032x}", 7));
/// let graph = UpdateGraph { expression, keys: vec!["add-1".into()], ..UpdateGraph::default() };
/// let frames = ClientToScheduler::encode([ClientToScheduler::UpdateGraph(graph)]);
/// # assert_eq!(frames.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Expression(Pickle);

impl Expression {
    /// A graph of no tasks.
    #[expect(clippy::new_without_default, reason = "it is begun, and is nothing by default")]
    pub fn new() -> Self {
        let mut pickle = Pickle::new();
        pickle.global("dask._expr", "LLGExpr");
        pickle.begin_dict();
        Self(pickle)
    }

    /// Adds a task: `call` writes what it calls, and then each argument.
    pub fn task(&mut self, key: &str, call: impl FnOnce(&mut Pickle)) {
        let Self(pickle) = self;
        pickle.str(key);
        pickle.global(MODULE, "Task");
        pickle.tuple(|pickle| {
            pickle.str(key);
            call(pickle);
        });
        pickle.call();
    }

    /// The pickle. `token` is text that no other graph has, of 32 hexadecimal digits for
    /// example: the scheduler knows the graph by that, and does not hash it.
    pub fn finish(self, token: &str) -> Vec<u8> {
        let Self(mut pickle) = self;
        pickle.end_dict();
        pickle.tuple_of_one();
        pickle.begin_dict();
        pickle.str("_determ_token");
        pickle.str(token);
        pickle.end_dict();
        pickle.new_object();
        pickle.finish()
    }
}

/// Writes an argument of a task that is what another key stands for.
pub fn reference(pickle: &mut Pickle, key: &str) {
    pickle.global(MODULE, "TaskRef");
    pickle.str(key);
    pickle.tuple_of_one();
    pickle.call();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expression of the specification, 6.2.
    #[test]
    fn an_expression_is_a_graph_with_a_name() {
        let mut expression = Expression::new();
        expression.task("add-1", |call| {
            call.global("operator", "add");
            call.int(1);
            reference(call, "v-1");
        });
        let zeros = "0".repeat(32);
        let mut expected = b"\x80\x04\x8c\x0adask._expr\x8c\x07LLGExpr\x93}(\x8c\x05add-1\
            \x8c\x0fdask._task_spec\x8c\x04Task\x93(\x8c\x05add-1\x8c\x08operator\x8c\x03add\x93K\x01\
            \x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03v-1\x85RtRu\x85}(\x8c\x0d_determ_token\x8c\x20"
            .to_vec();
        expected.extend(zeros.bytes());
        expected.extend(b"u\x92.");
        assert_eq!(expression.finish(&zeros), expected);
    }
}
