//! A row on its way in, and on its way out.

use tracing::Span;

use super::headers::Encoder;
use crate::publisher::Prepared;

/// How many buckets the keys are spread over; the migrations have the number too.
pub(super) const BUCKETS: i16 = 64;

/// A finished record, to be inserted.
#[derive(Debug)]
pub struct NewRow {
    pub(super) bucket: i16,
    pub(super) event_id: String,
    pub(super) event_type: &'static str,
    pub(super) topic: &'static str,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl NewRow {
    pub(super) fn new(event: &Prepared, span: &Span) -> Self {
        let mut headers = Encoder::default();
        event.each_header(span, |name, value| headers.put(name, value));
        let key = event.key();
        Self {
            bucket: bucket(key.unwrap_or(event.id().as_bytes())),
            event_id: event.id().to_owned(),
            event_type: event.event_type(),
            topic: event.topic(),
            key: key.map(<[u8]>::to_vec),
            headers: headers.finish(),
            payload: event.payload().to_vec(),
        }
    }
}

/// An unsent row, as a relay reads it.
#[derive(Debug, Clone)]
pub struct Row {
    pub(super) place: Place,
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// Refused before, and not to be sent.
    pub(super) blocked: bool,
}

/// Rows that keep an order among them: of one topic and key. One without a key
/// stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Line<'a> {
    topic: &'a str,
    key: Result<&'a [u8], i64>,
}

impl Row {
    pub(super) fn line(&self) -> Line<'_> {
        Line {
            topic: &self.topic,
            key: self.key.as_deref().ok_or(self.place.id),
        }
    }
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub(super) bucket: i16,
    pub(super) id: i64,
}

/// FNV-1a: stable over versions and machines, since old rows must stay where
/// new rows of their key go.
fn bucket(key: &[u8]) -> i16 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV alone are weak.
    ((hash ^ (hash >> 32)) % BUCKETS as u64) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_bucket_never_changes() {
        let some: Vec<i16> = ["", "a", "order-1", "order-2"]
            .map(|key| bucket(key.as_bytes()))
            .into();
        assert_eq!(some, [1, 0, 50, 11]);
    }

    #[test]
    fn keys_spread_over_all_buckets() {
        let mut counts = [0; BUCKETS as usize];
        for number in 0..6400 {
            counts[bucket(format!("order-{number}").as_bytes()) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (50..200).contains(count)),
            "{counts:?}"
        );
    }
}
