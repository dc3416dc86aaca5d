//! Far more waits than fits: large events, slow handlers, many partitions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use eventkit::prelude::*;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Workload;
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::subject;
use crate::verdict::Verdict;

/// How long handlers are slow, from the first delivery on.
const SLOW: Duration = Duration::from_secs(15);
const HANDLER: Duration = Duration::from_secs(1);

/// The most pauses of one partition for each second of the run.
const PAUSES: &str = "pauses/s";
/// Events per second once the handlers are fast again.
const AFTERWARDS: &str = "events/s afterwards";

pub const WORKLOAD: Workload = Workload {
    name: "backlog",
    about: "10 KB each on 64 partitions, handlers of 1 s for 15 s and then of none",
    columns: &[RATE, AFTERWARDS, PAUSES, CPU, MEMORY],
    cases: |scale| {
        let load = Load::new("large", scale.events(500_000), scale.keys(50_000))
            .partitions(64)
            .padding(9_600);
        vec![
            Case::new("slow at first", &load, |job| eventkit(job, SLOW)),
            Case::new("never slow", &load, |job| eventkit(job, Duration::ZERO)),
        ]
    },
    verdicts: |rounds| {
        let after = rounds.figures("slow at first", AFTERWARDS);
        let never = rounds.figures("never slow", RATE);
        let ratio = after
            .iter()
            .zip(never)
            .map(|(after, never)| after / never)
            .collect();
        vec![
            Verdict::at_most("peak MB", rounds.figures("slow at first", MEMORY), 512.0),
            Verdict::at_most(
                "pauses of a partition per second",
                rounds.figures("slow at first", PAUSES),
                1.0,
            ),
            Verdict::at_least(
                "events/s afterwards, by a run that is never slow",
                ratio,
                0.9,
            ),
        ]
    },
};

#[derive(Clone)]
struct Pace {
    check: Check,
    slow: Duration,
}

#[handler(event = "OrderPlaced.v1")]
async fn slow(order: OrderPlaced, State(pace): State<Pace>) {
    pace.check.begun();
    if pace.check.since_first() < pace.slow {
        tokio::time::sleep(HANDLER).await;
    }
    pace.check.handled(&order);
}

fn eventkit(job: &Job, slow: Duration) -> Result<Report> {
    let pauses = Pauses::default();
    tracing_subscriber::registry()
        .with(pauses.clone())
        .try_init()?;
    let check = Check::new(job.load());
    let watched = (!slow.is_zero()).then(|| watch(&check, slow + HANDLER));
    let pace = Pace {
        check: check.clone(),
        slow,
    };
    let app = subject::app(job, handlers![self::slow])?.state(pace);
    let start = Instant::now();
    let mut report = subject::run(job, app, &check)?;
    report.figure(PAUSES, pauses.most() as f64 / start.elapsed().as_secs_f64());
    if let Some((at, delivered)) = watched.and_then(|watched| watched.join().ok().flatten()) {
        let took = check.outcome().took.saturating_sub(at);
        let events = job.load().events - delivered;
        report.figure(AFTERWARDS, events as f64 / took.as_secs_f64().max(1e-9));
    }
    Ok(report)
}

/// How much is delivered when the handlers are fast again, and when that was.
fn watch(check: &Check, from: Duration) -> std::thread::JoinHandle<Option<(Duration, u64)>> {
    let check = check.clone();
    std::thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < from + Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
            let since = check.since_first();
            if since >= from && since > Duration::ZERO {
                return Some((since, check.delivered()));
            }
        }
        None
    })
}

/// Counts what the App says about its partitions.
#[derive(Clone, Default)]
struct Pauses {
    by_partition: Arc<Mutex<HashMap<i64, u64>>>,
}

impl Pauses {
    fn most(&self) -> u64 {
        let pauses = self
            .by_partition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pauses.values().copied().max().unwrap_or(0)
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Pauses {
    fn enabled(
        &self,
        metadata: &tracing::Metadata<'_>,
        _: tracing_subscriber::layer::Context<'_, S>,
    ) -> bool {
        metadata.is_event() && metadata.target() == "eventkit::consumer"
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        if said.message == "partition paused" {
            let mut pauses = self
                .by_partition
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *pauses.entry(said.partition).or_default() += 1;
        }
    }
}

#[derive(Default)]
struct Said {
    message: String,
    partition: i64,
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "messaging.destination.partition.id" {
            self.partition = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
