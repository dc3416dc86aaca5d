//! What must hold for an event or a set, one function per rule.

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Fields, LitStr, Member, Type};

use super::parse::Written;
use crate::errors::Errors;
use crate::names::{did_you_mean, event_type_fault, is_versioned, kafka_fault, list, with_version};
use crate::options::FieldPath;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integration,
    Command,
    Domain,
}

const KINDS: &[(&str, Kind)] = &[
    ("integration", Kind::Integration),
    ("command", Kind::Command),
    ("domain", Kind::Domain),
];

/// An event that may be written.
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) event_type: LitStr,
    /// None for a domain event.
    pub(super) topic: Option<LitStr>,
    pub(super) key: Option<FieldPath>,
    pub(super) source: Option<LitStr>,
}

/// A variant of a set and the one type that it holds.
pub(super) struct MemberOfSet<'a> {
    pub(super) variant: &'a syn::Ident,
    pub(super) holds: &'a Type,
    /// No other variant holds a type that is written the same.
    pub(super) alone: bool,
}

pub(super) fn single(
    input: &DeriveInput,
    written: &Written<'_>,
    errors: &mut Errors,
) -> Option<Event> {
    no_parameters(input, "an event", errors);
    // Where the kind is misspelt, nothing that depends on it is said.
    let kind = match written.options.name("kind") {
        Some(_) => written.options.word("kind", KINDS, errors),
        None => Some(Kind::Integration),
    };
    let event_type = event_type(input, written, kind, errors);
    let topic = topic(written, kind, errors);
    let key = written.key(errors);
    if let Some(key) = &key {
        key_names_a_field(input, key, errors);
    }
    let source = source(written, errors);
    Some(Event {
        kind: kind?,
        event_type: event_type?,
        topic,
        key,
        source,
    })
}

pub(super) fn set<'a>(
    input: &'a DeriveInput,
    data: &'a DataEnum,
    errors: &mut Errors,
) -> Vec<MemberOfSet<'a>> {
    no_parameters(input, "a set of events", errors);
    if data.variants.is_empty() {
        errors.at(
            &input.ident,
            "an enum of events holds at least one: write `OrderPlaced(OrderPlaced)`, say",
        );
    }
    let mut members: Vec<MemberOfSet<'a>> = Vec::new();
    for variant in &data.variants {
        let name = &variant.ident;
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let holds = &fields.unnamed[0].ty;
                let earlier = members.iter_mut().find(|member| same(member.holds, holds));
                let alone = earlier.is_none();
                if let Some(earlier) = earlier {
                    earlier.alone = false;
                }
                members.push(MemberOfSet {
                    variant: name,
                    holds,
                    alone,
                });
            }
            _ => errors.at(
                name,
                format!(
                    "in an enum of events every variant holds one event: write `{name}({name})` \
                     with a struct `{name}` that is an event (or, to make the whole enum one \
                     event, put `#[event(type = \"{}.v1\", topic = \"…\")]` on it)",
                    input.ident
                ),
            ),
        }
    }
    members
}

fn same(a: &Type, b: &Type) -> bool {
    a.to_token_stream().to_string() == b.to_token_stream().to_string()
}

/// Consumers know an event by its type's name, and a name stands for one shape.
fn no_parameters(input: &DeriveInput, what: &str, errors: &mut Errors) {
    let parameters = &input.generics.params;
    let Some(first) = parameters.first() else {
        return;
    };
    let (kind, mend) = match first {
        syn::GenericParam::Lifetime(_) => ("lifetimes", "let it own its data"),
        _ => ("type parameters", "write one event for each type"),
    };
    errors.at(parameters, format!("{what} has no {kind}: {mend}"));
}

fn event_type(
    input: &DeriveInput,
    written: &Written<'_>,
    kind: Option<Kind>,
    errors: &mut Errors,
) -> Option<LitStr> {
    if written.options.lacks("type") {
        let name = &input.ident;
        let version = if kind == Some(Kind::Domain) {
            ""
        } else {
            ".v1"
        };
        let mut message = format!("`type` is missing: write `type = \"{name}{version}\"`");
        if matches!(input.data, Data::Enum(_)) {
            message.push_str(
                " to make the enum one event, or remove `#[event(…)]` to make it a set of events",
            );
        }
        errors.at(&written.attribute.meta, message);
        return None;
    }
    let text = written.options.string("type", errors)?;
    let name = text.value();
    if let Some(fault) = event_type_fault(&name) {
        errors.at(&text, fault);
        return None;
    }
    let what = match kind? {
        Kind::Integration => "an integration event",
        Kind::Command => "a command",
        Kind::Domain => return Some(text),
    };
    if !is_versioned(&name) {
        let versioned = with_version(&name);
        errors.at(
            &text,
            format!("the type of {what} ends in its version: write `\"{versioned}\"`"),
        );
    }
    Some(text)
}

fn topic(written: &Written<'_>, kind: Option<Kind>, errors: &mut Errors) -> Option<LitStr> {
    let what = match kind {
        Some(Kind::Integration) => "an integration event",
        Some(Kind::Command) => "a command",
        Some(Kind::Domain) => {
            if let Some(name) = written.options.name("topic") {
                errors.at(
                    name,
                    "a domain event stays inside its service and has no topic: remove `topic`, or \
                     make it public with `kind = integration`",
                );
            }
            return None;
        }
        None => "an event",
    };
    if written.options.lacks("topic") && kind.is_some() {
        errors.at(
            &written.attribute.meta,
            format!(
                "`topic` is missing: {what} goes to a Kafka topic, say `topic = \"orders\"` \
                 (one that stays inside its service is `kind = domain`)"
            ),
        );
    }
    let text = written.options.string("topic", errors)?;
    if let Some(fault) = kafka_fault("a topic's name", &text.value()) {
        errors.at(&text, fault);
    }
    Some(text)
}

/// It is a URI reference (CloudEvents), so it has no spaces.
fn source(written: &Written<'_>, errors: &mut Errors) -> Option<LitStr> {
    let text = written.options.string("source", errors)?;
    let name = text.value();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        errors.at(
            &text,
            "a source is a URI or a path without spaces: write `source = \"/shop/orders\"`, say",
        );
    }
    Some(text)
}

fn key_names_a_field(input: &DeriveInput, key: &FieldPath, errors: &mut Errors) {
    let Data::Struct(data) = &input.data else {
        errors.at(
            key,
            "an enum has no field that all its variants share, so it cannot have a `key`: \
             make the event a struct that has the key and the enum as fields",
        );
        return;
    };
    let fields: Vec<String> = data
        .fields
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let name = field.ident.as_ref().map(|name| name.unraw().to_string());
            name.unwrap_or_else(|| i.to_string())
        })
        .collect();
    let named = match key.first() {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    if fields.contains(&named) {
        return;
    }
    let names = || fields.iter().map(String::as_str);
    let has = match fields.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", list(names())),
    };
    let nearest = did_you_mean(&named, names());
    errors.at_span(
        key.first().span(),
        format!("`{}` has no field `{named}`{nearest} ({has})", input.ident),
    );
}
