//! The five services. Each is an App with a consumer group of its own, and they
//! know one another by their events only.

mod analytics;
mod inventory;
mod notification;
mod operations;
mod order;
mod payment;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use eventkit::{HandlerStats, Metadata, Running};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use crate::args::ServiceName;
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::platform::Platform;
use crate::sync::lock;
use analytics::Sales;
use operations::Mending;

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
        faults: Faults,
        units_at_start: u32,
        ledger: &Ledger,
    ) -> eventkit::Result<Self> {
        let timings = Timings::new();
        let sales = Sales::default();
        let mending = Mending::new(faults.clone());
        let app = platform.app(name.as_str());
        let (mended, timed) = (mending.clone(), timings.clone());
        let app = match name {
            ServiceName::Order => order::app(app, ledger.clone(), mended, timed),
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

    pub(crate) fn timings(&self) -> &Timings {
        &self.timings
    }

    /// What Analytics has to say.
    pub(crate) fn remark(&self) -> Option<String> {
        (self.name == ServiceName::Analytics).then(|| self.sales.to_string())
    }

    pub(crate) fn totals(&self) -> Totals {
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

    /// Everything that its handlers took, the books' own included.
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

/// Handlers that only write down what others did would blur the table.
fn is_bookkeeping(stats: &HandlerStats) -> bool {
    stats.handler.starts_with("book_") || stats.handler == "mend_faults"
}

/// What a service's handlers did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) handled: u64,
    pub(crate) duplicates: u64,
    pub(crate) retries: u64,
    pub(crate) dead_letters: u64,
}

/// How long events took from their publication to the end of their handler.
#[derive(Debug, Clone)]
pub(crate) struct Timings(Arc<Mutex<Histogram<u64>>>);

impl Timings {
    fn new() -> Self {
        // Up to an hour, in milliseconds, to one part in a hundred.
        let histogram = Histogram::new_with_max(3_600_000, 2);
        Self(Arc::new(Mutex::new(histogram.expect("legal bounds"))))
    }

    fn handled(&self, event: &Metadata) {
        let age = event
            .time
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if let Some(age) = age {
            lock(&self.0).saturating_record(age.as_millis() as u64);
        }
    }

    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        lock(&self.0).value_at_percentile(percent)
    }
}
