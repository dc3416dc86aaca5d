use tokio::sync::watch;

/// Tells relays that there may be rows. A hint only: it may come too early, when
/// the transaction is not committed yet, or not at all.
#[derive(Debug, Clone)]
pub struct Wake {
    hints: watch::Sender<()>,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self {
            hints: watch::Sender::new(()),
        }
    }

    pub(crate) fn hint(&self) {
        self.hints.send_replace(());
    }

    /// Sees every hint from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.hints.subscribe()
    }
}
