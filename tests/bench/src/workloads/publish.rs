//! Publishing: typed encode, acknowledgements awaited batch by batch.

use std::time::Instant;

use anyhow::{Result, ensure};
use eventkit::{Event, Publisher};

use super::Workload;
use crate::baselines::publishing::{Counted, Futures};
use crate::case::{Case, Job};
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::verdict::Verdict;
use crate::{kafka, subject};

/// An event's topic is part of its type, so all contenders write here.
const TOPIC: &str = OrderPlaced::TOPIC;
const BATCH: usize = 10_000;

pub const WORKLOAD: Workload = Workload {
    name: "publish",
    about: "typed encode and CloudEvents headers, acknowledged in batches of 10,000",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load = Load::new("published", scale.events(500_000), scale.keys(10_000)).fresh();
        vec![
            Case::new("eventkit", &load, eventkit).publishes(),
            Case::new("FutureProducer", &load, futures).publishes(),
            Case::new("ThreadedProducer", &load, counted).publishes(),
        ]
    },
    verdicts: |rounds| {
        let futures = rounds.ratio("eventkit", "FutureProducer", RATE);
        let counted = rounds.ratio("eventkit", "ThreadedProducer", RATE);
        let better = futures
            .iter()
            .zip(counted)
            .map(|(one, other)| one.min(other))
            .collect();
        vec![Verdict::at_least(
            "events/s, by the better of the others",
            better,
            0.9,
        )]
    },
};

fn eventkit(job: &Job) -> Result<Report> {
    let publisher = Publisher::builder("shop")
        .bootstrap_servers(kafka::servers()?)
        .build()?;
    let runtime = subject::runtime()?;
    measured(job, |batch| {
        runtime.block_on(publisher.publish_all(batch))?;
        Ok(())
    })
}

fn futures(job: &Job) -> Result<Report> {
    let producer = Futures::new()?;
    let runtime = subject::runtime()?;
    measured(job, |batch| {
        runtime.block_on(producer.publish(TOPIC, &batch))
    })
}

fn counted(job: &Job) -> Result<Report> {
    let mut producer = Counted::new()?;
    measured(job, |batch| producer.publish(TOPIC, &batch))
}

fn measured(job: &Job, mut publish: impl FnMut(Vec<OrderPlaced>) -> Result<()>) -> Result<Report> {
    if kafka::records(TOPIC)?.is_none() {
        kafka::create(TOPIC, job.load().partitions)?;
    }
    let before = kafka::records(TOPIC)?.unwrap_or(0);
    let mut orders = job.load().orders();
    let start = Instant::now();
    loop {
        let batch: Vec<_> = orders.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        publish(batch)?;
    }
    let mut report = Report::default();
    report.rate(job.load().events, start.elapsed());
    let written = kafka::records(TOPIC)?.unwrap_or(0) - before;
    ensure!(written > 0, "nothing was written");
    report.check("lost", job.load().events.saturating_sub(written));
    report.check("duplicate", written.saturating_sub(job.load().events));
    Ok(report)
}
