use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether something that all deliveries need is away: worth saying when it
/// goes, now and then while it is away, and once when it is back; and not with
/// every delivery.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Whether it was said, and not taken back. Spares the lock while all is well.
    told: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    /// When it was last said that it is away.
    last: Option<Instant>,
}

impl Outage {
    const INTERVAL: Duration = Duration::from_secs(10);

    /// It did not answer.
    pub(crate) fn failed(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let mut state = self.state();
        let recent = |last| now.saturating_duration_since(last) < Self::INTERVAL;
        if state.last.is_some_and(recent) {
            return;
        }
        state.last = Some(now);
        state.since.get_or_insert(now);
        self.told.store(true, Ordering::Relaxed);
        drop(state);
        say();
    }

    /// It answered. What is said knows how long it was away.
    pub(crate) fn answered(&self, say: impl FnOnce(Duration)) {
        if !self.told.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let Some(since) = state.since.take() else {
            return;
        };
        self.told.store(false, Ordering::Relaxed);
        drop(state);
        say(since.elapsed());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps in seconds: `-` failed, `+` answered; and what is said.
    async fn said(steps: &[(u64, char)]) -> Vec<String> {
        let outage = Outage::default();
        let start = Instant::now();
        let said = Mutex::new(Vec::new());
        let say = |text: String| said.lock().unwrap().push(text);
        for (at, step) in steps {
            tokio::time::sleep_until(start + Duration::from_secs(*at)).await;
            match step {
                '-' => outage.failed(|| say(format!("away at {at}"))),
                _ => outage.answered(|away| say(format!("back after {}", away.as_secs()))),
            }
        }
        said.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn is_told_when_it_begins_goes_on_and_ends() {
        let steps = [
            (0, '+'),
            (1, '-'),
            (2, '-'),
            (12, '-'),
            (15, '+'),
            (16, '+'),
        ];
        assert_eq!(
            said(&steps).await,
            ["away at 1", "away at 12", "back after 14"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn that_comes_and_goes_is_not_told_each_time() {
        let steps = [
            (0, '-'),
            (1, '+'),
            (2, '-'),
            (3, '+'),
            (4, '-'),
            (30, '-'),
            (31, '+'),
        ];
        let wanted = ["away at 0", "back after 1", "away at 30", "back after 1"];
        assert_eq!(said(&steps).await, wanted);
    }
}
