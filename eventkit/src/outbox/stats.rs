use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The rate is that of at least this long.
const WINDOW: Duration = Duration::from_secs(10);

/// How an outbox stands; see [`Outbox::stats`](super::Outbox::stats).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Committed events that are not published yet, the blocked ones included.
    pub backlog: u64,
    /// How long ago the oldest of them was written.
    pub oldest: Option<Duration>,
    /// Events that the broker refuses; those behind them are not counted here.
    pub blocked: u64,
    /// Events that the relays of this process have published.
    pub published: u64,
    /// Events a second that they publish, over the last ten seconds or so.
    pub rate: f64,
}

/// What the relays of one process have published.
#[derive(Debug)]
pub(super) struct Counters {
    published: AtomicU64,
    marks: Mutex<Marks>,
}

/// Two moments, so that one of them is always a window ago.
#[derive(Debug, Clone, Copy)]
struct Marks {
    older: (Instant, u64),
    newer: (Instant, u64),
}

impl Counters {
    pub(super) fn new() -> Self {
        let start = (Instant::now(), 0);
        Self {
            published: AtomicU64::new(0),
            marks: Mutex::new(Marks {
                older: start,
                newer: start,
            }),
        }
    }

    pub(super) fn add(&self, published: usize) {
        let published = published as u64;
        let total = self.published.fetch_add(published, Ordering::Relaxed) + published;
        self.move_marks(total);
    }

    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    pub(super) fn rate(&self) -> f64 {
        let total = self.published();
        let (since, then) = self.move_marks(total).older;
        let seconds = since.elapsed().as_secs_f64();
        if seconds > 0.0 {
            (total - then) as f64 / seconds
        } else {
            0.0
        }
    }

    fn move_marks(&self, total: u64) -> Marks {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.newer.0.elapsed() >= WINDOW {
            marks.older = marks.newer;
            marks.newer = (Instant::now(), total);
        }
        *marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds() {
        let counters = Counters::new();
        for _ in 0..30 {
            tokio::time::advance(Duration::from_secs(1)).await;
            counters.add(100);
        }
        assert_eq!(counters.published(), 3000);
        let rate = counters.rate();
        assert!((95.0..=105.0).contains(&rate), "{rate}");
        for _ in 0..30 {
            tokio::time::advance(Duration::from_secs(1)).await;
            counters.add(0);
        }
        assert_eq!(counters.rate(), 0.0);
    }
}
