//! What goes wrong, decided by seed and order number alone: every process and
//! every attempt decides the same.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Deserializer};

use crate::events::OrderId;
use crate::sync::lock;

/// Which faults an order meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Fault {
    /// Its `OrderPlaced` is published twice.
    Twice = 1,
    /// Its `OrderPlaced` has a number as text.
    InText,
    /// Inventory's handler panics at the first attempt.
    Panic,
    /// Inventory cannot place it until that is mended.
    NoShelf,
    /// The payment gateway is busy for an attempt or two.
    Busy,
    /// The gateway refuses the account until that is mended.
    Locked,
    /// The customer's card is declined.
    Declined,
    /// The mail server hangs up at the first attempt.
    HangsUp,
}

impl Fault {
    /// One order of so many.
    fn one_in(self) -> u64 {
        match self {
            Self::Twice | Self::Declined => 20,
            Self::Busy => 12,
            Self::HangsUp => 50,
            Self::Panic | Self::Locked => 300,
            Self::NoShelf => 400,
            Self::InText => 500,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Faults {
    seed: u64,
    calm: bool,
    /// The runs whose faults are mended.
    mended: Arc<Mutex<HashSet<u32>>>,
}

/// What the payment gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    Charges,
    Declines,
    Busy,
    Locked,
}

impl Faults {
    pub(crate) fn new(seed: u64, calm: bool) -> Self {
        Self {
            seed,
            calm,
            mended: Arc::default(),
        }
    }

    pub(crate) fn mend(&self, run: u32) {
        lock(&self.mended).insert(run);
        TEXT_IS_READ.store(true, Ordering::Relaxed);
    }

    pub(crate) fn published_twice(&self, order: OrderId) -> bool {
        self.meets(order, Fault::Twice)
    }

    pub(crate) fn published_in_text(&self, order: OrderId) -> bool {
        self.meets(order, Fault::InText)
    }

    pub(crate) fn inventory_panics(&self, order: OrderId, attempt: u32) -> bool {
        attempt == 1 && self.meets(order, Fault::Panic)
    }

    pub(crate) fn has_no_shelf(&self, order: OrderId) -> bool {
        self.meets(order, Fault::NoShelf) && !self.is_mended(order)
    }

    pub(crate) fn gateway(&self, order: OrderId, attempt: u32) -> Gateway {
        let busy_attempts = 1 + u32::from(self.dice(order, Fault::Busy) & 1 << 40 != 0);
        if self.meets(order, Fault::Locked) && !self.is_mended(order) {
            Gateway::Locked
        } else if self.meets(order, Fault::Busy) && attempt <= busy_attempts {
            Gateway::Busy
        } else if self.meets(order, Fault::Declined) {
            Gateway::Declines
        } else {
            Gateway::Charges
        }
    }

    pub(crate) fn mail_server_hangs_up(&self, order: OrderId, attempt: u32) -> bool {
        attempt == 1 && self.meets(order, Fault::HangsUp)
    }

    /// An order with a story: its event comes twice, the gateway is busy, and
    /// it is charged in the end.
    pub(crate) fn is_eventful(&self, order: OrderId) -> bool {
        let ends_badly = [
            Fault::InText,
            Fault::NoShelf,
            Fault::Locked,
            Fault::Declined,
        ];
        self.meets(order, Fault::Twice)
            && self.meets(order, Fault::Busy)
            && !ends_badly.iter().any(|fault| self.meets(order, *fault))
    }

    fn is_mended(&self, order: OrderId) -> bool {
        lock(&self.mended).contains(&order.run)
    }

    fn meets(&self, order: OrderId, fault: Fault) -> bool {
        !self.calm && self.dice(order, fault).is_multiple_of(fault.one_in())
    }

    /// SplitMix64 over seed, order and fault.
    fn dice(&self, order: OrderId, fault: Fault) -> u64 {
        let mut z = self
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(order.number) << 8)
            .wrapping_add(fault as u64)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Whether this process runs the mended decoder.
static TEXT_IS_READ: AtomicBool = AtomicBool::new(false);

/// Reads a number; once the decoder is mended, a number written as text too.
pub(crate) fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(u32),
        Text(String),
    }

    if !TEXT_IS_READ.load(Ordering::Relaxed) {
        return u32::deserialize(deserializer);
    }
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// Keeps the injected panics, which are caught and retried, off the terminal.
pub(crate) fn silence_injected_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<&str>();
        if !said.is_some_and(|text| text.starts_with("injected")) {
            report(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u32) -> OrderId {
        OrderId { run: 9, number }
    }

    #[test]
    fn a_seed_always_decides_the_same() {
        let (a, b) = (Faults::new(7, false), Faults::new(7, false));
        assert!((1..5000).all(|n| a.gateway(order(n), 1) == b.gateway(order(n), 1)));
        assert!(
            (1..5000)
                .any(|n| { a.gateway(order(n), 1) != Faults::new(8, false).gateway(order(n), 1) })
        );
    }

    #[test]
    fn about_one_of_twenty_comes_twice() {
        let faults = Faults::new(1, false);
        let twice = (1..=10_000)
            .filter(|n| faults.published_twice(order(*n)))
            .count();
        assert!((400..600).contains(&twice), "{twice}");
    }

    #[test]
    fn a_busy_gateway_passes_and_a_locked_account_is_mended() {
        let faults = Faults::new(1, false);
        let locked: Vec<u32> = (1..=10_000)
            .filter(|n| faults.gateway(order(*n), 4) == Gateway::Locked)
            .collect();
        assert!(!locked.is_empty());
        assert!((1..=10_000).all(|n| faults.gateway(order(n), 4) != Gateway::Busy));
        faults.mend(9);
        assert!(
            locked
                .iter()
                .all(|n| faults.gateway(order(*n), 4) != Gateway::Locked)
        );
    }
}
