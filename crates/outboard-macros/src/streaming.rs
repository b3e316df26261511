//! Tells which functions send items while they run, and of which type.

use syn::{
    FnArg, GenericArgument, PathArguments, PathSegment, ReturnType, Signature, Type, TypeParamBound,
};

/// How a function sends its items.
#[derive(Clone, Copy)]
pub(crate) enum Streaming<'a> {
    /// Through its last parameter.
    Sender { item: &'a Type },
    /// It returns an iterator of them.
    Iterator { item: &'a Type },
}

impl<'a> Streaming<'a> {
    /// Whether the function streams, as far as its spelling tells.
    pub(crate) fn of(signature: &'a Signature) -> Option<Self> {
        let last = signature.inputs.iter().next_back();
        let sender = last.and_then(|last| match last {
            FnArg::Typed(argument) => sent_through(&argument.ty),
            FnArg::Receiver(_) => None,
        });
        match &signature.output {
            _ if sender.is_some() => sender.map(|item| Self::Sender { item }),
            ReturnType::Type(_, output) => iterated(output).map(|item| Self::Iterator { item }),
            ReturnType::Default => None,
        }
    }

    /// The type of its items.
    pub(crate) fn item(self) -> &'a Type {
        match self {
            Self::Sender { item } | Self::Iterator { item } => item,
        }
    }
}

/// `T` of `Sender<T>`.
fn sent_through(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Sender")?;
    let mut types = arguments(last).filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    let item = types.next()?;
    types.next().is_none().then_some(item)
}

/// `T` of `impl Iterator<Item = T>`.
fn iterated(ty: &Type) -> Option<&Type> {
    let Type::ImplTrait(opaque) = ty else { return None };
    let bounds = opaque.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    bounds.filter(|segment| segment.ident == "Iterator").find_map(|iterator| {
        arguments(iterator).find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        })
    })
}

fn arguments(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments.args.iter()),
        _ => None,
    };
    arguments.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;
    use quote::{ToTokens, quote};

    use super::*;

    fn item(function: TokenStream) -> Option<String> {
        let signature: Signature = syn::parse2(function).unwrap();
        let item = Streaming::of(&signature).map(Streaming::item);
        item.map(|item| item.to_token_stream().to_string().replace(' ', ""))
    }

    #[test]
    fn a_function_streams_by_its_last_parameter_or_by_what_it_returns() {
        for (function, expected) in [
            (quote!(fn f(out: Sender<u8>)), Some("u8")),
            (quote!(async fn f(a: u8, out: outboard::Sender<Vec<u8>>) -> u8), Some("Vec<u8>")),
            (quote!(fn f(a: u8) -> impl Iterator<Item = u64> + use<>), Some("u64")),
            (quote!(fn f(a: u8) -> impl std::iter::Iterator<Item = (u8, u8)>), Some("(u8,u8)")),
            (quote!(fn f(out: Sender<u8>, a: u8)), None),
            (quote!(fn f(out: Sender)), None),
            (quote!(fn f() -> impl Iterator), None),
            (quote!(fn f() -> std::ops::Range<u64>), None),
            (quote!(fn f()), None),
        ] {
            assert_eq!(item(function.clone()).as_deref(), expected, "{function}");
        }
    }
}
