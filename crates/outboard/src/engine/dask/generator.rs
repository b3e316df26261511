//! Functions of Python that stream, on ordinary Dask workers. Each task brings along the
//! module that sends what its function gives: `generator.py`.

use dask_protocol::pickle::Pickle;

const SOURCE: &str = include_str!("generator.py");

/// The module's name at the workers. It has the number of what it says to a client.
const MODULE: &str = "outboard_generator_v1";

/// Makes a module of the source, where no other task has, and gives its `run`. Two threads
/// may do so at once: both use what the first has made.
const LOAD: &str = "((modules := __import__('sys').modules), name in modules or \
                    ((new := __import__('types').ModuleType(name)), \
                    exec(compile(source, name, 'exec'), new.__dict__), \
                    modules.setdefault(name, new)), modules[name].run)[-1]";

/// A pickle that, when a worker loads it, calls a function with the opcodes of its tuple of
/// arguments. It sends what that gives, and gives the pickle of what it returns.
pub(super) fn call(topic: &str, key: &str, module: &str, name: &str, args: &[u8]) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global("builtins", "eval");
    pickle.str(LOAD);
    pickle.begin_dict();
    for (name, value) in [("name", MODULE), ("source", SOURCE)] {
        pickle.str(name);
        pickle.str(value);
    }
    pickle.end_dict();
    pickle.tuple_of_two();
    pickle.call();
    pickle.tuple(|pickle| {
        pickle.str(topic);
        pickle.str(key);
        pickle.global(module, name);
        pickle.part(args);
    });
    pickle.call();
    pickle.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_brings_its_module_along_and_names_topic_key_and_function() {
        let call = call("client-1", "count-1", "app", "count", b"K\x07\x85");
        let end = b"R(\x8c\x08client-1\x8c\x07count-1\x8c\x03app\x8c\x05count\x93K\x07\x85tR.";
        assert!(call.ends_with(end), "{:?}", &call[call.len() - 64..]);
        let has = |text: &str| call.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has(LOAD) && has(MODULE) && has("def run(topic, key, function, args):"));
    }

    #[test]
    fn both_ends_count_the_same_window() {
        use crate::value::channel::{ITEM_BYTES, WINDOW_BYTES};
        let line = format!("WINDOW, ITEM = {} << 10, {ITEM_BYTES}", WINDOW_BYTES >> 10);
        assert!(SOURCE.contains(&line), "{line}");
    }
}
