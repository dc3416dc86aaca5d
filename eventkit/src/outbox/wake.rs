use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use super::relay::Leases;

/// Tells relays that there may be rows. A hint only: it may come too early, when
/// the transaction is not committed yet, or not at all.
#[derive(Debug, Clone)]
pub struct Wake {
    hints: watch::Sender<()>,
    /// What the relays of this process lease.
    leases: Arc<Mutex<Vec<Weak<Leases>>>>,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self {
            hints: watch::Sender::new(()),
            leases: Arc::default(),
        }
    }

    pub(crate) fn hint(&self) {
        self.hints.send_replace(());
    }

    /// Sees every hint from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.hints.subscribe()
    }

    pub(super) fn add_relay(&self, leases: &Arc<Leases>) {
        let mut all = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|leases| leases.strong_count() > 0);
        all.push(Arc::downgrade(leases));
    }

    /// Whether a hint is seen by who publishes rows of all of these buckets.
    pub(super) fn reaches(&self, buckets: impl Iterator<Item = i16> + Clone) -> bool {
        let all = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut relays = all.iter().filter_map(Weak::upgrade);
        relays.any(|leases| leases.hold(buckets.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_reaches_the_buckets_that_a_relay_of_this_process_leases() {
        let wake = Wake::new();
        assert!(!wake.reaches([1].into_iter()), "no relay");
        let leases = Arc::new(Leases::new(2));
        wake.add_relay(&leases);
        assert!(!wake.reaches([1].into_iter()), "a relay without leases");
        leases.hold_for_a_minute(&[1, 2]);
        assert!(wake.reaches([1, 2].into_iter()));
        assert!(!wake.reaches([1, 3].into_iter()), "3 is another relay's");
        drop(leases);
        assert!(!wake.reaches([1].into_iter()), "the relay is gone");
    }
}
