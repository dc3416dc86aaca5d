//! What one run of one contender says about itself, as one line of JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Outcome};
use crate::usage;

/// Events per second from the first delivery to the last.
pub const RATE: &str = "events/s";
/// CPU time of the whole process, start and end included, for each event.
pub const CPU: &str = "CPU µs/event";
pub const MEMORY: &str = "peak MB";
/// Seconds from the first delivery to the last.
pub const SECONDS: &str = "s";
/// Seconds from the first delivery until every one was settled.
pub const SETTLED: &str = "s to settled";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub figures: BTreeMap<String, f64>,
    /// What must be zero.
    pub checks: BTreeMap<String, u64>,
}

impl Report {
    /// The figures and checks of every workload that handles a topic.
    pub fn of(check: &Check) -> Self {
        let Outcome {
            lost,
            duplicates,
            disorder,
            took,
        } = check.outcome();
        let mut report = Self::default();
        report.check("lost", lost);
        report.check("duplicate", duplicates);
        report.check("out of order", disorder);
        report.rate(check.delivered(), took);
        report
    }

    pub fn rate(&mut self, events: u64, took: Duration) {
        self.figure(SECONDS, took.as_secs_f64());
        self.figure(RATE, events as f64 / took.as_secs_f64().max(1e-9));
    }

    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    pub fn check(&mut self, name: &str, value: u64) {
        self.checks.insert(name.to_owned(), value);
    }

    /// Adds what the process used, at its end.
    pub fn usage(&mut self, events: u64) -> Result<()> {
        let cpu = usage::cpu()?.as_secs_f64() * 1e6 / events.max(1) as f64;
        self.figure(CPU, cpu);
        self.figure(MEMORY, usage::peak_memory()? as f64 / 1e6);
        Ok(())
    }

    pub fn counts(&self) -> bool {
        self.checks.values().all(|value| *value == 0)
    }
}
