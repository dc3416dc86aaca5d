//! Event ids: new ones, and those derived from what caused them.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The id of an event that starts a flow: UUIDv7, ordered by time.
pub(crate) fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// The id of an event that a handler publishes: the same for every delivery of
/// the same cause, so that whatever is published twice is known as a duplicate.
///
/// A name-based UUIDv8 over SHA-256, as sketched in RFC 9562, appendix B.2. The
/// parts are length-prefixed, so no two lists of parts read the same.
pub(crate) fn derived(cause_source: &str, cause_id: &str, handler: &str, position: &str) -> Uuid {
    let mut hash = Sha256::new();
    for part in [
        "eventkit.derived.v1",
        cause_source,
        cause_id,
        handler,
        position,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_stable_and_differs_in_every_part() {
        let base = derived("shop", "1", "inventory/reserve", "0");
        assert_eq!(base, derived("shop", "1", "inventory/reserve", "0"));
        assert_eq!(base.get_version_num(), 8);
        for other in [
            derived("shops", "1", "inventory/reserve", "0"),
            derived("shop", "2", "inventory/reserve", "0"),
            derived("shop", "1", "inventory/release", "0"),
            derived("shop", "1", "inventory/reserve", "1"),
            derived("sho", "p1", "inventory/reserve", "0"),
        ] {
            assert_ne!(base, other);
        }
    }
}
