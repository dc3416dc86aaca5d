//! A full outbox, published as fast as it goes.

use std::time::Instant;

use anyhow::{Result, ensure};
use eventkit::outbox::{Outbox, Relay};
use sqlx::Postgres;

use super::Workload;
use crate::arrivals::{self, TOPIC};
use crate::baselines::outbox as by_hand;
use crate::case::{Case, Job};
use crate::database::Database;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::verdict::Verdict;
use crate::{kafka, subject};

/// Rows of one transaction that fills an outbox.
const TOGETHER: usize = 1_000;

pub const WORKLOAD: Workload = Workload {
    name: "outbox-relay",
    about: "a full outbox in PostgreSQL, from the relay's start until the table is empty",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load = Load::new("relayed", scale.events(300_000), scale.keys(10_000)).fresh();
        let few = Load::new("relayed", scale.events(3_000), scale.keys(1_000)).fresh();
        vec![
            Case::new("eventkit", &load, eventkit).publishes(),
            Case::new("batches", &load, batches).publishes(),
            Case::new("one by one", &few, one_by_one).publishes(),
        ]
    },
    verdicts: |rounds| {
        vec![
            Verdict::at_least("events/s", rounds.figures("eventkit", RATE), 20_000.0),
            Verdict::at_least(
                "events/s, by one by one",
                rounds.ratio("eventkit", "one by one", RATE),
                10.0,
            ),
            Verdict::at_least(
                "events/s, by batches by hand",
                rounds.ratio("eventkit", "batches", RATE),
                1.0,
            ),
        ]
    },
};

fn eventkit(job: &Job) -> Result<Report> {
    subject::runtime()?.block_on(async {
        let (database, outbox) = filled(job).await?;
        let ends = kafka::Ends::of(TOPIC)?;
        let start = Instant::now();
        let relay = Relay::new(&outbox)
            .bootstrap_servers(kafka::servers()?)
            .start()?;
        arrivals::reach(&ends, job.load().events).await?;
        emptied(&database).await?;
        let took = start.elapsed();
        relay.shutdown().await?;
        let mut report = Report::default();
        report.rate(job.load().events, took);
        finish(job, database, "eventkit_outbox", report).await
    })
}

fn batches(job: &Job) -> Result<Report> {
    by_hand_with(job, async |database| {
        by_hand::relay_in_batches(database).await
    })
}

fn one_by_one(job: &Job) -> Result<Report> {
    by_hand_with(job, async |database| {
        by_hand::relay_one_by_one(database).await
    })
}

fn by_hand_with(job: &Job, relay: impl AsyncFnOnce(&Database) -> Result<()>) -> Result<Report> {
    subject::runtime()?.block_on(async {
        arrivals::make_topic(job)?;
        let database = Database::create(job, 2).await?;
        by_hand::create(&database).await?;
        by_hand::fill(&database, job.load().orders()).await?;
        database.settle().await?;
        let start = Instant::now();
        relay(&database).await?;
        let took = start.elapsed();
        let mut report = Report::default();
        report.rate(job.load().events, took);
        finish(job, database, "by_hand", report).await
    })
}

async fn filled(job: &Job) -> Result<(Database, Outbox<Postgres>)> {
    arrivals::make_topic(job)?;
    let database = Database::create(job, 2).await?;
    let outbox = Outbox::new("shop", database.pool.clone());
    outbox.migrate().await?;
    let mut orders = job.load().orders();
    loop {
        let together: Vec<OrderPlaced> = orders.by_ref().take(TOGETHER).collect();
        if together.is_empty() {
            break;
        }
        let mut tx = database.pool.begin().await?;
        outbox.publish_all(&mut tx, together).await?;
        tx.commit().await?;
    }
    database.settle().await?;
    Ok((database, outbox))
}

/// Waits until the rows are gone whose records have arrived.
pub async fn emptied(database: &Database) -> Result<()> {
    let start = Instant::now();
    while database.rows("eventkit_outbox").await? > 0 {
        ensure!(
            start.elapsed() < crate::check::PATIENCE,
            "the outbox does not become empty"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Looks at what arrived and what is left.
pub async fn finish(
    job: &Job,
    database: Database,
    table: &str,
    mut report: Report,
) -> Result<Report> {
    report.check("left in the table", database.rows(table).await?);
    arrivals::check_all(job, &mut report)?;
    database.drop().await?;
    Ok(report)
}
