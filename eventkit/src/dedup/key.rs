use sha2::{Digest, Sha256};

/// Which event, for which handler: group, handler, and the event's source and
/// id (or what `dedup(key = …)` says).
///
/// Two handlers of one event have two keys, so neither hides it from the other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DedupKey(Box<str>);

/// Longer keys are replaced by their hash, so that no producer can fill a store
/// with long ids.
const LONGEST: usize = 200;

impl DedupKey {
    /// The key of an event by its source and id.
    pub fn new(group: &str, handler: &str, source: &str, id: &str) -> Self {
        Self::from_parts(&[group, handler, "id", source, id])
    }

    /// The key of an event by a part of its content.
    pub fn by_content(group: &str, handler: &str, content: &[u8]) -> Self {
        let content: String = content.escape_ascii().to_string();
        Self::from_parts(&[group, handler, "key", &content])
    }

    /// As text, for stores.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    // Lengths go in front, so that no two lists of parts read the same.
    fn from_parts(parts: &[&str]) -> Self {
        let mut text = String::with_capacity(96);
        for part in parts {
            if !text.is_empty() {
                text.push('|');
            }
            text.push_str(&part.len().to_string());
            text.push(':');
            text.push_str(part);
        }
        if text.len() > LONGEST {
            let digest = Sha256::digest(text.as_bytes());
            text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        Self(text.into())
    }
}

impl std::fmt::Debug for DedupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_one_another() {
        assert_ne!(
            DedupKey::new("a", "b", "c", "d"),
            DedupKey::new("a", "b", "cd", "")
        );
        assert_ne!(
            DedupKey::new("a|1:b", "c", "s", "i"),
            DedupKey::new("a", "b|1:c", "s", "i")
        );
        assert_ne!(
            DedupKey::new("a", "b", "", "x"),
            DedupKey::by_content("a", "b", b"x")
        );
    }

    #[test]
    fn long_ids_are_hashed() {
        let long = "x".repeat(10_000);
        let key = DedupKey::new("group", "handler", "source", &long);
        assert_eq!(key.as_str().len(), 64);
        assert_ne!(
            key,
            DedupKey::new("group", "handler", "source", &"x".repeat(9_999))
        );
    }
}
