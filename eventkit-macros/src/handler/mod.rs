//! `#[handler(…)]`: the function as it was written, but for the lifetime of a
//! transaction, and beside it what `handlers![…]` and the linker find it by.

mod expand;
mod lend;
mod parse;
mod validate;

use proc_macro2::TokenStream;

use crate::errors::Errors;
use parse::Function;

pub(crate) fn attribute(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut written = lend::lifetimes(item.clone());
    let Some(function) = Function::parse(item, &mut errors) else {
        written.extend(errors.into_compile_errors());
        return written;
    };
    let options = parse::options(options, &mut errors);
    match validate::handler(&function, &options, &mut errors) {
        Some(handler) if errors.is_empty() => written.extend(expand::handler(&function, &handler)),
        _ => {
            written.extend(errors.into_compile_errors());
            written.extend(expand::fallback(&function));
        }
    }
    written
}
