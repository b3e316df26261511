//! Writes the code that stands in place of `#[task] fn …`: the function, and its entry in the
//! registry.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{
    Attribute, Error, FnArg, Ident, LitStr, Pat, ReturnType, Signature, Token, Type, Visibility,
};

use crate::attribute::{self, Options};
use crate::batch::Shape;
use crate::options::Library;
use crate::signature;
use crate::streaming::Streaming;

/// The item as the user wrote it, then its registration, or every error in the attribute and
/// the function.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let options = attribute::parse(attribute);
    let function = Function::checked(item.clone());
    let rest = match (options, function) {
        (Ok(options), Ok(function)) if options.pure && function.streaming().is_some() => {
            let message = "a task that streams cannot be `pure`: a stream has one reader";
            Error::new_spanned(&function.signature.ident, message).to_compile_error()
        }
        (Ok(options), Ok(function)) => match shape(&options, &function) {
            Ok(shape) => registration(&options, &function, shape),
            Err(errors) => errors.iter().map(Error::to_compile_error).collect(),
        },
        (options, function) => {
            let errors = [options.err(), function.err()];
            errors.iter().flatten().flatten().map(Error::to_compile_error).collect()
        }
    };
    quote!(#item #rest)
}

/// The types of one item, where the function takes batches.
fn shape<'a>(options: &Options, function: &'a Function) -> Result<Option<Shape<'a>>, Vec<Error>> {
    options.batch.map(|_| Shape::of(&function.signature)).transpose()
}

/// What the registration needs of a function. The body stays unread: it is the compiler's
/// business.
pub(crate) struct Function {
    /// Its `#[cfg]`s: the registration exists when the function does.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) signature: Signature,
}

impl Function {
    fn checked(item: TokenStream) -> Result<Self, Vec<Error>> {
        let function = Self::read(item, "`#[task]` marks a function: a `fn` or an `async fn`");
        let function = function.map_err(|error| vec![error])?;
        let errors = signature::errors(&function.signature);
        if errors.is_empty() { Ok(function) } else { Err(errors) }
    }

    fn streaming(&self) -> Option<Streaming<'_>> {
        Streaming::of(&self.signature)
    }

    /// The parameters that a caller passes arguments for.
    fn arguments(&self) -> impl Iterator<Item = &FnArg> {
        let sender = matches!(self.streaming(), Some(Streaming::Sender { .. }));
        let inputs = &self.signature.inputs;
        inputs.iter().take(inputs.len() - usize::from(sender))
    }

    pub(crate) fn argument_types(&self) -> impl Iterator<Item = &Type> {
        self.arguments().filter_map(|input| match input {
            FnArg::Typed(argument) => Some(&*argument.ty),
            FnArg::Receiver(_) => None,
        })
    }

    /// Their names, for errors; empty where one is a pattern.
    fn argument_names(&self) -> impl Iterator<Item = String> {
        self.arguments().map(|input| match input {
            FnArg::Typed(argument) => match &*argument.pat {
                Pat::Ident(name) => name.ident.unraw().to_string(),
                _ => String::new(),
            },
            FnArg::Receiver(_) => String::new(),
        })
    }

    fn output_type(&self) -> TokenStream {
        match &self.signature.output {
            ReturnType::Type(_, ty)
                if !matches!(self.streaming(), Some(Streaming::Iterator { .. })) =>
            {
                ty.to_token_stream()
            }
            _ => quote_spanned!(self.signature.ident.span()=> ()),
        }
    }
}

impl Function {
    /// Reads a function; another item is an error that says so.
    pub(crate) fn read(item: TokenStream, else_say: &str) -> syn::Result<Self> {
        (|input: ParseStream| Self::parse(input, else_say)).parse2(item)
    }

    fn parse(input: ParseStream, else_say: &str) -> syn::Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        attributes.retain(|attribute| attribute.path().is_ident("cfg"));
        input.parse::<Visibility>()?;
        if !starts_a_function(input) {
            return Err(input.error(else_say));
        }
        let signature = input.parse()?;
        input.parse::<TokenStream>()?;
        Ok(Self { conditions: attributes, signature })
    }
}

/// Looks past the words that may precede `fn`; some of them start other items as well.
fn starts_a_function(input: ParseStream) -> bool {
    let ahead = input.fork();
    while !ahead.peek(Token![fn]) {
        let is_qualifier = ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(LitStr);
        if !is_qualifier || ahead.parse::<proc_macro2::TokenTree>().is_err() {
            return false;
        }
    }
    true
}

/// The function's entry in the registry, in a scope of its own.
///
/// The entry comes out of a function with a parameter for each type of the user's function,
/// said to be that type and to travel. The static fills the parameters in with the types as the
/// user wrote them, so an error about a type that cannot travel shows there. Inside, the bounds
/// hold; so no second error follows about the function as a whole.
fn registration(options: &Options, function: &Function, shape: Option<Shape<'_>>) -> TokenStream {
    let ident = &function.signature.ident;
    let (name, pure, library) = (name(options, ident), options.pure, &options.library);
    let steady = options.steady.then(|| quote!(.steady()));
    let version = match &options.version {
        Some(version) => version.to_token_stream(),
        None => quote!(1),
    };
    let pool = options.pool.as_ref().map(|pool| quote!(.pool(#pool)));
    let arguments: Vec<String> = function.argument_names().collect();
    let batch = &options.batch;
    let (types, traits) = match shape {
        Some(shape) => item_types_and_traits(shape, library),
        None => types_and_traits(function, library),
    };
    let parameters: Vec<Ident> = (0..types.len()).map(|n| format_ident!("__Type{n}")).collect();
    let task = match function.streaming() {
        Some(_) => quote!(#library::__private::streamed(#ident)),
        None if batch.is_some() => quote!(#library::__private::batched(#ident)),
        None => quote!(#ident),
    };
    let entry = spanning(&function.signature, &quote!(::<#(#types),*>));
    apart(
        "task",
        function,
        &quote! {
            const __OUTBOARD_NAME: &'static str = #name;
            const __OUTBOARD_VERSION: ::core::primitive::u32 = #version;

            const fn __outboard_entry<#(#parameters),*>() -> #library::__private::Entry
            where
                #(#parameters: #library::__private::Is<Type = #types>,)*
                #(<#parameters as #library::__private::Is>::Type: #traits,)*
            {
                #library::__private::Entry::new(__OUTBOARD_NAME, __OUTBOARD_VERSION, #pure, #task)
                    #steady
                    #pool
                    #batch
                    .arguments(&[#(#arguments),*])
            }

            #[#library::__private::linkme::distributed_slice(#library::__private::TASKS)]
            #[linkme(crate = #library::__private::linkme)]
            static __OUTBOARD_TASK: #library::__private::Entry = #entry;

            #[#library::__private::linkme::distributed_slice(#library::__private::NAMES)]
            #[linkme(crate = #library::__private::linkme)]
            static __OUTBOARD_TASK_NAME: (&'static str, ::core::primitive::u32) =
                (__OUTBOARD_NAME, __OUTBOARD_VERSION);
        },
    )
}

/// Items that belong to a function, beside it and in a scope of their own.
///
/// The scope is the value of an enum's variant, because the compiler refuses an enum in an `impl`
/// block as a whole, with one error that says where it may stand. A `const _` gives several
/// errors there, about its name and about the function.
pub(crate) fn apart(attribute: &str, function: &Function, items: &TokenStream) -> TokenStream {
    let conditions = &function.conditions;
    let name = format!("__outboard_{attribute}_{}", function.signature.ident.unraw());
    let name = Ident::new(&name, Span::call_site());
    quote! {
        #(#conditions)*
        #[allow(deprecated, dead_code, non_camel_case_types)]
        enum #name {
            Registered = {
                #items
                0
            },
        }
    }
}

/// A call of the function that makes the entry, as if it stood from the name of the user's
/// function to the end of the signature. Some compilers show an error at a type only if the
/// type lies within the call.
fn spanning(signature: &Signature, types: &TokenStream) -> TokenStream {
    let end = signature.to_token_stream().into_iter().last();
    let end = end.map_or_else(Span::call_site, |token| token.span());
    let function = quote_spanned!(signature.ident.span()=> __outboard_entry);
    let arguments = quote_spanned!(end=> ());
    quote!(#function #types #arguments)
}

fn name(options: &Options, ident: &Ident) -> TokenStream {
    match &options.name {
        Some(name) => name.to_token_stream(),
        None => {
            let last = ident.unraw().to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #last))
        }
    }
}

/// The types that travel, arguments first, and what each must be.
fn types_and_traits(
    function: &Function,
    library: &Library,
) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let argument = quote!(#library::__private::TaskArgument);
    let output = quote!(#library::__private::TaskOutput);
    let arguments = function.argument_types();
    let arguments = arguments.map(|ty| (ty.to_token_stream(), argument.clone()));
    let item = function.streaming().map(|streaming| streaming.item().to_token_stream());
    let outputs = item.into_iter().chain([function.output_type()]);
    arguments.chain(outputs.map(|ty| (ty, output.clone()))).unzip()
}

/// The same of a function that takes batches: the types of one item.
fn item_types_and_traits(
    Shape { item, output, error }: Shape<'_>,
    library: &Library,
) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let taken = (item.to_token_stream(), quote!(#library::__private::TaskArgument));
    let given = [output].into_iter().chain(error);
    let given = given.map(|ty| (ty.to_token_stream(), quote!(#library::__private::TaskOutput)));
    [taken].into_iter().chain(given).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens as a string without spaces, for they differ between compilers.
    fn dense(tokens: impl ToTokens) -> String {
        tokens.to_token_stream().to_string().replace(' ', "")
    }

    fn expanded(attribute: TokenStream, item: TokenStream) -> String {
        dense(expand(attribute, item))
    }

    #[test]
    fn function_comes_first_and_unchanged() {
        let function = quote!(
            #[doc = "Adds."]
            #[inline]
            pub(crate) async fn add(a: u8, (b, _): (u8, u8)) -> u8 {
                a + b
            }
        );
        let unchanged = dense(&function);
        assert!(expanded(quote!(), function.clone()).starts_with(&format!(
            "{unchanged}#[allow(deprecated,dead_code,non_camel_case_types)]enum__outboard_task_"
        )));
        let with_error = expanded(quote!(speed), function);
        assert!(with_error.starts_with(&format!("{unchanged}::core::compile_error!")));
    }

    #[test]
    fn name_is_the_path_unless_one_is_given() {
        let path = dense(quote!(::core::concat!(::core::module_path!(), "::", "fib")));
        assert!(
            expanded(
                quote!(),
                quote!(
                    fn fib() {}
                )
            )
            .contains(&path)
        );
        let given = expanded(
            quote!(name = "math::fib"),
            quote!(
                fn fib() {}
            ),
        );
        assert!(given.contains("=\"math::fib\";"));
        assert!(!given.contains(&path));
    }

    #[test]
    fn a_function_that_streams_has_an_entry_without_its_sender() {
        let function = quote!(
            fn count(to: u64, out: Sender<u8>) -> u16 {}
        );
        let expanded_ = expanded(quote!(), function.clone());
        assert!(expanded_.contains("streamed(count)"), "{expanded_}");
        assert!(expanded_.contains(".arguments(&[\"to\"])"), "{expanded_}");
        assert!(expanded_.contains("__outboard_entry::<u64,u8,u16>()"), "{expanded_}");
        let pure = expanded(quote!(pure), function);
        assert!(pure.contains("cannotbe`pure`"), "{pure}");
        let iterates = quote!(
            fn count(to: u64) -> impl Iterator<Item = u8> {}
        );
        let expanded_ = expanded(quote!(), iterates);
        assert!(expanded_.contains("__outboard_entry::<u64,u8,()>()"), "{expanded_}");
    }

    #[test]
    fn a_function_that_takes_batches_has_an_entry_of_one_item() {
        let function = quote!(
            fn classify(images: Vec<Bytes>) -> Result<Vec<u8>, String> {}
        );
        let batch = quote!(batch(max = 8, wait = "2ms"));
        let expanded_ = expanded(batch, function.clone());
        assert!(expanded_.contains("batched(classify)).batch(8u16,2000000u64)"), "{expanded_}");
        assert!(expanded_.contains("__outboard_entry::<Bytes,u8,String>()"), "{expanded_}");
        assert!(!expanded(quote!(), function).contains("batch"));
        let wrong = quote!(
            fn classify(image: Bytes) -> u8 {}
        );
        assert_eq!(expanded(quote!(batch), wrong).matches("compile_error!").count(), 2);
    }

    #[test]
    fn raw_identifier_gives_its_name_without_the_prefix() {
        let expansion = expanded(
            quote!(),
            quote!(
                fn r#match() {}
            ),
        );
        assert!(expansion.contains("\"::\",\"match\")"));
        assert!(expansion.contains(",false,r#match)"));
    }

    #[test]
    fn pure_reaches_the_entry() {
        let function = quote!(
            fn fib() {}
        );
        assert!(
            expanded(quote!(), function.clone())
                .contains("(__OUTBOARD_NAME,__OUTBOARD_VERSION,false,fib)")
        );
        assert!(
            expanded(quote!(pure), function)
                .contains("(__OUTBOARD_NAME,__OUTBOARD_VERSION,true,fib)")
        );
    }

    #[test]
    fn version_is_1_unless_one_is_given() {
        let function = quote!(
            fn f() {}
        );
        let version = |number: u32| format!("__OUTBOARD_VERSION:::core::primitive::u32={number};");
        assert!(expanded(quote!(), function.clone()).contains(&version(1)));
        assert!(expanded(quote!(version = 2), function).contains(&version(2)));
    }

    #[test]
    fn steady_reaches_the_entry() {
        let function = quote!(
            fn f() {}
        );
        assert!(!expanded(quote!(), function.clone()).contains("steady"));
        assert!(
            expanded(quote!(steady), function)
                .contains("(__OUTBOARD_NAME,__OUTBOARD_VERSION,false,f).steady()")
        );
    }

    #[test]
    fn arguments_have_the_names_that_they_have_in_the_function() {
        let function = quote!(
            fn f(mut order: Order, (a, b): (u8, u8), r#type: u8) {}
        );
        let names =
            "(__OUTBOARD_NAME,__OUTBOARD_VERSION,false,f).arguments(&[\"order\",\"\",\"type\"])";
        assert!(expanded(quote!(), function).contains(names));
    }

    #[test]
    fn library_is_where_the_option_says() {
        let function = quote!(
            fn f(a: u8) {}
        );
        let expansion = expanded(quote!(crate = "a::ob"), function);
        assert!(expansion.contains("distributed_slice(a::ob::__private::TASKS)"), "{expansion}");
        assert!(!expansion.contains("::outboard::"), "{expansion}");
    }

    #[test]
    fn registration_exists_when_the_function_does() {
        let function = quote!(
            #[inline]
            #[cfg(unix)]
            #[cfg(feature = "x")]
            fn f() {}
        );
        let conditional = "#[cfg(unix)]#[cfg(feature=\"x\")]#[allow(deprecated,dead_code,non_camel_case_types)]enum__outboard_task_";
        assert!(expanded(quote!(), function).contains(conditional));
    }

    #[test]
    fn types_are_checked_where_they_are_written() {
        let expansion = expanded(
            quote!(),
            quote!(
                fn f(a: u8, b: Vec<String>) -> bool {
                    true
                }
            ),
        );
        assert!(expansion.contains("__outboard_entry::<u8,Vec<String>,bool>()"));
        assert!(
            expanded(
                quote!(),
                quote!(
                    fn f() {}
                )
            )
            .contains("__outboard_entry::<()>()")
        );
    }

    #[test]
    fn errors_of_attribute_and_function_come_together() {
        let expansion = expanded(
            quote!(speed, pure = 1),
            quote!(
                unsafe fn f(a: &str) {}
            ),
        );
        assert_eq!(expansion.matches("compile_error!").count(), 4);
        assert!(!expansion.contains("__private"));
    }

    #[test]
    fn only_functions_are_tasks() {
        for item in [
            quote!(
                struct S;
            ),
            quote!(
                pub const N: u8 = 1;
            ),
            quote!(
                unsafe impl Send for S {}
            ),
            quote!(
                extern "C" {}
            ),
            quote!(
                mod m {}
            ),
        ] {
            let expansion = expanded(quote!(), item);
            assert!(expansion.contains("`#[task]`marksafunction"), "{expansion}");
        }
    }
}
