//! What is written beside the user's function.
//!
//! Types are checked at their own tokens. A parameter's bound is needed several
//! times, and each time asked for at the one token that `Parameters` puts for
//! its type: the compiler drops an error that it gave before for the same place.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use super::parse::Function;
use super::validate::{Dedup, Handler, Policy, Runs, event_parameter, names_no_type, transaction};
use crate::duration;

pub(super) fn handler(function: &Function, handler: &Handler<'_>) -> TokenStream {
    let name = &function.signature.ident;
    let handler_name = &handler.name;
    let parameters = Parameters::of(handler);
    let (types, events) = (parameters.types(), parameters.events());
    let needs = parameters.needs();
    let event = &handler.event;
    let check =
        quote_spanned!(event.span()=> ::eventkit::__private::handler_event(#event, #events));
    let policy = policy(&handler.policy, &handler.parameters);
    let call = call(function, handler, &parameters);
    let line = quote_spanned!(name.span()=> line!());
    let cfgs: Vec<_> = function.cfgs().collect();
    let registered = registered(
        function,
        &quote! {{
            #types
            ::eventkit::__private::define::<#name>(
                #handler_name,
                (file!(), #line),
                #events,
                #policy,
                #needs,
            )
        }},
    );
    quote! {
        #(#cfgs)*
        const _: () = {
            #types
            #check
        };
        #registered
        #(#cfgs)*
        #call
        #(#cfgs)*
        ::eventkit::__private::inventory::submit! {
            ::eventkit::__private::Linked(<#name as ::eventkit::__private::Registered>::DEFINITION)
        }
    }
}

/// Stands in where the attribute is wrong, so that `handlers![…]` raises no
/// second error.
pub(super) fn fallback(function: &Function) -> TokenStream {
    if function.signature.receiver().is_some() {
        return TokenStream::new();
    }
    registered(function, &quote!(::eventkit::__private::MISWRITTEN))
}

/// A type of the function's name: braces keep it out of the functions' namespace.
fn registered(function: &Function, definition: &TokenStream) -> TokenStream {
    let (name, visibility) = (&function.signature.ident, &function.visibility);
    let cfgs: Vec<_> = function.cfgs().collect();
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(
            non_camel_case_types,
            missing_debug_implementations,
            missing_docs,
            unreachable_pub,
            dead_code,
            clippy::empty_structs_with_brackets
        )]
        #visibility struct #name {}

        #(#cfgs)*
        #[automatically_derived]
        #[allow(deprecated, clippy::needless_update)]
        impl ::eventkit::__private::Registered for #name {
            const DEFINITION: ::eventkit::HandlerDefinition = #definition;
        }
    }
}

/// The parameters. The type of each stands behind a name that is one token long.
struct Parameters<'a> {
    all: Vec<Parameter<'a>>,
}

struct Parameter<'a> {
    name: Ident,
    ty: &'a Type,
    /// The database of a transaction, which is lent to the handler and not made
    /// from its delivery.
    database: Option<&'a Type>,
}

impl<'a> Parameters<'a> {
    fn of(handler: &Handler<'a>) -> Self {
        let types = handler.parameters.iter().enumerate();
        let all = types.map(|(i, ty)| Parameter {
            name: Ident::new(&format!("__Parameter{i}"), ty.span()),
            ty,
            database: transaction(ty),
        });
        Self { all: all.collect() }
    }

    /// The names' definitions, to stand where the others are used.
    fn types(&self) -> TokenStream {
        self.made()
            .map(|Parameter { name, ty, .. }| quote!(type #name = #ty;))
            .collect()
    }

    fn events(&self) -> TokenStream {
        let events = self.made().map(
            |Parameter { name, .. }| quote_spanned!(name.span()=> <#name as ::eventkit::FromDelivery>::EVENT,),
        );
        quote!(&[#(#events)*])
    }

    fn needs(&self) -> TokenStream {
        let needs = self.all.iter().map(|Parameter { name, database, .. }| match database {
            None => quote_spanned!(name.span()=> <#name as ::eventkit::FromDelivery>::requirements(needs);),
            Some(database) => {
                quote_spanned!(name.span()=> ::eventkit::Requirements::transaction::<#database>(needs);)
            }
        });
        quote!(|needs| { #(#needs)* })
    }

    fn make(&self, delivery: &Ident, lent: &Ident, values: &[Ident]) -> TokenStream {
        let made = self.all.iter().zip(values);
        made.map(|(Parameter { name, database, .. }, value)| match database {
            // The first line is only there to be wrong in the same words as the
            // definition: the compiler says the same thing once.
            None => quote_spanned! {name.span()=>
                let _ = <#name as ::eventkit::FromDelivery>::EVENT;
                let #value = <#name as ::eventkit::FromDelivery>::from_delivery(#delivery).await?;
            },
            Some(database) => quote_spanned! {name.span()=>
                let #value = ::eventkit::__private::tx::<#database>(#lent)?;
            },
        })
        .collect()
    }

    fn takes_transaction(&self) -> bool {
        self.all
            .iter()
            .any(|parameter| parameter.database.is_some())
    }

    /// Those that are made from the delivery.
    fn made(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.all
            .iter()
            .filter(|parameter| parameter.database.is_none())
    }
}

/// How the handler is run: makes its parameters, calls it, encodes what it returns.
fn call(function: &Function, handler: &Handler<'_>, parameters: &Parameters<'_>) -> TokenStream {
    let name = &function.signature.ident;
    let local = |name: &str| Ident::new(name, Span::mixed_site());
    let delivery = local("delivery");
    let lent = local("transaction");
    let values: Vec<Ident> = (0..handler.parameters.len())
        .map(|i| local(&format!("parameter{i}")))
        .collect();
    let types = parameters.types();
    let make = parameters.make(&delivery, &lent, &values);
    let outcome = |returned| match handler.returns {
        None => {
            quote_spanned!(name.span()=> <() as ::eventkit::IntoOutcome>::into_outcome(#returned))
        }
        Some(ty) if names_no_type(ty) => {
            quote_spanned!(ty.span()=> ::eventkit::IntoOutcome::into_outcome(#returned))
        }
        Some(ty) => {
            quote_spanned!(ty.span()=> <#ty as ::eventkit::IntoOutcome>::into_outcome(#returned))
        }
    };
    let run = match handler.runs {
        Runs::Inline | Runs::Spawned => {
            let outcome = outcome(quote_spanned!(name.span()=> #name(#(#values),*).await));
            quote_spanned!(name.span()=> async move { #make #outcome })
        }
        Runs::Blocking => {
            quote!(async move { #make ::core::result::Result::Ok((#(#values,)*)) })
        }
    };
    let run = match handler.runs {
        Runs::Inline => run,
        Runs::Spawned => quote_spanned! {name.span()=>
            ::eventkit::__private::spawned(
                #delivery,
                |#delivery| ::std::boxed::Box::pin(#run),
            )
        },
        Runs::Blocking => {
            let outcome = outcome(quote!(#name(#(#values),*)));
            quote! {
                ::eventkit::__private::blocking(#delivery, #run, |(#(#values,)*)| #outcome)
            }
        }
    };
    let future = quote_spanned!(name.span()=>
        impl ::core::future::Future<Output = ::eventkit::Outcome> + ::core::marker::Send
    );
    let inbox = handler.inbox.then(|| {
        quote!(
            const INBOX: bool = true;
        )
    });
    let lent = match parameters.takes_transaction() {
        true => quote!(#lent),
        false => quote!(_),
    };
    quote! {
        #[automatically_derived]
        #[allow(deprecated)]
        impl ::eventkit::__private::Call for #name {
            #inbox

            fn call(
                #delivery: &::eventkit::Delivery,
                #lent: ::core::option::Option<&mut ::eventkit::__private::Transaction>,
            ) -> #future {
                #types
                #run
            }
        }
    }
}

fn policy(policy: &Policy, parameters: &[&Type]) -> TokenStream {
    let some = |value: TokenStream| quote!(::core::option::Option::Some(#value));
    let mut set: Vec<TokenStream> = Vec::new();
    if let Some(group) = &policy.group {
        let group = some(quote!(#group));
        set.push(quote!(group: #group,));
    }
    if let Some(order) = policy.order {
        let order = Ident::new(order, Span::call_site());
        set.push(quote!(order: ::eventkit::Order::#order,));
    }
    if let Some(retry) = retry(policy) {
        set.push(quote!(retry: #retry,));
    }
    if let Some(given) = &policy.dedup {
        let dedup = some(dedup(given, parameters));
        set.push(quote!(dedup: #dedup,));
    }
    if let Some(timeout) = policy.timeout {
        let timeout = some(duration::tokens(timeout));
        set.push(quote!(timeout: #timeout,));
    }
    if let Some(concurrency) = policy.concurrency {
        let concurrency = some(quote!(#concurrency));
        set.push(quote!(concurrency: #concurrency,));
    }
    if let Some(topic) = &policy.dead_letter_topic {
        let topic = some(quote!(#topic));
        set.push(quote!(dead_letter_topic: #topic,));
    }
    let default = quote!(::eventkit::__private::Policy::DEFAULT);
    match set.is_empty() {
        true => default,
        false => quote!(::eventkit::__private::Policy { #(#set)* ..#default }),
    }
}

fn retry(policy: &Policy) -> Option<TokenStream> {
    let attempts = policy.attempts.map(|attempts| quote!(attempts: #attempts,));
    let backoff = policy.backoff.map(|(min, max)| {
        let (min, max) = (duration::tokens(min), duration::tokens(max));
        quote!(min: #min, max: #max,)
    });
    let jitter = policy.jitter.map(|jitter| {
        let jitter = Ident::new(jitter, Span::call_site());
        quote!(jitter: ::eventkit::Jitter::#jitter,)
    });
    (attempts.is_some() || backoff.is_some() || jitter.is_some()).then(
        || quote!(::eventkit::Retry { #attempts #backoff #jitter ..::eventkit::Retry::DEFAULT }),
    )
}

fn dedup(dedup: &Dedup, parameters: &[&Type]) -> TokenStream {
    let ttl = duration::tokens(dedup.ttl);
    let key = dedup
        .key
        .as_ref()
        .zip(event_parameter(parameters))
        .map_or_else(
            || quote!(::core::option::Option::None),
            |(path, event)| {
                let key =
                    quote_spanned!(path.span()=> ::eventkit::EventKey::key_bytes(&event #path));
                quote! {
                    ::core::option::Option::Some(|delivery| {
                        ::eventkit::__private::dedup_key::<#event>(delivery, |event| #key)
                    })
                }
            },
        );
    quote!(::eventkit::__private::Dedup { ttl: #ttl, key: #key })
}
