//! Reads `batch(max = 32, wait = "2ms")`, and decides whether a function can take batches.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{
    Error, Expr, ExprLit, FnArg, GenericArgument, Lit, Meta, PathArguments, ReturnType, Signature,
    Token, Type,
};

use crate::options;

const FORM: &str =
    "`batch` stands alone or has `max` and `wait`: `batch(max = 32, wait = \"2ms\")`";
const MAX_FORM: &str = "`max` is a whole number from 1 to 64: `max = 32`";
const WAIT_FORM: &str =
    "`wait` is a whole number with its unit, `us`, `ms` or `s`: `wait = \"2ms\"`";
const ARGUMENT: &str =
    "a task that takes batches has one parameter, a `Vec<T>`: one item of each caller";
const OUTPUT: &str = "a task that takes batches returns a `Vec<R>` or a `Result<Vec<R>, E>`: one output for each \
                      item";

/// The most tasks of one batch, as the library has it.
const MOST: u16 = 64;

/// What the attribute says of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) most: u16,
    pub(crate) wait_ns: u64,
}

impl Default for Batch {
    fn default() -> Self {
        Self { most: 32, wait_ns: 0 }
    }
}

impl Batch {
    /// What stands behind the word, if anything.
    pub(crate) fn of(meta: &Meta) -> syn::Result<Self> {
        let list = match meta {
            Meta::Path(_) => return Ok(Self::default()),
            Meta::List(list) => list,
            Meta::NameValue(_) => return Err(Error::new_spanned(meta, FORM)),
        };
        let metas = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(list.tokens.clone());
        let metas = metas.map_err(|error| Error::new(error.span(), FORM))?;
        let (mut most, mut wait_ns) = (None, None);
        for meta in &metas {
            if meta.path().is_ident("max") && most.is_none() {
                most = Some(max(options::value(meta, MAX_FORM)?)?);
            } else if meta.path().is_ident("wait") && wait_ns.is_none() {
                wait_ns = Some(wait(meta)?);
            } else {
                return Err(Error::new_spanned(meta.path(), FORM));
            }
        }
        let default = Self::default();
        let (most, wait_ns) = (most.unwrap_or(default.most), wait_ns.unwrap_or(default.wait_ns));
        Ok(Self { most, wait_ns })
    }
}

impl ToTokens for Batch {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { most, wait_ns } = self;
        tokens.extend(quote!(.batch(#most, #wait_ns)));
    }
}

fn max(value: &Expr) -> syn::Result<u16> {
    let number = match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<u16>().ok(),
        _ => None,
    };
    let number = number.filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| Error::new_spanned(value, MAX_FORM))
}

fn wait(meta: &Meta) -> syn::Result<u64> {
    let text = options::string(meta, WAIT_FORM)?;
    duration_ns(&text.value()).ok_or_else(|| Error::new_spanned(text, WAIT_FORM))
}

fn duration_ns(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ns = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ns)
}

/// The types that travel where a function takes batches.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// What each caller passes.
    pub(crate) item: &'a Type,
    /// What each gets, without its error.
    pub(crate) output: &'a Type,
    pub(crate) error: Option<&'a Type>,
}

impl<'a> Shape<'a> {
    /// Reads a signature, or finds what is wrong with it.
    pub(crate) fn of(signature: &'a Signature) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let inputs: Vec<&FnArg> = signature.inputs.iter().collect();
        let item = match inputs[..] {
            [FnArg::Typed(argument)] => match vec_of(&argument.ty) {
                Some(item) => Some(item),
                None => wrong(&argument.ty, ARGUMENT, &mut errors),
            },
            [] => wrong(&signature.ident, ARGUMENT, &mut errors),
            _ => wrong(&signature.inputs, ARGUMENT, &mut errors),
        };
        let output = match &signature.output {
            ReturnType::Type(_, ty) => match outputs_of(ty) {
                Some(output) => Some(output),
                None => wrong(ty, OUTPUT, &mut errors),
            },
            ReturnType::Default => wrong(&signature.ident, OUTPUT, &mut errors),
        };
        match (item, output) {
            (Some(item), Some((output, error))) => Ok(Self { item, output, error }),
            _ => Err(errors),
        }
    }
}

fn wrong<T>(at: impl ToTokens, message: &str, errors: &mut Vec<Error>) -> Option<T> {
    errors.push(Error::new_spanned(at, message));
    None
}

/// `R` and `E` of `Vec<R>` or `Result<Vec<R>, E>`.
fn outputs_of(ty: &Type) -> Option<(&Type, Option<&Type>)> {
    if let Some(output) = vec_of(ty) {
        return Some((output, None));
    }
    let mut types = types_of(ty, "Result")?;
    Some((vec_of(types.next()?)?, types.next()))
}

/// `T` of `Vec<T>`.
fn vec_of(ty: &Type) -> Option<&Type> {
    types_of(ty, "Vec")?.next()
}

/// The types in the angle brackets of a type of that name.
fn types_of<'a>(ty: &'a Type, name: &str) -> Option<impl Iterator<Item = &'a Type> + use<'a>> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    (last.ident == name).then(|| {
        arguments.args.iter().filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tokens: TokenStream) -> Result<Batch, String> {
        Batch::of(&syn::parse2(tokens).unwrap()).map_err(|error| error.to_string())
    }

    fn shape(function: TokenStream) -> Result<Vec<String>, Vec<String>> {
        let signature: Signature = syn::parse2(function).unwrap();
        let text = |ty: &Type| ty.to_token_stream().to_string().replace(' ', "");
        match Shape::of(&signature) {
            Ok(Shape { item, output, error }) => {
                Ok([item, output].into_iter().chain(error).map(text).collect())
            }
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn it_stands_alone_or_says_how_many_and_how_long() {
        for (tokens, most, wait_ns) in [
            (quote!(batch), 32, 0),
            (quote!(batch()), 32, 0),
            (quote!(batch(max = 8)), 8, 0),
            (quote!(batch(wait = "2ms")), 32, 2_000_000),
            (quote!(batch(wait = "50us", max = 64)), 64, 50_000),
            (quote!(batch(max = 1, wait = "1s")), 1, 1_000_000_000),
        ] {
            assert_eq!(read(tokens), Ok(Batch { most, wait_ns }));
        }
    }

    #[test]
    fn each_mistake_has_its_form() {
        for (tokens, form) in [
            (quote!(batch = 32), FORM),
            (quote!(batch(32)), FORM),
            (quote!(batch(size = 32)), FORM),
            (quote!(batch(max = 3, max = 4)), FORM),
            (quote!(batch(max)), MAX_FORM),
            (quote!(batch(max = 0)), MAX_FORM),
            (quote!(batch(max = 65)), MAX_FORM),
            (quote!(batch(max = "3")), MAX_FORM),
            (quote!(batch(wait = 2)), WAIT_FORM),
            (quote!(batch(wait = "2")), WAIT_FORM),
            (quote!(batch(wait = "ms")), WAIT_FORM),
            (quote!(batch(wait = "2 ms")), WAIT_FORM),
            (quote!(batch(wait = "99999999999999999999s")), WAIT_FORM),
        ] {
            assert_eq!(read(tokens), Err(form.to_owned()));
        }
    }

    #[test]
    fn the_types_are_those_of_one_item() {
        for (function, expected) in [
            (quote!(fn f(a: Vec<u8>) -> Vec<u16>), &["u8", "u16"][..]),
            (quote!(async fn f(a: std::vec::Vec<Vec<u8>>) -> Vec<u16>), &["Vec<u8>", "u16"]),
            (quote!(fn f(a: Vec<u8>) -> Result<Vec<u16>, String>), &["u8", "u16", "String"]),
            (quote!(fn f(a: Vec<u8>) -> io::Result<Vec<u16>>), &["u8", "u16"]),
        ] {
            assert_eq!(shape(function).unwrap(), expected);
        }
    }

    #[test]
    fn other_signatures_are_refused() {
        for (function, expected) in [
            (quote!(fn f(a: u8) -> Vec<u8>), &[ARGUMENT][..]),
            (quote!(fn f(a: Vec<u8>, b: u8) -> Vec<u8>), &[ARGUMENT]),
            (quote!(fn f() -> Vec<u8>), &[ARGUMENT]),
            (quote!(fn f(a: Vec<u8>)), &[OUTPUT]),
            (quote!(fn f(a: Vec<u8>) -> u8), &[OUTPUT]),
            (quote!(fn f(a: Vec<u8>) -> Result<u8, Vec<u8>>), &[OUTPUT]),
            (quote!(fn f(a: Vec<u8>, out: Sender<u8>)), &[ARGUMENT, OUTPUT]),
        ] {
            assert_eq!(shape(function).unwrap_err(), expected);
        }
    }
}
