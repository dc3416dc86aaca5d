//! The five services. Each is an App with a consumer group and a database of its
//! own (Analytics, which counts in memory, has none), and they know one another by
//! their events only.

mod analytics;
mod inventory;
mod notification;
mod operations;
mod order;
mod payment;

use std::sync::Arc;
use std::time::Duration;

use eventkit::inbox::Inbox;
use eventkit::outbox::Relay;
use eventkit::{HandlerStats, Running};
use tokio::task::JoinHandle;

use super::tables::Store;
use crate::args::ServiceName;
use crate::faults::Faults;
use crate::figures::{Timings, Totals};
use crate::platform::Platform;
use crate::report::Row;
use analytics::Sales;
use operations::Mending;

/// How long the events of a service that was killed wait for its successor.
const LEASE: Duration = Duration::from_secs(3);

/// A service at work.
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    running: Arc<Running>,
    replays: JoinHandle<()>,
    timings: Timings,
    sales: Sales,
}

impl Service {
    pub(crate) async fn start(
        name: ServiceName,
        platform: &Platform,
        store: Option<&Store>,
        faults: Faults,
        units_at_start: u32,
    ) -> eventkit::Result<Self> {
        let timings = Timings::new();
        let sales = Sales::default();
        let mending = Mending::new(faults.clone());
        let mut app = platform.app(name.as_str());
        if let Some(Store { outbox, .. }) = store {
            // Takes effect in the service's database, and publishes from there.
            let relay = Relay::new(outbox).lease(LEASE);
            app = app.inbox(Inbox::new(outbox)).outbox(relay);
        }
        let (mended, timed) = (mending.clone(), timings.clone());
        let app = match name {
            ServiceName::Order => order::app(app, mended, timed),
            ServiceName::Inventory => inventory::app(app, units_at_start, faults, mended, timed),
            ServiceName::Payment => payment::app(app, faults, mended, timed),
            ServiceName::Notification => notification::app(app, faults, mended, timed),
            ServiceName::Analytics => analytics::app(app, sales.clone(), mended, timed),
        };
        let running = Arc::new(app.start().await?);
        running.ready().await?;
        Ok(Self {
            name,
            replays: tokio::spawn(operations::replay_when_mended(running.clone(), mending)),
            running,
            timings,
            sales,
        })
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    pub(crate) fn row(&self) -> Row {
        let is_analytics = self.name == ServiceName::Analytics;
        Row {
            service: self.name,
            totals: self.totals(),
            timings: self.timings.clone(),
            remark: is_analytics.then(|| self.sales.to_string()),
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stats in self
            .running
            .stats()
            .iter()
            .filter(|stats| !is_bookkeeping(stats))
        {
            totals.handled += stats.handled;
            totals.duplicates += stats.duplicates;
            totals.retries += stats.retries;
            totals.dead_letters += stats.dead_letters;
        }
        totals
    }

    /// Everything that its handlers took.
    pub(crate) fn deliveries(&self) -> u64 {
        let stats = self.running.stats();
        stats
            .iter()
            .map(|stats| stats.handled + stats.duplicates + stats.dead_letters)
            .sum()
    }

    pub(crate) async fn shutdown(self) -> eventkit::Result<()> {
        self.replays.abort();
        // The task holds a share of the App until it has ended.
        let _ = self.replays.await;
        match Arc::into_inner(self.running) {
            Some(running) => running.shutdown().await,
            None => Ok(()),
        }
    }
}

fn is_bookkeeping(stats: &HandlerStats) -> bool {
    stats.handler == "mend_faults"
}
