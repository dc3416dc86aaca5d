//! Checks that generated code makes while it is compiled.

use super::{Event, EventKind, Kind};

/// What an event's type declares, as a value.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Its name on the wire.
    pub event_type: &'static str,
    /// Its topic; empty for a domain event.
    pub topic: &'static str,
    /// How far it travels.
    pub kind: Kind,
}

impl Declared {
    pub(crate) const fn by<E: Event>() -> Self {
        Self {
            event_type: E::TYPE,
            topic: E::TOPIC,
            kind: E::Kind::KIND,
        }
    }

    /// Among the parameters of a handler, the first that is an event.
    pub const fn among(parameters: &[Option<Self>]) -> Self {
        let mut i = 0;
        while i < parameters.len() {
            if let Some(event) = parameters[i] {
                return event;
            }
            i += 1;
        }
        // Never reached at run time: `handler_event` refuses to compile it.
        Self {
            event_type: "",
            topic: "",
            kind: Kind::Integration,
        }
    }
}

/// A handler has one parameter that is an event, and it is the named one.
///
/// The message is what the user reads: a constant's evaluation stops with it.
#[track_caller]
pub const fn handler_event(named: &'static str, parameters: &[Option<Declared>]) {
    let mut events = 0;
    let mut i = 0;
    while i < parameters.len() {
        if parameters[i].is_some() {
            events += 1;
        }
        i += 1;
    }
    if events == 0 {
        panic!("this handler has no parameter that is an event: take the event it names");
    }
    if events > 1 {
        panic!("a handler takes one event, and this one takes several: write a handler for each");
    }
    let found = Declared::among(parameters).event_type;
    // A type whose derive failed has no name, and its own error is enough.
    if !found.is_empty() && !same(named, found) {
        const_panic_two_names(named, found);
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Constants cannot format, so the sentence is put together byte by byte.
#[track_caller]
const fn const_panic_two_names(named: &str, found: &str) -> ! {
    let mut text = [0u8; 512];
    let mut at = 0;
    at = put(&mut text, at, "this handler says `");
    at = put(&mut text, at, named);
    at = put(&mut text, at, "`, but its event parameter is `");
    at = put(&mut text, at, found);
    at = put(&mut text, at, "`: write `event = \"");
    at = put(&mut text, at, found);
    at = put(&mut text, at, "\"` or change the parameter");
    let (text, _) = text.split_at(at);
    match std::str::from_utf8(text) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("this handler names another event than its parameter"),
    }
}

const fn put(text: &mut [u8; 512], mut at: usize, part: &str) -> usize {
    let part = part.as_bytes();
    let mut i = 0;
    while i < part.len() && at < text.len() {
        text[at] = part[i];
        i += 1;
        at += 1;
    }
    at
}
