//! What every service does when the operators have mended what was broken: it
//! sends its dead letters back.

use std::sync::Arc;

use eventkit::Running;
use eventkit::prelude::*;
use tokio::sync::Notify;

use crate::events::FaultsMended;
use crate::faults::Faults;

/// Brings the news from the handler to the task that replays.
#[derive(Debug, Clone)]
pub(crate) struct Mending {
    faults: Faults,
    news: Arc<Notify>,
}

impl Mending {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            news: Arc::default(),
        }
    }
}

#[handler(event = "FaultsMended.v1")]
pub(super) async fn mend_faults(mended: FaultsMended, State(mending): State<Mending>) {
    mending.faults.mend(mended.run);
    mending.news.notify_one();
}

/// Replays the App's dead letters each time that something was mended.
pub(super) async fn replay_when_mended(running: Arc<Running>, mending: Mending) {
    loop {
        mending.news.notified().await;
        match eventkit::dlq::replay(&running).await {
            Ok(report) => tracing::info!(report.replayed, report.refused, "dead letters sent back"),
            Err(error) => tracing::error!(%error, "dead letters were not sent back"),
        }
    }
}
