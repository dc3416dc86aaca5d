//! What must hold for a handler: its signature, then its options.

use std::time::Duration;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{FnArg, LitStr, ReturnType, Signature, Type};

use super::parse::{DEDUP, Function, RETRY};
use crate::duration;
use crate::errors::Errors;
use crate::names::{event_type_fault, kafka_fault};
use crate::options::{FieldPath, Options};

/// A handler that may be written.
pub(super) struct Handler<'a> {
    pub(super) event: LitStr,
    pub(super) name: String,
    pub(super) runs: Runs,
    pub(super) inbox: bool,
    pub(super) parameters: Vec<&'a Type>,
    pub(super) returns: Option<&'a Type>,
    pub(super) policy: Policy,
}

/// Where it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// On its partition's task.
    Inline,
    /// On a task of its own.
    Spawned,
    /// On the blocking pool.
    Blocking,
}

/// What was said; what was not is eventkit's default.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) group: Option<LitStr>,
    pub(super) order: Option<&'static str>,
    pub(super) attempts: Option<u32>,
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) jitter: Option<&'static str>,
    pub(super) dedup: Option<Dedup>,
    pub(super) timeout: Option<Duration>,
    pub(super) concurrency: Option<usize>,
    pub(super) dead_letter_topic: Option<LitStr>,
}

pub(super) struct Dedup {
    pub(super) ttl: Duration,
    pub(super) key: Option<FieldPath>,
}

const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn handler<'a>(
    function: &'a Function,
    options: &Options,
    errors: &mut Errors,
) -> Option<Handler<'a>> {
    let signature = &function.signature;
    free_function(signature, errors);
    let parameters = parameters(signature, errors);
    let returns = match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, returns) => Some(&**returns),
    };
    let event = event(options, errors);
    let name = name(signature, options, errors);
    let runs = runs(signature, options, errors);
    let policy = policy(options, errors);
    let inbox = inbox(signature, options, &parameters, errors);
    Some(Handler {
        event: event?,
        name,
        runs,
        inbox,
        parameters,
        returns,
        policy,
    })
}

/// A handler is found and called by its path alone.
fn free_function(signature: &Signature, errors: &mut Errors) {
    if let Some(token) = &signature.constness {
        errors.at(
            token,
            "a handler is an `async fn` or a plain `fn`: remove `const`",
        );
    }
    if let Some(token) = &signature.unsafety {
        errors.at(
            token,
            "a handler is called by eventkit, which cannot keep what an `unsafe fn` demands: remove `unsafe`",
        );
    }
    if let Some(abi) = &signature.abi {
        errors.at(
            abi,
            "a handler is an `async fn` or a plain `fn`: remove `extern`",
        );
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        errors.at(
            &generics.params,
            "a handler has no type parameters and no lifetimes: eventkit would not know what to put for them",
        );
    } else if let Some(clause) = &generics.where_clause {
        errors.at(clause, "a handler has no `where`: its types are all known");
    }
}

fn parameters<'a>(signature: &'a Signature, errors: &mut Errors) -> Vec<&'a Type> {
    if signature.inputs.is_empty() {
        errors.at_span(
            signature.paren_token.span.join(),
            "a handler takes its event as a parameter: `(order: OrderPlaced)`",
        );
    }
    let mut types = Vec::new();
    for parameter in &signature.inputs {
        match parameter {
            FnArg::Receiver(receiver) => errors.at(
                receiver,
                "a handler is a function outside of any `impl`: take what it needs as \
                 `State(name): State<Type>`",
            ),
            FnArg::Typed(parameter) => {
                match &*parameter.ty {
                    Type::Reference(reference) => {
                        let owned = &reference.elem;
                        let owned = match quote::quote!(#owned).to_string().as_str() {
                            "str" => "String".to_owned(),
                            other => other.replace(' ', ""),
                        };
                        errors.at(
                            reference,
                            format!(
                                "a parameter is made for each event: take it by value, `{owned}`"
                            ),
                        );
                    }
                    ty if names_no_type(ty) => errors.at(
                        ty,
                        "a handler names the types of its parameters: put a type for `impl …`",
                    ),
                    _ => {}
                }
                types.push(&*parameter.ty);
            }
        }
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(variadic, "a handler names each of its parameters");
    }
    types
}

/// `impl Trait`, or something with it inside.
pub(super) fn names_no_type(ty: &Type) -> bool {
    fn within(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(word) => word == "impl",
            TokenTree::Group(group) => within(group.stream()),
            _ => false,
        })
    }
    within(ty.to_token_stream())
}

fn event(options: &Options, errors: &mut Errors) -> Option<LitStr> {
    if options.lacks("event") {
        errors.at_span(
            proc_macro2::Span::call_site(),
            "`event` is missing: say which event it takes, `#[handler(event = \"OrderPlaced.v1\")]`",
        );
    }
    let text = options.string("event", errors)?;
    if let Some(fault) = event_type_fault(&text.value()) {
        errors.at(&text, fault);
    }
    Some(text)
}

fn name(signature: &Signature, options: &Options, errors: &mut Errors) -> String {
    let function = signature.ident.unraw().to_string();
    if options.name("name").is_some() {
        return legal("name", "a handler's name", options, errors)
            .map_or(function, |text| text.value());
    }
    if kafka_fault("", &function).is_some() {
        errors.at(
            &signature.ident,
            "a handler is known by its function's name, and that has letters other than a to z: \
             give it one, `name = \"reserve_stock\"`",
        );
    }
    function
}

fn runs(signature: &Signature, options: &Options, errors: &mut Errors) -> Runs {
    let parallel = options.flag("parallel", errors);
    match (signature.asyncness.is_some(), parallel) {
        (true, false) => Runs::Inline,
        (true, true) => Runs::Spawned,
        (false, parallel) => {
            if parallel && let Some(name) = options.name("parallel") {
                errors.at(
                    name,
                    "a plain `fn` runs on the blocking pool, in parallel already: remove `parallel`, \
                     or make it an `async fn`",
                );
            }
            if let Some(name) = options.name("timeout") {
                errors.at(
                    name,
                    "a plain `fn` cannot be interrupted, and its next attempt would run beside it: \
                     remove `timeout`, or make it an `async fn`",
                );
            }
            Runs::Blocking
        }
    }
}

/// Whether the handler runs in a transaction, which is on its partition's task
/// and does what `dedup` would.
fn inbox(
    signature: &Signature,
    options: &Options,
    parameters: &[&Type],
    errors: &mut Errors,
) -> bool {
    let inbox = options.flag("inbox", errors);
    let mut transactions = parameters.iter().filter(|ty| transaction(ty).is_some());
    let (first, second) = (transactions.next(), transactions.next());
    if !inbox {
        if let Some(ty) = first {
            errors.at(
                ty,
                "the transaction is the inbox's: write `#[handler(event = \"…\", inbox)]`",
            );
        }
        return false;
    }
    if let Some(ty) = second {
        errors.at(ty, "there is one transaction: take it once");
    }
    for (option, why) in [
        (
            "dedup",
            "the inbox knows what was handled by itself: remove `dedup`",
        ),
        (
            "parallel",
            "a handler with `inbox` runs on its partition's task, beside those of other keys: remove `parallel`",
        ),
    ] {
        if let Some(name) = options.name(option) {
            errors.at(name, why);
        }
    }
    if signature.asyncness.is_none() {
        errors.at(
            signature.fn_token,
            "a handler with `inbox` waits for its database: make it an `async fn`",
        );
    }
    true
}

/// The database of a parameter that is a `Tx`, known by its name.
pub(super) fn transaction(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == "Tx")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(database) => Some(database),
        _ => None,
    })
}

fn policy(options: &Options, errors: &mut Errors) -> Policy {
    let orders = &[("key", "Key"), ("partition", "Partition"), ("none", "None")];
    let mut policy = Policy {
        group: legal("group", "a group's name", options, errors),
        order: options.word("order", orders, errors),
        timeout: duration_of("timeout", options, errors),
        concurrency: positive("concurrency", options, errors),
        dead_letter_topic: legal("dlq", "a topic's name", options, errors),
        ..Policy::default()
    };
    if let Some(retry) = options.nested("retry", RETRY, errors) {
        policy.attempts = positive("attempts", &retry, errors);
        policy.backoff = read("backoff", &retry, duration::parse_range, errors);
        policy.jitter = retry.word("jitter", &[("full", "Full"), ("none", "None")], errors);
    }
    if let Some(dedup) = options.nested("dedup", DEDUP, errors) {
        policy.dedup = Some(Dedup {
            ttl: duration_of("ttl", &dedup, errors).unwrap_or(REMEMBERED),
            key: dedup.path("key", errors),
        });
    }
    policy
}

/// A name that becomes part of a topic's, or is one.
fn legal(option: &str, what: &str, options: &Options, errors: &mut Errors) -> Option<LitStr> {
    let text = options.string(option, errors)?;
    if let Some(fault) = kafka_fault(what, &text.value()) {
        errors.at(&text, fault);
    }
    Some(text)
}

fn duration_of(option: &str, options: &Options, errors: &mut Errors) -> Option<Duration> {
    read(option, options, duration::parse, errors)
}

fn read<T>(
    option: &str,
    options: &Options,
    parse: impl FnOnce(&str) -> Result<T, String>,
    errors: &mut Errors,
) -> Option<T> {
    let text = options.string(option, errors)?;
    parse(&text.value())
        .map_err(|fault| errors.at(&text, fault))
        .ok()
}

fn positive<N>(option: &str, options: &Options, errors: &mut Errors) -> Option<N>
where
    N: std::str::FromStr<Err: std::fmt::Display> + Default + PartialEq,
{
    let number = options.number(option, errors)?;
    if !number.suffix().is_empty() {
        let digits = number.base10_digits();
        errors.at(
            &number,
            format!("write the number alone: `{option} = {digits}`"),
        );
        return None;
    }
    match number.base10_parse::<N>() {
        Ok(number) if number != N::default() => Some(number),
        Err(_) if number.base10_digits().bytes().all(|b| b.is_ascii_digit()) => {
            errors.at(&number, format!("this is too large for `{option}`"));
            None
        }
        _ => {
            errors.at(&number, format!("`{option}` is at least 1"));
            None
        }
    }
}

/// The types that are parameters and surely not the event, by name.
const NOT_EVENTS: [&str; 8] = [
    "State",
    "Metadata",
    "Headers",
    "Publisher",
    "Attempt",
    "CancellationToken",
    "Delivery",
    "Tx",
];

/// The event's type, as far as names tell: the first parameter that is no
/// other known one, or what an `Envelope` holds.
pub(super) fn event_parameter<'a>(parameters: &[&'a Type]) -> Option<&'a Type> {
    parameters.iter().find_map(|parameter| {
        let Type::Path(path) = parameter else {
            return Some(*parameter);
        };
        let last = path.path.segments.last()?;
        if NOT_EVENTS.iter().any(|name| last.ident == name) {
            return None;
        }
        match &last.arguments {
            syn::PathArguments::AngleBracketed(arguments) if last.ident == "Envelope" => {
                arguments.args.iter().find_map(|argument| match argument {
                    syn::GenericArgument::Type(event) => Some(event),
                    _ => None,
                })
            }
            _ => Some(*parameter),
        }
    })
}
