//! What every handler and every loop reports to: were all events delivered,
//! each once, in order for each key, and how long did it take?
//!
//! Both sides of a comparison pay for it alike: one bit and one number an event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::event::OrderPlaced;
use crate::load::Load;

/// So long without a delivery, and none will come any more.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Check {
    inner: Arc<Inner>,
}

struct Inner {
    seen: Vec<AtomicU64>,
    /// For each key the sequence number that no later event may be below.
    next: Vec<AtomicU64>,
    wanted: u64,
    delivered: AtomicU64,
    duplicates: AtomicU64,
    disorder: AtomicU64,
    first: OnceLock<Instant>,
    last: OnceLock<Instant>,
    done: Notify,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub lost: u64,
    pub duplicates: u64,
    pub disorder: u64,
    /// From the first delivery to the last.
    pub took: Duration,
}

impl Check {
    /// Wants every event of the load once, but for those that cannot be handled.
    pub fn new(load: &Load) -> Self {
        let zeros = |number: usize| (0..number).map(|_| AtomicU64::new(0)).collect();
        Self {
            inner: Arc::new(Inner {
                seen: zeros(load.events.div_ceil(64) as usize),
                next: zeros(load.keys as usize),
                wanted: load.events - load.poisoned(),
                delivered: AtomicU64::new(0),
                duplicates: AtomicU64::new(0),
                disorder: AtomicU64::new(0),
                first: OnceLock::new(),
                last: OnceLock::new(),
                done: Notify::new(),
            }),
        }
    }

    /// A delivery begins: for handlers that wait, before they do.
    pub fn begun(&self) {
        self.inner.first.get_or_init(Instant::now);
    }

    /// An event is handled. `true` with the last one.
    pub fn handled(&self, order: &OrderPlaced) -> bool {
        let inner = &*self.inner;
        self.begun();
        let bit = 1 << (order.number % 64);
        let seen = inner.seen[(order.number / 64) as usize].fetch_or(bit, Ordering::Relaxed);
        if seen & bit != 0 {
            inner.duplicates.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let next = inner.next[order.customer as usize].swap(order.sequence + 1, Ordering::Relaxed);
        if next > order.sequence {
            inner.disorder.fetch_add(1, Ordering::Relaxed);
        }
        let delivered = inner.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        if delivered == inner.wanted {
            let _ = inner.last.set(Instant::now());
            inner.done.notify_one();
        }
        delivered == inner.wanted
    }

    pub fn delivered(&self) -> u64 {
        self.inner.delivered.load(Ordering::Relaxed)
    }

    pub fn is_done(&self) -> bool {
        self.inner.last.get().is_some()
    }

    /// Waits for the last event; `false` when nothing was delivered for a while.
    pub async fn done(&self) -> bool {
        loop {
            let before = self.delivered();
            tokio::select! {
                () = self.inner.done.notified() => return true,
                () = tokio::time::sleep(PATIENCE) => {}
            }
            if self.is_done() || self.delivered() == before {
                return self.is_done();
            }
        }
    }

    /// How long ago the first delivery began.
    pub fn since_first(&self) -> Duration {
        self.inner
            .first
            .get()
            .map_or(Duration::ZERO, Instant::elapsed)
    }

    pub fn outcome(&self) -> Outcome {
        let inner = &*self.inner;
        let first = inner.first.get().copied().unwrap_or_else(Instant::now);
        let last = inner.last.get().copied().unwrap_or_else(Instant::now);
        Outcome {
            lost: inner.wanted.saturating_sub(self.delivered()),
            duplicates: inner.duplicates.load(Ordering::Relaxed),
            disorder: inner.disorder.load(Ordering::Relaxed),
            took: last.duration_since(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> Check {
        Check::new(&Load::new("test", 3, 2))
    }

    fn order(customer: u32, number: u64, sequence: u64) -> OrderPlaced {
        OrderPlaced::new(customer, number, sequence, 0)
    }

    #[test]
    fn all_once_and_in_order_is_well() {
        let check = check();
        assert!(!check.handled(&order(0, 0, 0)));
        assert!(!check.handled(&order(1, 2, 0)));
        assert!(check.handled(&order(0, 1, 1)));
        let outcome = check.outcome();
        assert_eq!(
            (outcome.lost, outcome.duplicates, outcome.disorder),
            (0, 0, 0)
        );
    }

    #[test]
    fn loss_repetition_and_disorder_are_counted() {
        let check = check();
        check.handled(&order(0, 1, 1));
        check.handled(&order(0, 0, 0));
        check.handled(&order(0, 0, 0));
        let outcome = check.outcome();
        assert_eq!(
            (outcome.lost, outcome.duplicates, outcome.disorder),
            (1, 1, 1)
        );
    }
}
