//! Decides whether a function's signature is one that a task function can have.

use quote::ToTokens;
use syn::{
    Error, FnArg, GenericArgument, GenericParam, Generics, PathArguments, ReturnType, Safety,
    Signature, Type, TypePath, TypeReference,
};

use crate::streaming::Streaming;

/// The library implements its trait for functions of up to this many arguments.
const MOST_ARGUMENTS: usize = 8;

/// Finds every reason why the function cannot be a task function; none if it can.
pub(crate) fn errors(signature: &Signature) -> Vec<Error> {
    let mut errors = Vec::new();
    check_qualifiers(signature, &mut errors);
    check_generics(&signature.generics, &mut errors);
    check_arguments(signature, &mut errors);
    let streaming = Streaming::of(signature);
    if let Some(streaming) = streaming {
        check_type(streaming.item(), Place::Item, &mut errors);
    }
    if let ReturnType::Type(_, output) = &signature.output
        && !matches!(streaming, Some(Streaming::Iterator { .. }))
    {
        check_type(output, Place::Output, &mut errors);
    }
    errors
}

/// Which way a type travels.
#[derive(Clone, Copy)]
enum Place {
    Argument,
    Item,
    Output,
}

impl Place {
    fn why(self) -> &'static str {
        match self {
            Place::Argument => "a task's arguments travel to another process",
            Place::Item => "a stream's items travel from another process",
            Place::Output => "a task's result travels from another process",
        }
    }

    fn error(self, at: impl ToTokens, advice: &str) -> Error {
        Error::new_spanned(at, format!("{}: {advice}", self.why()))
    }

    fn verb(self) -> &'static str {
        match self {
            Place::Argument => "take",
            Place::Item => "send",
            Place::Output => "return",
        }
    }
}

fn check_qualifiers(signature: &Signature, errors: &mut Vec<Error>) {
    if let Safety::Unsafe(token) = &signature.safety {
        let message = "a task cannot be `unsafe`: wrap the unsafe call in a safe function";
        errors.push(Error::new_spanned(token, message));
    }
    if let Some(abi) = &signature.abi {
        let message = "a task is a plain Rust function: remove `extern`";
        errors.push(Error::new_spanned(abi, message));
    }
}

fn check_generics(generics: &Generics, errors: &mut Vec<Error>) {
    for parameter in &generics.params {
        let message = match parameter {
            GenericParam::Lifetime(_) => {
                "a task borrows nothing, for its arguments travel to another process: \
                 remove the lifetime"
            }
            GenericParam::Type(_) | GenericParam::Const(_) => {
                "a task cannot be generic, for its name stands for one function: \
                 write a function for each type, and mark those"
            }
        };
        errors.push(Error::new_spanned(parameter, message));
    }
    if let Some(clause) = &generics.where_clause {
        let message = "a task cannot have a `where` clause, for its types are all known";
        errors.push(Error::new_spanned(clause.where_token, message));
    }
}

fn check_arguments(signature: &Signature, errors: &mut Vec<Error>) {
    let sender = matches!(Streaming::of(signature), Some(Streaming::Sender { .. }));
    let arguments = signature.inputs.len() - usize::from(sender);
    for argument in signature.inputs.iter().take(arguments) {
        match argument {
            FnArg::Receiver(receiver) => errors.push(Error::new_spanned(
                receiver,
                "a task is a free function: take the value as an argument instead of `self`",
            )),
            FnArg::Typed(argument) => check_type(&argument.ty, Place::Argument, errors),
        }
    }
    if let Some(ninth) = signature.inputs.iter().take(arguments).nth(MOST_ARGUMENTS) {
        let message = "a task takes at most eight arguments: put some of them in a struct";
        errors.push(Error::new_spanned(ninth, message));
    }
    if let Some(variadic) = &signature.variadic {
        let message = "a task takes a fixed number of arguments";
        errors.push(Error::new_spanned(variadic, message));
    }
}

/// Finds what a trait error would not explain well; the bounds in the expansion find the rest.
fn check_type(ty: &Type, place: Place, errors: &mut Vec<Error>) {
    let advice = match ty {
        Type::Reference(reference) => advice(reference, place),
        Type::ImplTrait(_) => "name its type instead of `impl Trait`".to_owned(),
        Type::Never(_) => "it is a value, if only `()`, and never `!`".to_owned(),
        Type::Path(path) if starts_with_self(path) => {
            "name its type, for a task is a free function without `Self`".to_owned()
        }
        _ => return check_parts(ty, place, errors),
    };
    errors.push(place.error(ty, &advice));
}

fn check_parts(ty: &Type, place: Place, errors: &mut Vec<Error>) {
    match ty {
        Type::Array(array) => check_type(&array.elem, place, errors),
        Type::Group(group) => check_type(&group.elem, place, errors),
        Type::Paren(paren) => check_type(&paren.elem, place, errors),
        Type::Slice(slice) => check_type(&slice.elem, place, errors),
        Type::Tuple(tuple) => {
            for part in &tuple.elems {
                check_type(part, place, errors);
            }
        }
        Type::Path(path) => {
            for argument in generic_arguments(path) {
                check_generic_argument(argument, place, errors);
            }
        }
        _ => {}
    }
}

fn check_generic_argument(argument: &GenericArgument, place: Place, errors: &mut Vec<Error>) {
    match argument {
        GenericArgument::Type(ty) => check_type(ty, place, errors),
        GenericArgument::Lifetime(lifetime) if lifetime.ident == "_" => {
            errors.push(place.error(lifetime, "write `'static` instead of `'_`"));
        }
        _ => {}
    }
}

fn starts_with_self(path: &TypePath) -> bool {
    path.path.segments.first().is_some_and(|segment| segment.ident == "Self")
}

fn generic_arguments(path: &TypePath) -> impl Iterator<Item = &GenericArgument> {
    let segments = path.path.segments.iter();
    segments.flat_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.iter().collect(),
        _ => Vec::new(),
    })
}

fn advice(reference: &TypeReference, place: Place) -> String {
    let (verb, written) = (place.verb(), text(reference));
    match owned(&reference.elem) {
        Some(owned) => format!("{verb} `{owned}` instead of `{written}`"),
        None => format!("{verb} a value instead of `{written}`"),
    }
}

/// The type that owns what a reference to `ty` borrows, as far as its spelling tells.
fn owned(ty: &Type) -> Option<String> {
    match ty {
        Type::Reference(reference) => owned(&reference.elem),
        Type::Group(group) => owned(&group.elem),
        Type::Paren(paren) => owned(&paren.elem),
        Type::Slice(slice) => Some(format!("Vec<{}>", owned(&slice.elem)?)),
        Type::TraitObject(_) | Type::ImplTrait(_) => None,
        _ => Some(match text(ty).as_str() {
            "str" => "String".to_owned(),
            "Path" => "PathBuf".to_owned(),
            "OsStr" => "OsString".to_owned(),
            "CStr" => "CString".to_owned(),
            other => other.to_owned(),
        }),
    }
}

/// A type as a person writes it: tokens print with a space between any two.
fn text(ty: &impl ToTokens) -> String {
    let printed = ty.to_token_stream().to_string();
    let spaced = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let tight = [
        (" :: ", "::"),
        (":: ", "::"),
        ("& ", "&"),
        (" < ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ;", ";"),
    ];
    tight.iter().fold(spaced, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::TokenStream;
    use quote::quote;

    fn found(function: TokenStream) -> Vec<String> {
        let signature = syn::parse2(function).unwrap();
        errors(&signature).iter().map(ToString::to_string).collect()
    }

    fn argument(advice: &str) -> String {
        format!("a task's arguments travel to another process: {advice}")
    }

    fn output(advice: &str) -> String {
        format!("a task's result travels from another process: {advice}")
    }

    #[test]
    fn functions_over_owned_types_are_tasks() {
        for function in [
            quote!(fn nothing()),
            quote!(const fn constant(a: u8) -> u8),
            quote!(async fn later((a, _): (u8, Vec<Option<String>>)) -> Result<(), String>),
            quote!(fn eight(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> [u8; 8]),
            quote!(fn cow(mut text: Cow<'static, str>) -> Cow<'static, str>),
        ] {
            assert_eq!(found(function), [""; 0]);
        }
    }

    #[test]
    fn advice_for_a_reference_names_the_type_that_owns() {
        for (written, advice) in [
            (quote!(&str), "take `String` instead of `&str`"),
            (quote!(&'static str), "take `String` instead of `&'static str`"),
            (quote!(&[u8]), "take `Vec<u8>` instead of `&[u8]`"),
            (quote!(&[&str]), "take `Vec<String>` instead of `&[&str]`"),
            (quote!(&[u8; 4]), "take `[u8; 4]` instead of `&[u8; 4]`"),
            (quote!(&&Path), "take `PathBuf` instead of `&&Path`"),
            (
                quote!(&mut Vec<(u8, a::B)>),
                "take `Vec<(u8, a::B)>` instead of `&mut Vec<(u8, a::B)>`",
            ),
            (quote!(&dyn Read), "take a value instead of `&dyn Read`"),
        ] {
            assert_eq!(found(quote!(fn f(a: #written))), [argument(advice)]);
        }
    }

    #[test]
    fn references_are_found_inside_other_types() {
        let function =
            quote!(fn f(a: Option<&str>, b: (u8, [&str; 2])) -> std::vec::Vec<&'static str>);
        let expected = [
            argument("take `String` instead of `&str`"),
            argument("take `String` instead of `&str`"),
            output("return `String` instead of `&'static str`"),
        ];
        assert_eq!(found(function), expected);
    }

    #[test]
    fn types_without_a_name_are_refused() {
        let function = quote!(fn f(a: impl Read, b: Cow<'_, str>) -> Box<impl Read>);
        let expected = [
            argument("name its type instead of `impl Trait`"),
            argument("write `'static` instead of `'_`"),
            output("name its type instead of `impl Trait`"),
        ];
        assert_eq!(found(function), expected);
        assert!(found(quote!(fn f() -> Option<Self>))[0].contains("without `Self`"));
        assert!(found(quote!(fn f() -> !))[0].contains("never `!`"));
    }

    #[test]
    fn a_sender_is_no_argument_and_its_items_own_what_they_hold() {
        assert_eq!(found(quote!(fn f(a: u8, out: Sender<Vec<u8>>) -> u8)), [""; 0]);
        assert_eq!(found(quote!(fn f(a: u8) -> impl Iterator<Item = u8>)), [""; 0]);
        let item = "a stream's items travel from another process: send `String` instead of `&str`";
        assert_eq!(found(quote!(fn f(out: Sender<&str>))), [item]);
    }

    #[test]
    fn every_reason_is_reported_at_once() {
        let errors = found(quote! {
            unsafe extern "C" fn f<'a, T, const N: usize>(self, a: &'a str, ...) -> T where T: Clone
        });
        let expected = [
            "cannot be `unsafe`",
            "remove `extern`",
            "remove the lifetime",
            "cannot be generic",
            "cannot be generic",
            "`where` clause",
            "instead of `self`",
            "take `String`",
            "fixed number",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.contains(part), "{error} does not say {part}");
        }
    }

    #[test]
    fn ninth_argument_is_one_too_many() {
        let nine = (0..9).map(|n| quote::format_ident!("a{n}"));
        let errors = found(quote!(fn f(#(#nine: u8),*)));
        assert_eq!(errors, ["a task takes at most eight arguments: put some of them in a struct"]);
    }
}
