//! The macros of eventkit.
use proc_macro::TokenStream;

mod duration;
mod errors;
mod event;
mod handler;
mod names;
mod options;

/// Docs.
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Docs.
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::attribute(options.into(), item.into()).into()
}
