use std::time::Duration;

use super::{Delivery, HandlerError};

/// How a handler's deliveries are ordered, retried, deduplicated and bounded:
/// the options of `#[handler]` as values.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Policy {
    pub group: Option<&'static str>,
    pub order: Order,
    pub retry: Retry,
    pub dedup: Option<Dedup>,
    pub timeout: Option<Duration>,
    pub concurrency: Option<usize>,
    pub dead_letter_topic: Option<&'static str>,
}

impl Policy {
    /// What a handler without options gets.
    pub const DEFAULT: Policy = Policy {
        group: None,
        order: Order::Key,
        retry: Retry::DEFAULT,
        dedup: None,
        timeout: None,
        concurrency: None,
        dead_letter_topic: None,
    };
}

/// Which deliveries of a handler wait for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Events with the same key, in the order of their partition. Events
    /// without a key wait for nothing. The default.
    Key,
    /// All events of a partition.
    Partition,
    /// None.
    None,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Key => "key",
            Order::Partition => "partition",
            Order::None => "none",
        })
    }
}

/// When a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often the handler runs in all, the first time included; at least 1.
    pub attempts: u32,
    /// Upper bound of the wait before the second attempt; it doubles from there.
    pub min: Duration,
    /// Upper bound of every wait.
    pub max: Duration,
    /// How the wait is spread below its bound.
    pub jitter: Jitter,
}

/// How a wait is spread, so that what failed together does not return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything between zero and the bound. The default.
    Full,
    /// The bound itself.
    None,
}

impl Retry {
    /// Five attempts, 100 ms to 10 s apart, full jitter.
    pub const DEFAULT: Retry = Retry {
        attempts: 5,
        min: Duration::from_millis(100),
        max: Duration::from_secs(10),
        jitter: Jitter::Full,
    };

    /// The bound of the wait after the given failed attempt (from 1).
    pub(crate) fn bound(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// The wait after the given failed attempt; `random` is in `0.0..1.0`.
    pub(crate) fn wait(&self, attempt: u32, random: f64) -> Duration {
        match self.jitter {
            Jitter::Full => self.bound(attempt).mul_f64(random),
            Jitter::None => self.bound(attempt),
        }
    }
}

/// How repeated deliveries of one event are recognised.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct Dedup {
    /// How long a handled event is remembered.
    pub ttl: Duration,
    /// Where given, events are the same when this says so, whatever their ids.
    pub key: Option<ContentKey>,
}

/// Takes from an event what identifies it.
pub(crate) type ContentKey = fn(&Delivery) -> Result<Vec<u8>, HandlerError>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_stays_under_its_bound_and_the_bound_only_grows(
            min in 0u64..10_000, extra in 0u64..1_000_000, attempt in 1u32..1000, random in 0.0f64..1.0,
        ) {
            let retry = Retry {
                attempts: 5,
                min: Duration::from_millis(min),
                max: Duration::from_millis(min + extra),
                jitter: Jitter::Full,
            };
            prop_assert!(retry.wait(attempt, random) <= retry.bound(attempt));
            prop_assert!(retry.bound(attempt) <= retry.bound(attempt + 1));
            prop_assert!(retry.bound(attempt) <= retry.max);
        }
    }
}
