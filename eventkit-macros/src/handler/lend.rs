//! A transaction is lent to the handler, and an `async fn` must say so: `Tx<'_, DB>`.
//! This puts the lifetime where it was left out, so that users need not.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Lifetime;

pub(super) fn lifetimes(item: TokenStream) -> TokenStream {
    // The first parentheses after `fn` are the parameters'.
    let (mut is_function, mut done) = (false, false);
    let parts = item.into_iter().map(|token| match token {
        TokenTree::Group(group)
            if is_function && !done && group.delimiter() == Delimiter::Parenthesis =>
        {
            done = true;
            let mut lent = Group::new(Delimiter::Parenthesis, parameters(group.stream()));
            lent.set_span(group.span());
            TokenTree::Group(lent)
        }
        other => {
            is_function |= matches!(&other, TokenTree::Ident(word) if word == "fn");
            other
        }
    });
    parts.collect()
}

fn parameters(tokens: TokenStream) -> TokenStream {
    let mut written = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut after_name = false;
    while let Some(token) = tokens.next() {
        let opens = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '<');
        let span = token.span();
        let named = matches!(&token, TokenTree::Ident(name) if name == "Tx");
        written.extend([token]);
        let has_lifetime =
            matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '\'');
        if opens && after_name && !has_lifetime {
            Lifetime::new("'_", span).to_tokens(&mut written);
            syn::Token![,](span).to_tokens(&mut written);
        }
        after_name = named;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn only_a_transaction_without_a_lifetime_gets_one() {
        let lent = |item: TokenStream| lifetimes(item).to_string();
        assert_eq!(
            lent(quote!(
                pub(crate) async fn f(e: E, Tx(tx): inbox::Tx<Postgres>) -> Tx<A> {
                    Tx::<B>(c)
                }
            )),
            quote!(
                pub(crate) async fn f(e: E, Tx(tx): inbox::Tx<'_, Postgres>) -> Tx<A> {
                    Tx::<B>(c)
                }
            )
            .to_string()
        );
        for same in [
            quote!(
                async fn f(Tx(tx): Tx<'_, Postgres>) {}
            ),
            quote!(
                async fn f(tx: State<Tx>, e: Envelope<E>) {}
            ),
            quote!(
                struct Tx<A>(A);
            ),
        ] {
            assert_eq!(lent(same.clone()), same.to_string());
        }
    }
}
