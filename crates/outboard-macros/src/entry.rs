//! Writes the code that stands in place of `#[main] async fn main`: a `main` that calls `init`, and
//! runs the body on a runtime.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::{
    AttrStyle, Attribute, Error, Expr, ExprLit, Lit, LitInt, Meta, ReturnType, Signature,
    Visibility, braced, token,
};

use crate::options::{self, Library};

const KNOWN_KEYS: &str = "`#[main]` knows `flavor`, `worker_threads` and `crate`; for another \
                          runtime, write a plain `fn main` that calls `outboard::init()` first";
const FLAVOR_FORM: &str = "`flavor` is `\"multi_thread\"`, the default, or `\"current_thread\"`";
const THREADS_FORM: &str = "`worker_threads` is a number above 0: `worker_threads = 4`";

/// The function as it was marked, with the runtime around its body. After an error, as much of
/// it as prevents that others follow.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let options = options::read(attribute, KNOWN_KEYS, Options::set);
    let options = options.and_then(Options::consistent);
    let function = Function::checked(item.clone());
    let written = match (&options, &function) {
        (Ok(options), Ok(function)) => function.written(options),
        (Err(_), Ok(function)) => function.written(&Options::default()),
        (_, Err((_, instead))) => instead.clone(),
    };
    let errors = [options.err(), function.err().map(|(errors, _)| errors)];
    let errors = errors.iter().flatten().flatten().map(Error::to_compile_error);
    quote!(#written #(#errors)*)
}

/// The runtime that the user asked for.
#[derive(Default)]
struct Options {
    current_thread: bool,
    worker_threads: Option<LitInt>,
    /// Where the library is.
    library: Library,
}

impl Options {
    fn set(&mut self, meta: &Meta) -> syn::Result<()> {
        if meta.path().is_ident("flavor") {
            let flavor = options::string(meta, FLAVOR_FORM)?;
            self.current_thread = match flavor.value().as_str() {
                "multi_thread" => false,
                "current_thread" => true,
                _ => return Err(Error::new_spanned(flavor, FLAVOR_FORM)),
            };
        } else if meta.path().is_ident("worker_threads") {
            self.worker_threads = Some(threads(options::value(meta, THREADS_FORM)?)?);
        } else if meta.path().is_ident("crate") {
            self.library = Library::of(meta)?;
        } else {
            return Err(Error::new_spanned(meta.path(), KNOWN_KEYS));
        }
        Ok(())
    }

    fn consistent(self) -> Result<Self, Vec<Error>> {
        match &self.worker_threads {
            Some(threads) if self.current_thread => {
                let message = "the flavor `current_thread` has no worker threads: leave one of \
                               the two out";
                Err(vec![Error::new_spanned(threads, message)])
            }
            _ => Ok(self),
        }
    }
}

fn threads(value: &Expr) -> syn::Result<LitInt> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(threads), .. })
            if threads.base10_parse::<usize>().is_ok_and(|threads| threads > 0) =>
        {
            Ok(threads.clone())
        }
        _ => Err(Error::new_spanned(value, THREADS_FORM)),
    }
}

/// An `async fn`, whose body stays unread.
struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    braces: token::Brace,
    statements: TokenStream,
}

impl Function {
    /// The function, or why it cannot be run, and what then stands in its place.
    fn checked(item: TokenStream) -> Result<Self, (Vec<Error>, TokenStream)> {
        let function: Self = match syn::parse2(item.clone()) {
            Ok(function) => function,
            Err(error) => {
                let message = format!("{error}: `#[main]` marks a function: `async fn main()`");
                return Err((vec![Error::new(error.span(), message)], item));
            }
        };
        let errors = errors(&function.signature);
        if errors.is_empty() {
            return Ok(function);
        }
        // Inside of another one it is no `main`, of which the compiler has more to say.
        let (is_main, ident) = (function.is_main(), &function.signature.ident);
        let instead = if is_main { quote!(fn #ident() { #item }) } else { item };
        Err((errors, instead))
    }

    fn is_main(&self) -> bool {
        self.signature.ident == "main"
    }

    fn written(&self, options: &Options) -> TokenStream {
        let Self { attributes, visibility, .. } = self;
        let (library, runtime, body) = (&options.library, options.runtime(), self.body());
        let signature = Signature { asyncness: None, ..self.signature.clone() };
        quote! {
            #(#attributes)*
            #visibility #signature {
                #library::init();
                #library::__private::runtime::#runtime.block_on(#body)
            }
        }
    }

    /// The body as a future. It spans the function as the user wrote it, and so do errors that
    /// are about all of it.
    fn body(&self) -> TokenStream {
        let keyword = self.signature.asyncness.map_or_else(Span::call_site, |it| it.span);
        let keyword = quote_spanned!(keyword=> async);
        let braced = |tokens: &TokenStream| {
            let mut braced = TokenStream::new();
            self.braces.surround(&mut braced, |inside| tokens.to_tokens(inside));
            braced
        };
        let body = braced(&self.statements);
        match self.output() {
            Some(output) => {
                let block = braced(&quote!(#output #body));
                quote!(#keyword #block)
            }
            None => quote!(#keyword #body),
        }
    }

    /// Tells the compiler what the body returns, as a function's signature does. An error then
    /// shows in the body, and `?` and `into` know their types.
    fn output(&self) -> Option<TokenStream> {
        let output = match &self.signature.output {
            ReturnType::Default => quote_spanned!(self.signature.ident.span()=> ()),
            ReturnType::Type(_, output) => output.to_token_stream(),
        };
        // These cannot be the type of a variable.
        let cannot = |tree: TokenTree| match tree {
            TokenTree::Ident(ident) => ident == "impl",
            TokenTree::Punct(punct) => punct.as_char() == '!',
            TokenTree::Group(_) | TokenTree::Literal(_) => false,
        };
        if output.clone().into_iter().any(cannot) {
            return None;
        }
        let span = output.clone().into_iter().next().map_or_else(Span::call_site, |it| it.span());
        let returned = quote_spanned!(span=> return __outboard_output);
        Some(quote! {
            #[allow(unreachable_code, unknown_lints, clippy::all, clippy::pedantic)]
            if false {
                let __outboard_output: #output = loop {};
                #returned;
            }
        })
    }
}

impl Options {
    /// The function of the library that builds the runtime, called.
    fn runtime(&self) -> TokenStream {
        match &self.worker_threads {
            _ if self.current_thread => quote!(current_thread()),
            Some(threads) => quote!(multi_thread(::core::option::Option::Some(#threads))),
            None => quote!(multi_thread(::core::option::Option::None)),
        }
    }
}

impl Parse for Function {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        let (visibility, signature) = (input.parse()?, input.parse()?);
        let content;
        let braces = braced!(content in input);
        // A block may have none inside, so they stand before the function, which is the same.
        let inner = content.call(Attribute::parse_inner)?.into_iter();
        attributes.extend(inner.map(|it| Attribute { style: AttrStyle::Outer, ..it }));
        Ok(Self { attributes, visibility, signature, braces, statements: content.parse()? })
    }
}

/// Every reason why the function cannot be run; none if it can.
fn errors(signature: &Signature) -> Vec<Error> {
    let mut errors = Vec::new();
    if signature.asyncness.is_none() {
        let message = "`#[main]` marks an `async fn`; a `main` that is not `async` calls \
                       `outboard::init()` first instead";
        errors.push(Error::new_spanned(signature.fn_token, message));
    }
    if signature.ident != "main" {
        return errors;
    }
    for parameter in &signature.generics.params {
        errors.push(Error::new_spanned(parameter, "`main` cannot be generic"));
    }
    if let Some(argument) = signature.inputs.first() {
        let message = "`main` takes no arguments: read them from `std::env::args()`";
        errors.push(Error::new_spanned(argument, message));
    }
    errors
}
