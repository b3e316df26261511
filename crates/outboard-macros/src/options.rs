//! Reads the options of an attribute, which stand in its parentheses.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Meta, Path, Token, parse_quote};

const CRATE_FORM: &str = "`crate` is the path of outboard: `crate = \"my::path::outboard\"`";

/// Reads the options one by one, or finds every mistake in them. `known` says which
/// there are, and `set` what one of them means.
pub(crate) fn read<O: Default>(
    tokens: TokenStream,
    known: &str,
    set: impl Fn(&mut O, &Meta) -> syn::Result<()>,
) -> Result<O, Vec<Error>> {
    let metas = Punctuated::<Meta, Token![,]>::parse_terminated
        .parse2(tokens)
        .map_err(|error| vec![Error::new(error.span(), format!("{error}: {known}"))])?;
    let mut options = O::default();
    let mut errors = Vec::new();
    let mut keys: Vec<String> = Vec::new();
    for meta in &metas {
        let key = meta.path().to_token_stream().to_string();
        let result = match keys.contains(&key) {
            true => Err(Error::new_spanned(meta.path(), format!("`{key}` is given twice"))),
            false => set(&mut options, meta),
        };
        errors.extend(result.err());
        keys.push(key);
    }
    if errors.is_empty() { Ok(options) } else { Err(errors) }
}

/// Where the library is, as the generated code names it.
#[derive(Clone)]
pub(crate) struct Library(Path);

impl Default for Library {
    fn default() -> Self {
        Self(parse_quote!(::outboard))
    }
}

impl Library {
    /// The path in `crate = "…"`.
    pub(crate) fn of(meta: &Meta) -> syn::Result<Self> {
        let text = string(meta, CRATE_FORM)?;
        let path = text.parse_with(Path::parse_mod_style);
        path.map(Self).map_err(|_| Error::new_spanned(text, CRATE_FORM))
    }
}

impl ToTokens for Library {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// The value of `key = value`; `form` is the error if there is none.
pub(crate) fn value<'a>(meta: &'a Meta, form: &str) -> syn::Result<&'a Expr> {
    match meta {
        Meta::NameValue(pair) => Ok(&pair.value),
        Meta::Path(_) | Meta::List(_) => Err(Error::new_spanned(meta, form)),
    }
}

/// The value of `key = "…"`.
pub(crate) fn string<'a>(meta: &'a Meta, form: &str) -> syn::Result<&'a LitStr> {
    match value(meta, form)? {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text),
        other => Err(Error::new_spanned(other, form)),
    }
}

const POOL_FORM: &str = "`pool` is a string literal: `pool = \"gpu\"`";

/// The pool in `pool = "…"`.
pub(crate) fn pool(meta: &Meta) -> syn::Result<LitStr> {
    let name = string(meta, POOL_FORM)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    match name.value() {
        text if text.is_empty() || !text.chars().all(fits) => {
            let message = "a pool's name has letters (A-Z, a-z), digits, `_` and `-`";
            Err(Error::new_spanned(name, message))
        }
        _ => Ok(name.clone()),
    }
}

/// Checks that a key stands alone, without a value.
pub(crate) fn word(meta: &Meta, form: &str) -> syn::Result<()> {
    match meta {
        Meta::Path(_) => Ok(()),
        Meta::List(_) | Meta::NameValue(_) => Err(Error::new_spanned(meta, form)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn library(tokens: TokenStream) -> Result<String, String> {
        let meta: Meta = syn::parse2(tokens).unwrap();
        let library = Library::of(&meta).map_err(|error| error.to_string())?;
        Ok(library.to_token_stream().to_string().replace(' ', ""))
    }

    #[test]
    fn the_library_is_where_the_path_says() {
        for path in ["ob", "::ob", "crate::deps::outboard", "self::outboard", "super::super::ob"] {
            assert_eq!(library(quote!(crate = #path)), Ok(path.to_owned()));
        }
    }

    #[test]
    fn a_pool_is_named_by_letters() {
        let read = |tokens| pool(&syn::parse2(tokens).unwrap()).map_err(|error| error.to_string());
        assert_eq!(read(quote!(pool = "gpu-0_A")).unwrap().value(), "gpu-0_A");
        for tokens in [quote!(pool), quote!(pool = gpu), quote!(pool("gpu"))] {
            assert_eq!(read(tokens).unwrap_err(), POOL_FORM);
        }
        for tokens in [quote!(pool = ""), quote!(pool = "a.b"), quote!(pool = "a b")] {
            assert!(read(tokens).unwrap_err().contains("has letters"));
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for tokens in [
            quote!(crate),
            quote!(crate("ob")),
            quote!(crate = ob),
            quote!(crate = ""),
            quote!(crate = "a b"),
            quote!(crate = "Vec<u8>"),
        ] {
            assert_eq!(library(tokens), Err(CRATE_FORM.to_owned()));
        }
    }
}
