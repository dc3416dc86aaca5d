//! What was written: an event with its options, or a set.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Data, DataEnum, DeriveInput, Meta};

use crate::errors::Errors;
use crate::options::{FieldPath, Known, Options, known};

const KNOWN: &[Known] = &[
    known("type", "type = \"OrderPlaced.v1\""),
    known("topic", "topic = \"orders\""),
    known("key", "key = order_id"),
    known("kind", "kind = integration"),
    known("source", "source = \"/shop\""),
];

pub(super) enum Declaration<'a> {
    /// One event: a struct, or an enum with `#[event(…)]`.
    Single(Written<'a>),
    /// An enum without it: each variant holds an event.
    Set(&'a DataEnum),
}

/// The options as they stand in `#[event(…)]`.
pub(super) struct Written<'a> {
    /// The first attribute, for what is missing in it.
    pub(super) attribute: &'a Attribute,
    pub(super) options: Options,
}

pub(super) fn declaration<'a>(
    input: &'a DeriveInput,
    errors: &mut Errors,
) -> Option<Declaration<'a>> {
    misplaced(&input.data, errors);
    let attributes: Vec<&Attribute> = input.attrs.iter().filter(|a| is_event(a)).collect();
    match (&input.data, attributes.first()) {
        (Data::Union(data), _) => {
            errors.at(
                data.union_token,
                "a union cannot be an event: make it a struct or an enum",
            );
            None
        }
        (Data::Enum(data), None) => Some(Declaration::Set(data)),
        (Data::Struct(_), None) => {
            errors.at(
                &input.ident,
                format!(
                    "an event says what it is called and where it goes: put \
                     `#[event(type = \"{}.v1\", topic = \"…\")]` on the struct",
                    input.ident
                ),
            );
            None
        }
        (_, Some(attribute)) => Some(Declaration::Single(Written {
            attribute,
            options: Options::parse("`#[event(…)]`", joined(&attributes, errors)?, KNOWN, errors),
        })),
    }
}

/// What stands in all the attributes together.
fn joined(attributes: &[&Attribute], errors: &mut Errors) -> Option<TokenStream> {
    let mut tokens = TokenStream::new();
    for attribute in attributes {
        match &attribute.meta {
            Meta::List(list) => {
                let options = &list.tokens;
                tokens.extend(quote!(#options,));
            }
            Meta::Path(_) => {}
            Meta::NameValue(pair) => {
                errors.at(
                    pair,
                    "the options stand in parentheses: `#[event(type = \"OrderPlaced.v1\", topic = \"orders\")]`",
                );
                return None;
            }
        }
    }
    Some(tokens)
}

fn is_event(attribute: &Attribute) -> bool {
    attribute.path().is_ident("event")
}

/// `#[event(…)]` on a field or a variant is a mistake, and would be ignored.
fn misplaced(data: &Data, errors: &mut Errors) {
    let mut check = |attributes: &[Attribute], place: &str, mend: &str| {
        for attribute in attributes.iter().filter(|a| is_event(a)) {
            errors.at(
                attribute.meta.to_token_stream(),
                format!("`#[event(…)]` stands on the type, not on {place}: {mend}"),
            );
        }
    };
    let key = "to make a field the key, write `key = field` on the type";
    match data {
        Data::Struct(data) => {
            for field in &data.fields {
                check(&field.attrs, "a field", key);
            }
        }
        Data::Enum(data) => {
            for variant in &data.variants {
                check(
                    &variant.attrs,
                    "a variant",
                    "put it on the type that the variant holds",
                );
                for field in &variant.fields {
                    check(&field.attrs, "a field", key);
                }
            }
        }
        Data::Union(_) => {}
    }
}

impl Written<'_> {
    /// Meant as one event, and not as a set.
    pub(super) fn is_named(&self) -> bool {
        self.options.name("type").is_some()
    }

    pub(super) fn key(&self, errors: &mut Errors) -> Option<FieldPath> {
        self.options.path("key", errors)
    }
}
