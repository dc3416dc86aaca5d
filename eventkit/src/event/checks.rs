//! Checks that generated code makes while it is compiled.

/// The event type among a handler's parameters, which must be the named one.
///
/// The message is what the user reads: a constant's evaluation stops with it.
pub const fn handler_event(named: &'static str, parameters: &[Option<&'static str>]) {
    let mut found: Option<&'static str> = None;
    let mut i = 0;
    while i < parameters.len() {
        if let Some(event) = parameters[i] {
            assert!(
                found.is_none(),
                "a handler takes one event, and this one has two parameters that are events"
            );
            found = Some(event);
        }
        i += 1;
    }
    let Some(found) = found else {
        panic!("a handler takes its event as a parameter, and this one has none");
    };
    if !same(named, found) {
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
