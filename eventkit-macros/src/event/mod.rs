//! `#[derive(Event)]`: one event, or an enum that is a set of events.

mod expand;
mod parse;
mod validate;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::errors::Errors;
use parse::Declaration;

pub(crate) fn derive(input: TokenStream) -> TokenStream {
    match syn::parse2(input) {
        Ok(input) => declaration(&input),
        Err(error) => error.into_compile_error(),
    }
}

fn declaration(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    match parse::declaration(input, &mut errors) {
        Some(Declaration::Single(written)) => {
            match validate::single(input, &written, &mut errors) {
                Some(event) if errors.is_empty() => expand::single(input, &event),
                _ => with_fallback(errors, expand::fallback(input, written.is_named())),
            }
        }
        Some(Declaration::Set(data)) => {
            let members = validate::set(input, data, &mut errors);
            if errors.is_empty() {
                return expand::set(input, &members);
            }
            let mut fallback = expand::fallback(input, false);
            fallback.extend(expand::conversions(input, &members));
            with_fallback(errors, fallback)
        }
        None => with_fallback(errors, expand::fallback(input, false)),
    }
}

fn with_fallback(errors: Errors, fallback: TokenStream) -> TokenStream {
    let mut written = errors.into_compile_errors();
    written.extend(fallback);
    written
}
