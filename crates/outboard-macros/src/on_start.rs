//! Writes the code that stands in place of `#[on_start] fn …`: the function, and its entry in
//! the list of what workers run at their start.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::{Error, Ident, LitInt, ReturnType, Safety, Signature, Token};

use crate::expansion::Function;

const KNOWN_KEYS: &str = "`#[on_start]` knows `order = N`, a whole number; 0 if left out";

/// The item as the user wrote it, then its registration, or every error in the attribute and
/// the function.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let order = order.parse2(attribute);
    let function = Function::read(item.clone(), "`#[on_start]` marks a function: a `fn`");
    let function = function.and_then(|function| {
        let errors = errors(&function.signature);
        errors.into_iter().reduce(combined).map_or(Ok(function), Err)
    });
    let rest = match (order, function) {
        (Ok(order), Ok(function)) => registration(order, &function),
        (order, function) => {
            let errors = [order.err(), function.err()];
            errors.iter().flatten().map(Error::to_compile_error).collect()
        }
    };
    quote!(#item #rest)
}

fn combined(mut all: Error, one: Error) -> Error {
    all.combine(one);
    all
}

/// Reads what stands in the parentheses: nothing, or `order = N`.
fn order(input: syn::parse::ParseStream) -> syn::Result<i32> {
    if input.is_empty() {
        return Ok(0);
    }
    let wrong = |error: Error| Error::new(error.span(), KNOWN_KEYS);
    let key: Ident = input.parse().map_err(wrong)?;
    if key != "order" {
        return Err(Error::new_spanned(key, KNOWN_KEYS));
    }
    input.parse::<Token![=]>().map_err(wrong)?;
    let minus = input.parse::<Option<Token![-]>>()?;
    let number: LitInt = input.parse().map_err(wrong)?;
    input.parse::<Option<Token![,]>>()?;
    if !input.is_empty() {
        return Err(input.error(KNOWN_KEYS));
    }
    let sign = if minus.is_some() { -1 } else { 1 };
    let fits = number.base10_parse::<i64>().ok().and_then(|n| i32::try_from(sign * n).ok());
    fits.ok_or_else(|| Error::new_spanned(number, "the order is a number of 32 bits"))
}

/// Every reason why the function cannot run on start; none if it can.
fn errors(signature: &Signature) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Safety::Unsafe(token) = &signature.safety {
        let message =
            "what runs on start cannot be `unsafe`: wrap the unsafe call in a safe function";
        errors.push(Error::new_spanned(token, message));
    }
    if let Some(token) = &signature.asyncness {
        let message = "what runs on start is not `async`, for no runtime is there yet: \
                       build one inside, and block on it";
        errors.push(Error::new_spanned(token, message));
    }
    if let Some(abi) = &signature.abi {
        let message = "what runs on start is a plain Rust function: remove `extern`";
        errors.push(Error::new_spanned(abi, message));
    }
    for parameter in &signature.generics.params {
        let message = "what runs on start cannot be generic, for nobody names its types";
        errors.push(Error::new_spanned(parameter, message));
    }
    if let Some(argument) = signature.inputs.first() {
        let message = "what runs on start takes no arguments: what it needs to know, it reads \
                       from the environment or from a file";
        errors.push(Error::new_spanned(argument, message));
    }
    errors
}

/// The function's entry in the list, in a scope of its own. An error about what the function
/// returns shows at its type.
fn registration(order: i32, function: &Function) -> TokenStream {
    let (conditions, ident) = (&function.conditions, &function.signature.ident);
    let last = ident.unraw().to_string();
    let output = match &function.signature.output {
        ReturnType::Type(_, output) => output.to_token_stream(),
        ReturnType::Default => quote_spanned!(ident.span()=> ()),
    };
    quote! {
        #(#conditions)*
        #[allow(deprecated)]
        const _: () = {
            const __OUTBOARD_NAME: &'static str =
                ::core::concat!(::core::module_path!(), "::", #last);

            fn __outboard_start() -> ::core::result::Result<(), ::std::string::String> {
                <#output as ::outboard::__private::StartOutput>::into_result(#ident())
            }

            #[::outboard::__private::linkme::distributed_slice(::outboard::__private::STARTS)]
            #[linkme(crate = ::outboard::__private::linkme)]
            static __OUTBOARD_START: ::outboard::__private::Start =
                ::outboard::__private::Start::new(__OUTBOARD_NAME, #order, __outboard_start);

            #[::outboard::__private::linkme::distributed_slice(
                ::outboard::__private::START_NAMES
            )]
            #[linkme(crate = ::outboard::__private::linkme)]
            static __OUTBOARD_START_NAME: &'static str = __OUTBOARD_NAME;
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(tokens: impl ToTokens) -> String {
        tokens.to_token_stream().to_string().replace(' ', "")
    }

    fn expanded(attribute: TokenStream, item: TokenStream) -> String {
        dense(expand(attribute, item))
    }

    #[test]
    fn function_comes_first_and_unchanged() {
        let function = quote!(
            /// Loads.
            pub(crate) fn load() -> Result<(), String> {
                Ok(())
            }
        );
        let start = format!("{}#[allow(deprecated)]const_:()=", dense(&function));
        assert!(expanded(quote!(), function.clone()).starts_with(&start));
        let with_error = format!("{}::core::compile_error!", dense(&function));
        assert!(expanded(quote!(first), function).starts_with(&with_error));
    }

    #[test]
    fn order_reaches_the_entry() {
        let function = quote!(
            fn load() {}
        );
        let entry = |order: &str| format!("(__OUTBOARD_NAME,{order},__outboard_start)");
        assert!(expanded(quote!(), function.clone()).contains(&entry("0i32")));
        assert!(expanded(quote!(order = 7,), function.clone()).contains(&entry("7i32")));
        assert!(expanded(quote!(order = -7), function).contains(&entry("-7i32")));
    }

    #[test]
    fn order_is_a_whole_number_and_all_there_is() {
        for tokens in [
            quote!(order),
            quote!(order = "1"),
            quote!(order = a),
            quote!(last),
            quote!(order = 1, order = 2),
            quote!("order"),
        ] {
            assert_eq!(order.parse2(tokens).unwrap_err().to_string(), KNOWN_KEYS);
        }
        let large = order.parse2(quote!(order = 3_000_000_000)).unwrap_err();
        assert!(large.to_string().contains("32 bits"));
    }

    #[test]
    fn every_reason_is_reported_at_once() {
        let signature = quote!(async unsafe extern "C" fn load<T>(a: u8) -> T);
        let errors = errors(&syn::parse2(signature).unwrap());
        let expected = ["`unsafe`", "`async`", "`extern`", "generic", "no arguments"];
        assert_eq!(errors.len(), expected.len());
        for (error, part) in errors.iter().zip(expected) {
            assert!(error.to_string().contains(part), "{error} does not say {part}");
        }
    }

    #[test]
    fn raw_identifier_gives_its_name_without_the_prefix() {
        let function = quote!(
            fn r#match() {}
        );
        let expansion = expanded(quote!(), function);
        assert!(expansion.contains("\"::\",\"match\")") && expansion.contains("(r#match())"));
    }
}
