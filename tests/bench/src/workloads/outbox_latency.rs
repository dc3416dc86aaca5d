//! From a commit to the record at a consumer, 200 rows a second.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use eventkit::outbox::{Outbox, Relay};
use sqlx::Postgres;

use super::Workload;
use super::outbox_relay::{emptied, finish};
use crate::arrivals::{self, Arrivals};
use crate::case::{Case, Job};
use crate::database::Database;
use crate::load::Load;
use crate::report::{CPU, Report};
use crate::verdict::Verdict;
use crate::{kafka, subject};

const PER_SECOND: u64 = 200;
/// Events that are not measured: connections are made, leases are taken.
const WARM_UP: usize = PER_SECOND as usize / 2;

const P50: &str = "p50 ms";
const P99: &str = "p99 ms";
/// The same from the commit's start.
const P50_START: &str = "p50 ms from its start";
const P99_START: &str = "p99 ms from its start";

pub const WORKLOAD: Workload = Workload {
    name: "outbox-latency",
    about: "200 rows/s, from the commit's return to the record at a consumer",
    columns: &[P50, P99, P50_START, P99_START, CPU],
    cases: |scale| {
        let load = Load::new("committed", scale.events(2_000), scale.keys(1_000)).fresh();
        vec![Case::new("eventkit", &load, eventkit).publishes()]
    },
    verdicts: |rounds| {
        vec![Verdict::at_most(
            "p99 ms from the commit's return",
            rounds.figures("eventkit", P99),
            50.0,
        )]
    },
};

/// Microseconds since 1970, of an event.
#[derive(Clone, Copy, Default)]
struct Commit {
    began: u64,
    returned: u64,
}

fn eventkit(job: &Job) -> Result<Report> {
    arrivals::make_topic(job)?;
    let arrivals = Arrivals::new(job)?;
    let events = job.load().events as usize;
    let arrived = std::thread::spawn(move || arrived(&arrivals, events));
    subject::runtime()?.block_on(async {
        let database = Database::create(job, 2).await?;
        let outbox = Outbox::new("shop", database.pool.clone());
        outbox.migrate().await?;
        // As in a process of its own: another outbox, which only `NOTIFY` wakes.
        let relay = Relay::new(&Outbox::new("shop", database.pool.clone()))
            .bootstrap_servers(kafka::servers()?)
            .start()?;
        let commits = commits(job, &database, &outbox).await?;
        let arrived = tokio::task::block_in_place(|| arrived.join());
        let arrived = arrived.ok().context("the consumer panicked")??;
        emptied(&database).await?;
        relay.shutdown().await?;
        let mut report = Report::default();
        let since = |of: fn(&Commit) -> u64| {
            let pairs = commits.iter().zip(&arrived).skip(WARM_UP);
            let taken = pairs.map(|(commit, arrived)| arrived.saturating_sub(of(commit)));
            let mut taken: Vec<u64> = taken.collect();
            taken.sort_unstable();
            taken
        };
        let returned = since(|commit| commit.returned);
        let began = since(|commit| commit.began);
        let at = |taken: &[u64], percent: usize| taken[taken.len() * percent / 100] as f64 / 1e3;
        report.figure(P50, at(&returned, 50));
        report.figure(P99, at(&returned, 99));
        report.figure(P50_START, at(&began, 50));
        report.figure(P99_START, at(&began, 99));
        finish(job, database, "eventkit_outbox", report).await
    })
}

/// When each event came first; 0 for one that did not.
fn arrived(arrivals: &Arrivals, events: usize) -> Result<Vec<u64>> {
    let mut arrived = vec![0; events];
    let mut left = events;
    while left > 0 {
        let Some(order) = arrivals.next()? else { break };
        let at = &mut arrived[order.number as usize];
        if *at == 0 {
            *at = now_us();
            left -= 1;
        }
    }
    Ok(arrived)
}

/// Commits at an even pace.
async fn commits(job: &Job, database: &Database, outbox: &Outbox<Postgres>) -> Result<Vec<Commit>> {
    let mut commits = Vec::new();
    let start = Instant::now() + Duration::from_secs(1);
    for order in job.load().orders() {
        let due = start + Duration::from_secs(1) * order.number as u32 / PER_SECOND as u32;
        tokio::time::sleep_until(due.into()).await;
        let mut tx = database.pool.begin().await?;
        outbox.publish(&mut tx, &order).await?;
        let began = now_us();
        tx.commit().await?;
        let returned = now_us();
        commits.push(Commit { began, returned });
    }
    Ok(commits)
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as u64)
}
