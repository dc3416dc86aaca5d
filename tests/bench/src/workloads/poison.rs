//! Events that never succeed among many that do: who waits for them?

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "rival")]
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use eventkit::prelude::*;

use super::Workload;
use crate::baselines::dead_letters::DeadLetters;
use crate::baselines::per_key;
#[cfg(feature = "rival")]
use crate::baselines::rival;
use crate::case::{Case, Job};
use crate::check::Check;
#[cfg(feature = "rival")]
use crate::check::PATIENCE;
use crate::event::OrderPlaced;
use crate::load::{Load, Scale};
use crate::report::{CPU, MEMORY, Report, SETTLED};
use crate::verdict::Verdict;
use crate::{kafka, subject};

/// Ten events of one key, one after the other, each with 100 and 200 ms.
const FLOOR: f64 = 3.0;
/// From the first delivery of the run to that of an event of a healthy key.
const HEALTHY: &str = "p99 healthy ms";

pub const WORKLOAD: Workload = Workload {
    name: "poison",
    about: "1 % exhaust three attempts 100 and 200 ms apart, ten of them of one key",
    columns: &[SETTLED, HEALTHY, CPU, MEMORY],
    cases: |scale| {
        let poisoned = load(scale, "poisoned").poison_every(100);
        let healthy = load(scale, "healthy");
        vec![
            Case::new("eventkit", &poisoned, eventkit),
            Case::new("eventkit without poison", &healthy, eventkit),
            Case::new("task per key", &poisoned, by_key),
            // Its copies for retrying go into the topic, which is filled anew for it.
            #[cfg(feature = "rival")]
            Case::new(
                "ruststream",
                &load(scale, "poisoned-apart").poison_every(100),
                rival::poison_run,
            ),
        ]
    },
    verdicts: |rounds| {
        let these = rounds.figures("eventkit", HEALTHY);
        let those = rounds.figures("eventkit without poison", HEALTHY);
        let ratio = these
            .iter()
            .zip(those)
            .map(|(this, that)| this / that)
            .collect();
        vec![
            Verdict::at_most(
                "seconds, of which 3.0 cannot be saved",
                rounds.figures("eventkit", SETTLED),
                FLOOR + 0.5,
            ),
            Verdict::at_most("p99 of healthy events, by a run without poison", ratio, 1.2),
        ]
    },
};

fn load(scale: Scale, name: &str) -> Load {
    Load::new(name, scale.events(100_000), scale.keys(10_000))
}

#[derive(Clone)]
pub struct Bench {
    load: Arc<Load>,
    pub check: Check,
    /// When each event was handled, in milliseconds since the first delivery.
    handled: Arc<[AtomicU32]>,
}

impl Bench {
    pub fn new(load: &Load) -> Self {
        Self {
            load: Arc::new(load.clone()),
            check: Check::new(load),
            handled: (0..load.events).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub fn handle(&self, order: &OrderPlaced) -> Result<()> {
        self.check.begun();
        ensure!(!self.load.is_poison(order.number), "poison");
        let since = self.check.since_first().as_millis() as u32;
        self.handled[order.number as usize].store(since, Ordering::Relaxed);
        self.check.handled(order);
        Ok(())
    }

    /// Waits until every poisoned event is a dead letter; the time since the first delivery.
    #[cfg(feature = "rival")]
    pub async fn dead_letters_written(&self, topic: &str) -> Result<Duration> {
        let start = Instant::now();
        while kafka::records(topic)?.unwrap_or(0) < self.load.poisoned()
            && start.elapsed() < PATIENCE
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(self.check.since_first())
    }

    /// Adds when events of keys without poison were handled, and whether each
    /// poisoned one is a dead letter, once.
    pub fn report(&self, mut report: Report, dead_letters: &str) -> Result<Report> {
        let poisoned = |order: &OrderPlaced| self.load.is_poison(order.number);
        let keys: HashSet<u32> = self
            .load
            .orders()
            .filter(poisoned)
            .map(|order| order.customer)
            .collect();
        let healthy = self
            .load
            .orders()
            .filter(|order| !keys.contains(&order.customer));
        let mut handled: Vec<u32> = healthy
            .map(|order| self.handled[order.number as usize].load(Ordering::Relaxed))
            .collect();
        handled.sort_unstable();
        report.figure(HEALTHY, f64::from(handled[handled.len() * 99 / 100]));
        let found = kafka::records(dead_letters)?.unwrap_or(0);
        report.check("dead letters amiss", found.abs_diff(self.load.poisoned()));
        Ok(report)
    }
}

pub fn dead_letters(job: &Job) -> String {
    format!("{}.{}.dlq", job.topic(), job.group)
}

#[handler(event = "OrderPlaced.v1", retry(attempts = 3, backoff = "100ms..200ms", jitter = none))]
async fn stumble(order: OrderPlaced, State(bench): State<Bench>) -> Result<()> {
    bench.handle(&order)
}

fn eventkit(job: &Job) -> Result<Report> {
    let bench = Bench::new(job.load());
    let app = subject::app(job, handlers![stumble])?.state(bench.clone());
    let report = subject::run(job, app, &bench.check)?;
    bench.report(report, &dead_letters(job))
}

fn by_key(job: &Job) -> Result<Report> {
    let bench = Bench::new(job.load());
    kafka::create(&dead_letters(job), job.load().partitions)?;
    let letters = DeadLetters::new(dead_letters(job))?;
    let handler = {
        let bench = bench.clone();
        move |order| attempts(bench.clone(), letters.clone(), order)
    };
    let settled = subject::runtime()?.block_on(async {
        per_key::consume(job, handler).await?;
        anyhow::Ok(bench.check.since_first())
    })?;
    let mut report = Report::of(&bench.check);
    report.figure(SETTLED, settled.as_secs_f64());
    bench.report(report, &dead_letters(job))
}

async fn attempts(bench: Bench, letters: DeadLetters, order: OrderPlaced) {
    // A failure would show as a dead letter too few.
    let _ = letters.attempts(&order, || bench.handle(&order)).await;
}
