//! The options between an attribute's parentheses: `name`, `name = value`,
//! `name(…)`, with commas between. Says what is unknown, doubled or written in
//! another form than its own; knows nothing of what a value means.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::{Expr, LitInt, LitStr, Member};

use crate::errors::Errors;
use crate::names::{did_you_mean, list};

/// An option that may stand in an attribute, and how it is written.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
}

pub(crate) const fn known(name: &'static str, example: &'static str) -> Known {
    Known { name, example }
}

/// The options that were given, each once, all of them known.
pub(crate) struct Options {
    known: &'static [Known],
    given: Vec<Given>,
    /// Something was given that is none of them, perhaps one misspelt.
    misspelt: bool,
}

struct Given {
    name: Ident,
    value: Value,
}

enum Value {
    Absent,
    Equals(TokenStream),
    Parentheses(Group),
}

impl Options {
    /// Reads the options of what the user knows as `of`, say `#[handler(…)]`.
    pub(crate) fn parse(
        of: &str,
        tokens: TokenStream,
        known: &'static [Known],
        errors: &mut Errors,
    ) -> Self {
        let mut given: Vec<Given> = Vec::new();
        let mut misspelt = false;
        for part in split(tokens, errors) {
            let Some(option) = Given::parse(of, part, known, errors) else {
                misspelt = true;
                continue;
            };
            let name = option.name();
            if !known.iter().any(|known| known.name == name) {
                misspelt = true;
                let names = || known.iter().map(|known| known.name);
                let nearest = did_you_mean(&name, names());
                errors.at(
                    &option.name,
                    format!(
                        "{of} has no option `{name}`{nearest} (its options are {})",
                        list(names())
                    ),
                );
            } else if given.iter().any(|earlier| earlier.name() == name) {
                errors.at(
                    &option.name,
                    format!("`{name}` was given before: keep one of the two"),
                );
            } else {
                given.push(option);
            }
        }
        Self {
            known,
            given,
            misspelt,
        }
    }

    /// The option's name as it was written, where it was given.
    pub(crate) fn name(&self, name: &str) -> Option<&Ident> {
        self.find(name).map(|given| &given.name)
    }

    /// Whether the option was forgotten, rather than misspelt.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.find(name).is_none() && !self.misspelt
    }

    /// `name = "text"`
    pub(crate) fn string(&self, name: &str, errors: &mut Errors) -> Option<LitStr> {
        self.value(name, errors)
    }

    /// `name = 5`
    pub(crate) fn number(&self, name: &str, errors: &mut Errors) -> Option<LitInt> {
        self.value(name, errors)
    }

    /// `name = order.id`
    pub(crate) fn path(&self, name: &str, errors: &mut Errors) -> Option<FieldPath> {
        let given = self.find(name)?;
        if let Value::Equals(value) = &given.value {
            if let Some(path) = FieldPath::parse(value) {
                return Some(path);
            }
            if let Ok(text) = syn::parse2::<LitStr>(value.clone()) {
                let field = text.value();
                errors.at(
                    text,
                    format!("a field is named without quotes: write `{name} = {field}`"),
                );
                return None;
            }
        }
        self.malformed(given, errors)
    }

    /// `name = word`, one of a few.
    pub(crate) fn word<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        errors: &mut Errors,
    ) -> Option<T> {
        let given = self.find(name)?;
        let Value::Equals(value) = &given.value else {
            return self.malformed(given, errors);
        };
        if let Ok(text) = syn::parse2::<LitStr>(value.clone())
            && choices.iter().any(|(choice, _)| *choice == text.value())
        {
            let word = text.value();
            errors.at(
                text,
                format!("this is written without quotes: `{name} = {word}`"),
            );
            return None;
        }
        let Ok(word) = Ident::parse_any.parse2(value.clone()) else {
            return self.malformed(given, errors);
        };
        let found = choices.iter().find(|(choice, _)| word == choice);
        if found.is_none() {
            let names = || choices.iter().map(|(choice, _)| *choice);
            let nearest = did_you_mean(&word.to_string(), names());
            errors.at(
                &word,
                format!(
                    "there is no {name} `{word}`{nearest} (`{name}` is one of {})",
                    list(names())
                ),
            );
        }
        found.map(|(_, choice)| *choice)
    }

    /// `name`, without a value.
    pub(crate) fn flag(&self, name: &str, errors: &mut Errors) -> bool {
        match self.find(name) {
            None => false,
            Some(given) => {
                match &given.value {
                    Value::Absent => {}
                    Value::Equals(value) => {
                        errors.at(
                            value,
                            format!("`{name}` takes no value: write `{name}` alone"),
                        );
                    }
                    Value::Parentheses(group) => {
                        errors.at(
                            group,
                            format!("`{name}` takes no value: write `{name}` alone"),
                        );
                    }
                }
                true
            }
        }
    }

    /// `name` or `name(…)`: the options within.
    pub(crate) fn nested(
        &self,
        name: &str,
        known: &'static [Known],
        errors: &mut Errors,
    ) -> Option<Options> {
        let given = self.find(name)?;
        let within = match &given.value {
            Value::Absent => TokenStream::new(),
            Value::Parentheses(group) => group.stream(),
            Value::Equals(_) => return self.malformed(given, errors),
        };
        Some(Options::parse(
            &format!("`{name}(…)`"),
            within,
            known,
            errors,
        ))
    }

    fn value<T: syn::parse::Parse>(&self, name: &str, errors: &mut Errors) -> Option<T> {
        let given = self.find(name)?;
        if let Value::Equals(value) = &given.value
            && let Ok(value) = syn::parse2(value.clone())
        {
            return Some(value);
        }
        self.malformed(given, errors)
    }

    fn find(&self, name: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.name() == name)
    }

    fn malformed<T>(&self, given: &Given, errors: &mut Errors) -> Option<T> {
        let name = given.name();
        let example = self
            .known
            .iter()
            .find(|known| known.name == name)
            .map_or("", |known| known.example);
        let message = format!("`{name}` is written `{example}`");
        match &given.value {
            Value::Equals(value) if !value.is_empty() => errors.at(value, message),
            Value::Parentheses(group) => errors.at(group, message),
            _ => errors.at(&given.name, message),
        }
        None
    }
}

impl Given {
    fn parse(
        of: &str,
        part: Vec<TokenTree>,
        known: &'static [Known],
        errors: &mut Errors,
    ) -> Option<Self> {
        let mut tokens = part.into_iter();
        let name = match tokens.next()? {
            TokenTree::Ident(name) => name,
            other => {
                let example = known.first().map_or("", |known| known.example);
                errors.at(
                    other,
                    format!("every option of {of} has a name, as in `{example}`"),
                );
                return None;
            }
        };
        let value = match (tokens.next(), tokens) {
            (None, _) => Value::Absent,
            (Some(TokenTree::Punct(punct)), rest) if punct.as_char() == '=' => {
                Value::Equals(rest.collect())
            }
            (Some(TokenTree::Group(group)), _) => Value::Parentheses(group),
            (Some(other), _) => {
                errors.at(
                    &other,
                    format!("after `{name}` comes `=`, `(…)` or a comma"),
                );
                return None;
            }
        };
        Some(Self { name, value })
    }

    fn name(&self) -> String {
        self.name.unraw().to_string()
    }
}

/// Splits at commas, and where a comma was forgotten.
fn split(tokens: TokenStream, errors: &mut Errors) -> Vec<Vec<TokenTree>> {
    let mut parts: Vec<Vec<TokenTree>> = vec![Vec::new()];
    for token in tokens {
        let part = parts.last();
        let after_value = part
            .and_then(|part| part.last())
            .is_some_and(|last| !matches!(last, TokenTree::Punct(_)));
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => parts.push(Vec::new()),
            TokenTree::Ident(name) if after_value => {
                errors.at(&name, format!("a comma is missing before `{name}`"));
                parts.push(vec![name.into()]);
            }
            token => {
                if let Some(part) = parts.last_mut() {
                    part.push(token);
                }
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A field, or a field of a field: `order_id`, `order.id`, `0`, `0.id`.
pub(crate) struct FieldPath {
    members: Vec<Member>,
}

impl FieldPath {
    fn parse(tokens: &TokenStream) -> Option<Self> {
        let mut expr = syn::parse2::<Expr>(quote!(it.#tokens)).ok()?;
        let mut members = Vec::new();
        loop {
            match expr {
                Expr::Field(field) if field.attrs.is_empty() => {
                    members.push(field.member);
                    expr = *field.base;
                }
                Expr::Path(_) if !members.is_empty() => break,
                _ => return None,
            }
        }
        members.reverse();
        Some(Self { members })
    }

    /// The field of the event itself.
    pub(crate) fn first(&self) -> &Member {
        // `parse` gives no path without members.
        &self.members[0]
    }

    /// Where the path stands; of several tokens, the first.
    pub(crate) fn span(&self) -> Span {
        syn::spanned::Spanned::span(self.first())
    }
}

/// As it follows a value: `.order.id`.
impl ToTokens for FieldPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let (span, members) = (self.span(), &self.members);
        tokens.extend(quote::quote_spanned!(span=> #(.#members)*));
    }
}
