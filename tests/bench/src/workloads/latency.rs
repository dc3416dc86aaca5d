//! From the producer's send to the handler's start, 2,000 events a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use eventkit::prelude::*;

use super::Workload;
use crate::baselines::inline;
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::fill::Sender;
use crate::load::Load;
use crate::report::{CPU, Report};
use crate::verdict::Verdict;
use crate::{kafka, subject};

const PER_SECOND: u64 = 2_000;
/// Events that are not measured: connections are made, code is loaded.
const WARM_UP: u64 = PER_SECOND / 10;

const P50: &str = "p50 ms";
const P99: &str = "p99 ms";

pub const WORKLOAD: Workload = Workload {
    name: "latency",
    about: "2,000 events/s, from the producer's send to the handler's start",
    columns: &[P50, P99, CPU],
    cases: |scale| {
        let load = Load::new("latency", scale.events(20_000), scale.keys(10_000)).fresh();
        vec![
            Case::new("eventkit", &load, eventkit),
            Case::new("inline", &load, inline),
        ]
    },
    verdicts: |rounds| {
        vec![
            Verdict::at_most(
                "p50, by an inline loop",
                rounds.ratio("eventkit", "inline", P50),
                1.2,
            ),
            Verdict::at_most(
                "p99, by an inline loop",
                rounds.ratio("eventkit", "inline", P99),
                1.3,
            ),
        ]
    },
};

#[derive(Clone)]
struct Latencies {
    check: Check,
    /// Of each event, in microseconds.
    taken: Arc<[AtomicU32]>,
}

impl Latencies {
    fn new(load: &Load) -> Self {
        Self {
            check: Check::new(load),
            taken: (0..load.events).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn arrived(&self, order: &OrderPlaced) {
        let taken = now_us().saturating_sub(order.sent_us) as u32;
        self.taken[order.number as usize].store(taken, Ordering::Relaxed);
        self.check.handled(order);
    }

    fn report(&self, mut report: Report) -> Report {
        let mut taken: Vec<u32> = self.taken[WARM_UP as usize..]
            .iter()
            .map(|taken| taken.load(Ordering::Relaxed))
            .collect();
        taken.sort_unstable();
        let at = |percent: usize| f64::from(taken[taken.len() * percent / 100]) / 1e3;
        report.figure(P50, at(50));
        report.figure(P99, at(99));
        report
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as u64)
}

/// Sends at an even pace, from a thread of its own.
fn send(job: &Job) -> Result<std::thread::JoinHandle<Result<()>>> {
    kafka::create(&job.topic(), job.load().partitions)?;
    let (load, topic) = (job.load().clone(), job.topic());
    let sender = Sender::at_once()?;
    Ok(std::thread::spawn(move || {
        // The consumer shall have its partitions by then.
        let start = Instant::now() + Duration::from_secs(2);
        for mut order in load.orders() {
            let due = start + Duration::from_secs(1) * order.number as u32 / PER_SECOND as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            order.sent_us = now_us();
            sender.send(&topic, &order)?;
        }
        sender.flush()
    }))
}

fn joined(sending: std::thread::JoinHandle<Result<()>>) -> Result<()> {
    sending.join().ok().context("the sender panicked")?
}

#[handler(event = "OrderPlaced.v1")]
async fn arrive(order: OrderPlaced, State(latencies): State<Latencies>) {
    latencies.arrived(&order);
}

fn eventkit(job: &Job) -> Result<Report> {
    let latencies = Latencies::new(job.load());
    let app = subject::app(job, handlers![arrive])?.state(latencies.clone());
    let sending = send(job)?;
    let report = subject::run(job, app, &latencies.check)?;
    joined(sending)?;
    Ok(latencies.report(report))
}

fn inline(job: &Job) -> Result<Report> {
    let latencies = Latencies::new(job.load());
    let sending = send(job)?;
    subject::runtime()?.block_on(inline::consume(job, async |order| {
        latencies.arrived(&order);
        Ok(())
    }))?;
    joined(sending)?;
    Ok(latencies.report(Report::of(&latencies.check)))
}
