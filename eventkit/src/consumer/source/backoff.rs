use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// When to ask again for what was not answered: ever later, up to a bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    wait: Duration,
    due: Option<Instant>,
}

impl Backoff {
    /// Due at once.
    pub(super) fn new() -> Self {
        Self {
            wait: FIRST,
            due: None,
        }
    }

    pub(super) fn is_due(self, now: Instant) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// After one more try without an answer.
    pub(super) fn longer(self, now: Instant) -> Self {
        Self {
            wait: (self.wait * 2).min(LONGEST),
            due: Some(now + self.wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_up_to_their_bound() {
        let mut now = Instant::now();
        let mut backoff = Backoff::new();
        assert!(backoff.is_due(now));
        for wait in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = Duration::from_millis(wait);
            backoff = backoff.longer(now);
            assert!(!backoff.is_due(now + wait - Duration::from_millis(1)));
            now += wait;
            assert!(backoff.is_due(now));
        }
    }
}
