//! What was written: a function, and the options in `#[handler(…)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Signature, Visibility};

use crate::errors::Errors;
use crate::options::{Known, Options, known};

const KNOWN: &[Known] = &[
    known("event", "event = \"OrderPlaced.v1\""),
    known("retry", "retry(attempts = 5, backoff = \"100ms..10s\")"),
    known("dedup", "dedup(ttl = \"7d\")"),
    known("inbox", "inbox"),
    known("timeout", "timeout = \"5s\""),
    known("concurrency", "concurrency = 16"),
    known("order", "order = key"),
    known("group", "group = \"billing\""),
    known("name", "name = \"reserve_stock\""),
    known("dlq", "dlq = \"orders.failed\""),
    known("parallel", "parallel"),
];

pub(super) const RETRY: &[Known] = &[
    known("attempts", "attempts = 5"),
    known("backoff", "backoff = \"100ms..10s\""),
    known("jitter", "jitter = full"),
];

pub(super) const DEDUP: &[Known] = &[known("ttl", "ttl = \"7d\""), known("key", "key = order_id")];

pub(super) fn options(tokens: TokenStream, errors: &mut Errors) -> Options {
    Options::parse("`#[handler(…)]`", tokens, KNOWN, errors)
}

/// The head of the function that the attribute stands on. Its body is nobody's
/// business here.
pub(super) struct Function {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) signature: Signature,
}

impl Function {
    pub(super) fn parse(item: TokenStream, errors: &mut Errors) -> Option<Self> {
        match syn::parse2(item.clone()) {
            Ok(function) => Some(function),
            Err(_) => {
                errors.at_span(
                    keyword(item),
                    "`#[handler]` stands on a function: \
                     `async fn reserve_stock(order: OrderPlaced) { … }`",
                );
                None
            }
        }
    }

    pub(super) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"))
    }
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let function = Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
        };
        input.parse::<TokenStream>()?;
        Ok(function)
    }
}

/// The first token after attributes and visibility: `struct`, say.
fn keyword(item: TokenStream) -> Span {
    let after = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        let span = input.span();
        input.parse::<TokenStream>()?;
        Ok(span)
    };
    after.parse2(item).unwrap_or_else(|_| Span::call_site())
}
