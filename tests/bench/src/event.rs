//! The event of every workload, some 440 bytes as JSON.

use eventkit::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "bench-orders", key = customer_id)]
pub struct OrderPlaced {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    /// The number of the customer, which is the key, from 0.
    pub customer: u32,
    /// The number of the event in its topic, from 0.
    pub number: u64,
    /// The number of the event among those of its key, from 0.
    pub sequence: u64,
    /// When it was sent, in microseconds since 1970.
    pub sent_us: u64,
    pub currency: String,
    pub lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub sku: String,
    pub quantity: u32,
    pub price_cents: u64,
    pub discount_cents: u64,
}

impl OrderPlaced {
    /// The same arguments make the same event.
    pub fn new(customer: u32, number: u64, sequence: u64, padding: usize) -> Self {
        let line = |index: u64| Line {
            sku: format!("SKU-{:06}", (number * 7 + index) % 1_000_000),
            quantity: (number + index) as u32 % 9 + 1,
            price_cents: 1_000 + (number * 31 + index) % 9_000,
            discount_cents: (number + index) % 100,
        };
        Self {
            order_id: id(1, number),
            customer_id: id(2, u64::from(customer)),
            customer,
            number,
            sequence,
            sent_us: 1_700_000_000_000_000 + number,
            currency: "EUR".into(),
            lines: (0..3).map(line).collect(),
            note: "n".repeat(padding),
        }
    }
}

/// A UUID that looks like any other.
fn id(space: u64, number: u64) -> Uuid {
    let mixed = mix(number ^ (space << 56));
    let bits = (u128::from(mixed) << 64) | u128::from(mix(mixed));
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}

/// SplitMix64: one number becomes another, evenly spread.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_about_440_bytes() {
        let bytes = serde_json::to_vec(&OrderPlaced::new(4711, 123_456, 12, 0)).unwrap();
        assert!((420..=460).contains(&bytes.len()), "{}", bytes.len());
    }
}
