//! Millions of rows pass through the outbox: it stays as fast and as small.

use std::time::{Duration, Instant};

use anyhow::Result;
use eventkit::outbox::{Outbox, Relay};
use sqlx::Postgres;

use super::Workload;
use super::outbox_relay::{emptied, finish};
use crate::arrivals::{self, TOPIC};
use crate::case::{Case, Job};
use crate::database::Database;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, RATE, Report};
use crate::verdict::Verdict;
use crate::{kafka, subject};

/// Rows written in a second, and in a transaction.
const PER_SECOND: u64 = 15_000;
const TOGETHER: usize = 100;
const SLICES: u64 = 10;

/// Of the last three slices by the first three.
const RATE_LATE: &str = "rate late/early";
const SIZE_LATE: &str = "size late/early";
/// The table with its indexes, at the most.
const SIZE: &str = "table MB";

pub const WORKLOAD: Workload = Workload {
    name: "outbox-steady",
    about: "2,000,000 rows, 15,000/s in transactions of 100, relayed as they come",
    columns: &[RATE, RATE_LATE, SIZE, SIZE_LATE, CPU],
    cases: |scale| {
        let load = Load::new("passed", scale.events(2_000_000), scale.keys(10_000)).fresh();
        vec![Case::new("eventkit", &load, eventkit).publishes()]
    },
    verdicts: |rounds| {
        vec![
            Verdict::at_least(
                "rate of the last slices, by the first",
                rounds.figures("eventkit", RATE_LATE),
                0.9,
            ),
            Verdict::at_most(
                "size in the last slices, by the first",
                rounds.figures("eventkit", SIZE_LATE),
                1.1,
            ),
        ]
    },
};

/// A tenth of the rows.
struct Slice {
    seconds: f64,
    bytes: f64,
}

fn eventkit(job: &Job) -> Result<Report> {
    subject::runtime()?.block_on(async {
        arrivals::make_topic(job)?;
        let database = Database::create(job, 3).await?;
        let outbox = Outbox::new("shop", database.pool.clone());
        outbox.migrate().await?;
        let relay = Relay::new(&outbox)
            .bootstrap_servers(kafka::servers()?)
            .start()?;
        let start = Instant::now();
        let (written, slices) = tokio::join!(
            write(job, &database, &outbox),
            slices(&database, job.load().events)
        );
        written?;
        let slices = slices?;
        emptied(&database).await?;
        let took = start.elapsed();
        relay.shutdown().await?;
        let mut report = Report::default();
        report.rate(job.load().events, took);
        tell(&slices, job.load().events, &mut report);
        finish(job, database, "eventkit_outbox", report).await
    })
}

/// Writes at an even pace, or as fast as it goes where that is slower.
async fn write(job: &Job, database: &Database, outbox: &Outbox<Postgres>) -> Result<()> {
    let mut orders = job.load().orders();
    let (start, mut written) = (Instant::now(), 0);
    loop {
        let together: Vec<OrderPlaced> = orders.by_ref().take(TOGETHER).collect();
        if together.is_empty() {
            return Ok(());
        }
        let due = start + Duration::from_secs_f64(written as f64 / PER_SECOND as f64);
        tokio::time::sleep_until(due.into()).await;
        written += together.len();
        let mut tx = database.pool.begin().await?;
        outbox.publish_all(&mut tx, together).await?;
        tx.commit().await?;
    }
}

/// How long each slice took to arrive, and how large the table was then.
async fn slices(database: &Database, events: u64) -> Result<Vec<Slice>> {
    let ends = kafka::Ends::of(TOPIC)?;
    let mut slices = Vec::new();
    for slice in 1..=SLICES {
        let start = Instant::now();
        arrivals::reach(&ends, events * slice / SLICES).await?;
        let size = database.number("SELECT pg_total_relation_size('eventkit_outbox')");
        slices.push(Slice {
            seconds: start.elapsed().as_secs_f64(),
            bytes: size.await? as f64,
        });
    }
    Ok(slices)
}

fn tell(slices: &[Slice], events: u64, report: &mut Report) {
    let third = |slices: &[Slice], of: fn(&Slice) -> f64| slices.iter().map(of).sum::<f64>();
    let by = |of| third(&slices[slices.len() - 3..], of) / third(&slices[..3], of);
    report.figure(RATE_LATE, 1.0 / by(|slice| slice.seconds));
    report.figure(SIZE_LATE, by(|slice| slice.bytes));
    let most = slices.iter().map(|slice| slice.bytes).fold(0.0, f64::max);
    report.figure(SIZE, most / 1e6);
    for (number, slice) in slices.iter().enumerate() {
        let rate = (events / SLICES) as f64 / slice.seconds;
        report.figure(&format!("slice {number}: events/s"), rate);
        report.figure(&format!("slice {number}: table MB"), slice.bytes / 1e6);
    }
}
