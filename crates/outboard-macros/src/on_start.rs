//! Writes the code that stands in place of `#[on_start] fn …`: the function, and its entry in
//! the list of what workers run at their start.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{
    Error, Expr, ExprLit, ExprUnary, FnArg, Lit, LitStr, Meta, ReturnType, Safety, Signature, UnOp,
};

use crate::expansion::{Function, apart};
use crate::options::{self, Library};

const KNOWN_KEYS: &str = "`#[on_start]` knows `order = N`, `pool = \"…\"` and `crate = \"…\"`";
const ORDER_FORM: &str = "`order` is a whole number: `order = -1`; 0 if left out";

/// The item as the user wrote it, then its registration, or every error in the attribute and
/// the function.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let options = options::read(attribute, KNOWN_KEYS, Options::set);
    let rest = match (options, checked(item.clone())) {
        (Ok(options), Ok(function)) => registration(&options, &function),
        (options, function) => {
            let errors = [options.err(), function.err()];
            errors.iter().flatten().flatten().map(Error::to_compile_error).collect()
        }
    };
    quote!(#item #rest)
}

fn checked(item: TokenStream) -> Result<Function, Vec<Error>> {
    let function = Function::read(item, "`#[on_start]` marks a function: a `fn`");
    let function = function.map_err(|error| vec![error])?;
    let errors = errors(&function.signature);
    if errors.is_empty() { Ok(function) } else { Err(errors) }
}

#[derive(Default)]
struct Options {
    /// Those with a lower one run before.
    order: i32,
    /// The pool whose workers it is for.
    pool: Option<LitStr>,
    /// Where the library is.
    library: Library,
}

impl Options {
    fn set(&mut self, meta: &Meta) -> syn::Result<()> {
        if meta.path().is_ident("order") {
            self.order = whole_number(options::value(meta, ORDER_FORM)?)?;
        } else if meta.path().is_ident("pool") {
            self.pool = Some(options::pool(meta)?);
        } else if meta.path().is_ident("crate") {
            self.library = Library::of(meta)?;
        } else {
            return Err(Error::new_spanned(meta.path(), KNOWN_KEYS));
        }
        Ok(())
    }
}

/// A number as an expression has it: its sign is not part of the literal.
fn whole_number(value: &Expr) -> syn::Result<i32> {
    let (sign, digits) = match value {
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => (-1, &**expr),
        _ => (1, value),
    };
    let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = digits else {
        return Err(Error::new_spanned(value, ORDER_FORM));
    };
    let fits = number.base10_parse::<i64>().ok().and_then(|n| i32::try_from(sign * n).ok());
    fits.ok_or_else(|| Error::new_spanned(value, "the order is a number of 32 bits"))
}

/// Every reason why the function cannot run on start; none if it can.
fn errors(signature: &Signature) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Safety::Unsafe(token) = &signature.safety {
        let message =
            "what runs on start cannot be `unsafe`: wrap the unsafe call in a safe function";
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
    if let Some(argument) = signature.inputs.iter().nth(1) {
        let message = "what runs on start takes one argument at most: what `start_with` gave";
        errors.push(Error::new_spanned(argument, message));
    }
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        let message = "what runs on start cannot take `self`";
        errors.push(Error::new_spanned(receiver, message));
    }
    errors
}

/// The function's entry in the list, in a scope of its own. An error about what the function
/// returns shows at its type.
fn registration(options: &Options, function: &Function) -> TokenStream {
    let Options { order, pool, library } = options;
    let pool = pool.as_ref().map(|pool| quote!(.pool(#pool)));
    let ident = &function.signature.ident;
    let last = ident.unraw().to_string();
    let output = match &function.signature.output {
        ReturnType::Type(_, output) => output.to_token_stream(),
        ReturnType::Default => quote_spanned!(ident.span()=> ()),
    };
    let argument = function.argument_types().next();
    let call = match argument {
        Some(_) => quote!(#ident(config)),
        None => quote!(#ident()),
    };
    let call = match function.signature.asyncness {
        Some(_) => quote!(#library::__private::block_on(#call)),
        None => call,
    };
    let (taken, value, constructor) = match argument {
        Some(argument) => (
            quote!(given: &#library::__private::Config),
            quote!(let config: #argument = given.get()?;),
            quote!(configured),
        ),
        None => (quote!(), quote!(), quote!(new)),
    };
    apart(
        "on_start",
        function,
        &quote! {
            const __OUTBOARD_NAME: &'static str =
                ::core::concat!(::core::module_path!(), "::", #last);

            fn __outboard_start(#taken) -> ::core::result::Result<(), ::std::string::String> {
                #value
                <#output as #library::__private::StartOutput>::into_result(#call)
            }

            #[#library::__private::linkme::distributed_slice(#library::__private::STARTS)]
            #[linkme(crate = #library::__private::linkme)]
            static __OUTBOARD_START: #library::__private::Start =
                #library::__private::Start::#constructor(__OUTBOARD_NAME, #order, __outboard_start)#pool;

            #[#library::__private::linkme::distributed_slice(
                #library::__private::START_NAMES
            )]
            #[linkme(crate = #library::__private::linkme)]
            static __OUTBOARD_START_NAME: &'static str = __OUTBOARD_NAME;
        },
    )
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
        let start = format!(
            "{}#[allow(deprecated,dead_code,non_camel_case_types)]enum__outboard_on_start_",
            dense(&function)
        );
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
    fn order_is_a_whole_number() {
        let errors = |tokens| {
            let options = options::read(tokens, KNOWN_KEYS, Options::set);
            let errors = options.err().unwrap_or_default();
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for tokens in [quote!(order), quote!(order = "1"), quote!(order = a), quote!(order(1))] {
            assert_eq!(errors(tokens), [ORDER_FORM]);
        }
        assert_eq!(errors(quote!(last)), [KNOWN_KEYS]);
        assert_eq!(errors(quote!(order = 1, order = 2)), ["`order` is given twice"]);
        assert!(errors(quote!("order"))[0].ends_with(KNOWN_KEYS));
        for large in [quote!(order = 3_000_000_000), quote!(order = -3_000_000_000)] {
            assert!(errors(large)[0].contains("32 bits"));
        }
    }

    #[test]
    fn library_is_where_the_option_says() {
        let function = quote!(
            fn load() {}
        );
        let expansion = expanded(quote!(crate = "ob"), function);
        assert!(expansion.contains("distributed_slice(ob::__private::STARTS)"), "{expansion}");
        assert!(!expansion.contains("::outboard::"), "{expansion}");
    }

    #[test]
    fn every_reason_is_reported_at_once() {
        let signature = quote!(unsafe extern "C" fn load<T>(a: u8, b: u8) -> T);
        let errors = errors(&syn::parse2(signature).unwrap());
        let expected = ["`unsafe`", "`extern`", "generic", "one argument"];
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
