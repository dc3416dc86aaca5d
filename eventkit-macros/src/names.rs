//! What may stand as a name, and which name was probably meant.

/// Longest name that Kafka takes for a topic.
const LONGEST: usize = 249;

/// The known name that is most like the given one, where any is like it.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// `: did you mean …`, or nothing.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// `` `a`, `b` and `c` ``
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Why Kafka would not take `name` for a topic; `what` says what it names.
pub(crate) fn kafka_fault(what: &str, name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Some(format!("{what} cannot be empty"));
    }
    if name == "." || name == ".." {
        return Some(format!("{what} cannot be `{name}`: Kafka reserves it"));
    }
    if let Some(illegal) = name.chars().find(|c| !legal(*c)) {
        let legal: String = name
            .chars()
            .map(|c| if legal(c) { c } else { '-' })
            .collect();
        return Some(format!(
            "{what} is made of the letters a to z and A to Z, digits, `.`, `_` and `-`, \
             and {illegal:?} is none of these: write `\"{legal}\"`, say"
        ));
    }
    too_long(what, name)
}

/// Why `name` would not do as the type of an event.
pub(crate) fn event_type_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(
            "the type of an event cannot be empty: write `\"OrderPlaced.v1\"`, say".into(),
        );
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let without: String = name
            .chars()
            .filter(|c| !c.is_whitespace() && !c.is_control())
            .collect();
        return Some(format!(
            "the type of an event has no spaces and no control characters: write `\"{without}\"`, say"
        ));
    }
    too_long("the type of an event", name)
}

fn too_long(what: &str, name: &str) -> Option<String> {
    let length = name.len();
    (length > LONGEST)
        .then(|| format!("{what} has at most {LONGEST} characters, and this one has {length}"))
}

/// Whether `name` ends in `.v` and a positive number, with something before.
pub(crate) fn is_versioned(name: &str) -> bool {
    name.rsplit_once(".v").is_some_and(|(base, version)| {
        !base.is_empty()
            && version.bytes().all(|b| b.is_ascii_digit())
            && !version.is_empty()
            && !version.starts_with('0')
    })
}

/// The name as it would be with a version: `Paid`, `Paid.1`, `Paid.V1`, `Paid.v0`
/// are all `Paid.v1`.
pub(crate) fn with_version(name: &str) -> String {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let version = name[base.len()..].trim_start_matches('0');
    let unmarked = base.strip_suffix(['v', 'V']).unwrap_or(base);
    let bare = unmarked.trim_end_matches(['.', '-', '_']);
    match (bare.is_empty(), bare.len() < unmarked.len()) {
        (true, _) => "OrderPlaced.v1".to_owned(),
        (false, true) if !version.is_empty() => format!("{bare}.v{version}"),
        (false, true) => format!("{bare}.v1"),
        (false, false) => format!("{name}.v1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_positive_number_after_dot_v() {
        for good in ["Paid.v1", "Paid.v20", "shop.Paid.v1"] {
            assert!(is_versioned(good), "{good}");
        }
        for bad in [
            "", "Paid", "Paid.v", "Paid.v0", "Paid.v01", "Paid.1", "Paid.V1", ".v1", "Paid.v1a",
        ] {
            assert!(!is_versioned(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_proposed_has_a_version() {
        for (given, proposed) in [
            ("Paid", "Paid.v1"),
            ("Paid.", "Paid.v1"),
            ("Paid.2", "Paid.v2"),
            ("Paid.V2", "Paid.v2"),
            ("Paid-v2", "Paid.v2"),
            ("Paid.v0", "Paid.v1"),
            ("Paid.v03", "Paid.v3"),
            ("Order2", "Order2.v1"),
            (".v1", "OrderPlaced.v1"),
            ("", "OrderPlaced.v1"),
        ] {
            assert_eq!(with_version(given), proposed);
            assert!(is_versioned(proposed));
        }
    }

    #[test]
    fn names_that_kafka_refuses_are_told_apart() {
        assert_eq!(kafka_fault("a topic", "orders.v1_a-B"), None);
        assert_eq!(kafka_fault("a topic", &"x".repeat(249)), None);
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(kafka_fault("a topic", bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn only_a_name_that_is_like_it_is_proposed() {
        let known = ["event", "retry", "dedup", "timeout", "concurrency"];
        assert_eq!(nearest("retries", known), Some("retry"));
        assert_eq!(nearest("tiemout", known), Some("timeout"));
        assert_eq!(nearest("colour", known), None);
    }
}
