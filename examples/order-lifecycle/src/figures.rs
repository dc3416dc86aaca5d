//! What is counted and timed of a service.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use eventkit::Metadata;
use hdrhistogram::Histogram;

use crate::sync::lock;

/// What a service's handlers did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) handled: u64,
    pub(crate) duplicates: u64,
    pub(crate) retries: u64,
    pub(crate) dead_letters: u64,
}

/// How long events took from the transaction that they are told in to the end of
/// their handler.
#[derive(Debug, Clone)]
pub(crate) struct Timings(Arc<Mutex<Histogram<u64>>>);

impl Timings {
    pub(crate) fn new() -> Self {
        // Up to an hour, in milliseconds, to one part in a hundred.
        let histogram = Histogram::new_with_max(3_600_000, 2);
        Self(Arc::new(Mutex::new(histogram.expect("legal bounds"))))
    }

    pub(crate) fn handled(&self, event: &Metadata) {
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
