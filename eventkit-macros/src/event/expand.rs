//! What is written into the user's program.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput};

use super::validate::{Event, Kind, MemberOfSet};

pub(super) fn single(input: &DeriveInput, event: &Event) -> TokenStream {
    let (name, event_type) = (&input.ident, &event.event_type);
    let kind = match event.kind {
        Kind::Integration => quote!(Integration),
        Kind::Command => quote!(Command),
        Kind::Domain => quote!(Domain),
    };
    let topic = event
        .topic
        .as_ref()
        .map_or_else(|| quote!(""), |topic| quote!(#topic));
    let source = event.source.as_ref().map(|source| {
        quote!(const SOURCE: ::core::option::Option<&'static str> = ::core::option::Option::Some(#source);)
    });
    let key = event.key.as_ref().map(|path| {
        let bytes = quote_spanned!(path.span()=> ::eventkit::EventKey::key_bytes(&self #path));
        quote! {
            fn key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, [u8]>> {
                #bytes
            }
        }
    });
    let into_events =
        (event.kind != Kind::Domain).then(|| impl_into_events(input, &quote!(out.push(&self))));
    quote! {
        #[automatically_derived]
        impl ::eventkit::Event for #name {
            type Kind = ::eventkit::#kind;
            const TYPE: &'static str = #event_type;
            const TOPIC: &'static str = #topic;
            #source
            #key
            fn __cloned(&self) -> ::core::option::Option<Self> {
                #[allow(unused_imports)]
                use ::eventkit::__private::{Clones as _, ClonesNot as _};
                (&::eventkit::__private::Cloner(self)).cloned()
            }
        }
        #into_events
    }
}

pub(super) fn set(input: &DeriveInput, members: &[MemberOfSet<'_>]) -> TokenStream {
    let arms = members.iter().map(|member| {
        let variant = member.variant;
        let hand_on = quote_spanned! {member.holds.span()=>
            ::eventkit::IntoEvents::into_events(events, out)
        };
        quote!(Self::#variant(events) => #hand_on,)
    });
    let into_events = impl_into_events(input, &quote!(match self { #(#arms)* }));
    let conversions = conversions(input, members);
    quote!(#into_events #conversions)
}

/// From each event that only one variant holds.
pub(super) fn conversions(input: &DeriveInput, members: &[MemberOfSet<'_>]) -> TokenStream {
    let name = &input.ident;
    let plain = input.generics.params.is_empty();
    let alone = members.iter().filter(|member| member.alone && plain);
    let conversions = alone.map(|member| {
        let (variant, holds) = (member.variant, member.holds);
        quote! {
            #[automatically_derived]
            impl ::core::convert::From<#holds> for #name {
                fn from(event: #holds) -> Self {
                    Self::#variant(event)
                }
            }
        }
    });
    quote!(#(#conversions)*)
}

/// Stands in where the declaration is wrong, so that no other use of the type
/// raises a second error. An event with an empty name is one that failed. An
/// enum is taken for one event only where it was named as one.
pub(super) fn fallback(input: &DeriveInput, is_named: bool) -> TokenStream {
    if matches!(input.data, Data::Union(_)) {
        return TokenStream::new();
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let is_event = is_named || matches!(input.data, Data::Struct(_));
    let event = (is_event && input.generics.params.is_empty()).then(|| {
        quote! {
            #[automatically_derived]
            impl ::eventkit::Event for #name {
                type Kind = ::eventkit::Integration;
                const TYPE: &'static str = "";
                const TOPIC: &'static str = "";
            }
        }
    });
    quote! {
        #event
        #[automatically_derived]
        impl #generics ::eventkit::IntoEvents for #name #arguments #bounds {
            fn into_events(self, _: &mut ::eventkit::Outgoing) -> ::core::result::Result<(), ::eventkit::EncodeError> {
                ::core::result::Result::Ok(())
            }
        }
    }
}

fn impl_into_events(input: &DeriveInput, body: &TokenStream) -> TokenStream {
    let name = &input.ident;
    quote! {
        #[automatically_derived]
        impl ::eventkit::IntoEvents for #name {
            fn into_events(self, out: &mut ::eventkit::Outgoing) -> ::core::result::Result<(), ::eventkit::EncodeError> {
                #body
            }
        }
    }
}
