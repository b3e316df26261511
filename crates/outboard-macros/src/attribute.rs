//! Reads what stands in the parentheses of `#[task(…)]`.

use proc_macro2::TokenStream;
use syn::{Error, Expr, ExprLit, Lit, LitInt, LitStr, Meta};

use crate::batch::Batch;
use crate::options::{self, Library};

const KNOWN_KEYS: &str = "`#[task]` knows `pure`, `steady`, `name = \"…\"`, `version = 2`, `pool = \"…\"`, `batch(…)` and `crate = \"…\"`";
const PURE_FORM: &str = "`pure` stands alone: `#[task(pure)]`";
const STEADY_FORM: &str = "`steady` stands alone: `#[task(steady)]`";
const VERSION_FORM: &str = "`version` is a whole number from 1 on: `version = 2`";
const NAME_FORM: &str = "`name` is a string literal: `name = \"images::resize\"`";

/// What the user asked for beside registering the function.
#[derive(Default)]
pub(crate) struct Options {
    /// Identical calls in flight may share one execution.
    pub(crate) pure: bool,
    /// Runs take about as long, whatever the arguments.
    pub(crate) steady: bool,
    /// The name to register under, in place of the function's path.
    pub(crate) name: Option<LitStr>,
    /// The version to register under, if not the first.
    pub(crate) version: Option<LitInt>,
    /// The pool of its tasks.
    pub(crate) pool: Option<LitStr>,
    /// What its batches are, if it takes any.
    pub(crate) batch: Option<Batch>,
    /// Where the library is.
    pub(crate) library: Library,
}

/// Reads the options, or finds every mistake in them.
pub(crate) fn parse(tokens: TokenStream) -> Result<Options, Vec<Error>> {
    options::read(tokens, KNOWN_KEYS, Options::set)
}

impl Options {
    fn set(&mut self, meta: &Meta) -> syn::Result<()> {
        if meta.path().is_ident("pure") {
            self.pure = true;
            options::word(meta, PURE_FORM)
        } else if meta.path().is_ident("steady") {
            self.steady = true;
            options::word(meta, STEADY_FORM)
        } else if meta.path().is_ident("name") {
            let name = options::string(meta, NAME_FORM)?;
            self.name = Some(name.clone());
            check_name(name)
        } else if meta.path().is_ident("version") {
            self.version = Some(version(meta)?);
            Ok(())
        } else if meta.path().is_ident("pool") {
            self.pool = Some(options::pool(meta)?);
            Ok(())
        } else if meta.path().is_ident("batch") {
            self.batch = Some(Batch::of(meta)?);
            Ok(())
        } else if meta.path().is_ident("crate") {
            self.library = Library::of(meta)?;
            Ok(())
        } else {
            Err(Error::new_spanned(meta.path(), KNOWN_KEYS))
        }
    }
}

fn version(meta: &Meta) -> syn::Result<LitInt> {
    let value = options::value(meta, VERSION_FORM)?;
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. })
            if number.base10_parse::<u32>().is_ok_and(|number| number > 0) =>
        {
            Ok(number.clone())
        }
        other => Err(Error::new_spanned(other, VERSION_FORM)),
    }
}

fn check_name(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    if text.is_empty() {
        return Err(Error::new_spanned(name, "a task's name cannot be empty"));
    }
    match text.chars().find(|c| !is_name_character(*c)) {
        None => Ok(()),
        Some(stranger) => Err(Error::new_spanned(
            name,
            format!(
                "a task's name has letters (A-Z, a-z), digits and `_ . : -`, but not {stranger:?}"
            ),
        )),
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn errors(tokens: TokenStream) -> Vec<String> {
        let errors = parse(tokens).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_is_asked_for_by_default() {
        let options = parse(quote!()).unwrap();
        assert!(!options.pure && !options.steady);
        assert!(options.name.is_none());
    }

    #[test]
    fn pure_and_name_come_in_any_order() {
        for tokens in [quote!(pure, name = "a::b"), quote!(name = "a::b", pure,)] {
            let options = parse(tokens).unwrap();
            assert!(options.pure);
            assert_eq!(options.name.unwrap().value(), "a::b");
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let found = errors(quote!(speed = 3, pure, pure, name = "", name = "b", retries));
        let expected = [
            KNOWN_KEYS,
            "`pure` is given twice",
            "a task's name cannot be empty",
            "`name` is given twice",
            KNOWN_KEYS,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn name_is_a_string_literal() {
        for tokens in [
            quote!(name),
            quote!(name("a")),
            quote!(name = a),
            quote!(name = 3),
            quote!(name = concat!("a", "b")),
        ] {
            assert_eq!(errors(tokens), [NAME_FORM]);
        }
    }

    #[test]
    fn version_is_a_number_from_1_on() {
        let options = parse(quote!(version = 2, pure)).unwrap();
        assert_eq!(options.version.unwrap().base10_digits(), "2");
        for tokens in [
            quote!(version),
            quote!(version(2)),
            quote!(version = 0),
            quote!(version = -1),
            quote!(version = "2"),
            quote!(version = 4294967296),
        ] {
            assert_eq!(errors(tokens), [VERSION_FORM]);
        }
    }

    #[test]
    fn steady_is_a_word_of_its_own() {
        let options = parse(quote!(steady, pure)).unwrap();
        assert!(options.steady && options.pure);
        assert_eq!(errors(quote!(steady = true)), [STEADY_FORM]);
        assert_eq!(errors(quote!(steady, steady)), ["`steady` is given twice"]);
    }

    #[test]
    fn pure_takes_no_value() {
        for tokens in [quote!(pure = true), quote!(pure(true))] {
            assert_eq!(errors(tokens), [PURE_FORM]);
        }
    }

    #[test]
    fn name_has_only_portable_characters() {
        assert!(parse(quote!(name = "Shop-2.images::re_size")).is_ok());
        for (name, stranger) in [("a b", "' '"), ("größe", "'ö'"), ("a/b", "'/'"), ("a\n", "'\\n'")]
        {
            let found = errors(quote!(name = #name));
            assert_eq!(found.len(), 1);
            assert!(found[0].ends_with(&format!("but not {stranger}")), "{}", found[0]);
        }
    }

    #[test]
    fn tokens_that_are_no_list_of_keys_are_an_error() {
        for tokens in [quote!("images::resize"), quote!(name =), quote!(pure name = "a")] {
            let found = errors(tokens);
            assert_eq!(found.len(), 1);
            assert!(found[0].ends_with(KNOWN_KEYS), "{}", found[0]);
        }
    }
}
