//! Calls Rust functions with Python's values, in a worker process.

use std::any::type_name;
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
/// arguments. What it returns is a pickle too, behind a byte for its form.
pub(crate) fn run_values<F: TaskFunction<M>, M>(args: Input<'_>) -> Result<Payload, Failure> {
    let args = guarded(|| values_of::<F::Args>(&args, F::ARITY))
        .map_err(|error| bad_arguments::<F, M>(Step::DecodeArguments, error))?;
    let output = conjure::<F>().call(args);
    guarded(|| pickle_of(&output)).map_err(bad_result::<F::Output>)
}

/// The form of a result: any, or a `Result`, whose `Err` is raised if that is asked for.
pub(crate) const PLAIN: u8 = 0;
pub(crate) const RESULT: u8 = 1;

fn pickle_of<T: Serialize>(value: &T) -> Result<Payload, ValueError> {
    let is_result = type_name::<T>().starts_with("core::result::Result<");
    let form = if is_result { RESULT } else { PLAIN };
    let mut pickle = Pickle::part_of([&[form][..], &Pickle::new().into_part()].concat());
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
        assert_eq!(none, b"\0\x80\x04\x8c\x07nothing.");
        let one = called(|pair: (u8, u8)| pair.0 + pair.1, b"\x80\x04K\x01K\x02\x86\x85.").unwrap();
        assert_eq!(one, b"\0\x80\x04K\x03.");
        let two = called(|a: i64, b: f64| a as f64 * b, b"\x80\x04K\x02G\x3f\xf8\0\0\0\0\0\0\x86.");
        assert_eq!(two.unwrap(), b"\0\x80\x04G\x40\x08\0\0\0\0\0\0.");
        let failed = called(|| Err::<(), u8>(7), b"\x80\x04).").unwrap();
        assert_eq!(failed, b"\x01\x80\x04}(\x8c\x03ErrK\x07u.");
        let wrong = called(|a: u8| a, b"\x80\x04K\x01K\x02\x86.").unwrap_err();
        let Failure::Codec { step, source, .. } = wrong else { panic!("{wrong:?}") };
        assert!(step == Step::DecodeArguments && source.contains("takes 1"), "{step}: {source}");
    }
}
