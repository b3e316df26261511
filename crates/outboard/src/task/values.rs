//! Calls Rust functions with Python's values, in a worker process.

use std::fmt::Display;

use dask_protocol::pickle::{Node, Pickle, Symbols, from_symbols, write_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Step;
use crate::task::closure::conjure;
use crate::task::function::{TaskFunction, bad_arguments, bad_result};
use crate::task::outcome::Failure;
use crate::value::codec::{Input, ValueError, guarded};
use crate::value::payload::Payload;

/// Calls a Rust function with Python's values: a pickle of the tuple of its
/// arguments, which gives a pickle of what it returns.
pub(crate) fn run_values<F: TaskFunction<M>, M>(args: Input<'_>) -> Result<Payload, Failure> {
    let args = guarded(|| values_of::<F::Args>(&args, F::ARITY))
        .map_err(|error| bad_arguments::<F, M>(Step::DecodeArguments, error))?;
    let output = conjure::<F>().call(args);
    guarded(|| pickle_of(&output)).map_err(bad_result::<F::Output>)
}

fn pickle_of<T: Serialize>(value: &T) -> Result<Payload, ValueError> {
    let mut pickle = Pickle::new();
    let written = write_value(value, &mut pickle);
    written.map_err(|error| ValueError::new(error.to_string()))?;
    Ok(pickle.finish().into())
}

/// Arguments as a task function takes them: none, one bare, or a tuple.
fn values_of<A: DeserializeOwned>(pickle: &[u8], arity: usize) -> Result<A, ValueError> {
    let said = |error: &dyn Display| ValueError::new(error.to_string());
    let symbols = Symbols::read(pickle, 0).map_err(|error| said(&error))?;
    let items = symbols.items(symbols.root()).ok_or_else(|| said(&"they are no tuple"))?;
    if items.len() != arity {
        return Err(said(&format!("it takes {arity} arguments, and {} were given", items.len())));
    }
    let node = match items {
        [] => Node::None,
        [one] => *one,
        _ => symbols.root(),
    };
    from_symbols(&symbols, &[], node).map_err(|error| said(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_functions_take_pythons_values() {
        fn called<F: TaskFunction<M>, M>(_: F, args: &[u8]) -> Result<Vec<u8>, Failure> {
            run_values::<F, M>(Input::Lent(args)).map(|output| output.to_vec())
        }
        let none = called(|| "nothing".to_owned(), b"\x80\x04).").unwrap();
        assert_eq!(none, b"\x80\x04\x8c\x07nothing.");
        let one = called(|pair: (u8, u8)| pair.0 + pair.1, b"\x80\x04K\x01K\x02\x86\x85.").unwrap();
        assert_eq!(one, b"\x80\x04K\x03.");
        let two = called(|a: i64, b: f64| a as f64 * b, b"\x80\x04K\x02G\x3f\xf8\0\0\0\0\0\0\x86.");
        assert_eq!(two.unwrap(), b"\x80\x04G\x40\x08\0\0\0\0\0\0.");
        let wrong = called(|a: u8| a, b"\x80\x04K\x01K\x02\x86.").unwrap_err();
        let Failure::Codec { step, source, .. } = wrong else { panic!("{wrong:?}") };
        assert!(step == Step::DecodeArguments && source.contains("takes 1"), "{step}: {source}");
    }
}
