//! What a transaction pays for `publish`, beside one more insert of that size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use eventkit::outbox::Outbox;
use sqlx::Postgres;

use super::Workload;
use crate::baselines::outbox as by_hand;
use crate::case::{Case, Job};
use crate::database::Database;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, Report};
use crate::rounds::Rounds;
use crate::subject;
use crate::verdict::Verdict;

const PER_SECOND: &str = "transactions/s";
const EACH: &str = "ms each";
/// Of a row of the second insert.
const ROW: &str = "bytes/row";

const WRITERS: [usize; 2] = [1, 8];

/// What follows the business insert in its transaction.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    Insert,
    Publish { notify: bool },
}

pub const WORKLOAD: Workload = Workload {
    name: "outbox-insert",
    about: "transactions of a business insert and an event",
    columns: &[PER_SECOND, EACH, ROW, CPU],
    cases: |scale| {
        let one = Load::new("inserted", scale.events(1_500), 1).fresh();
        let eight = Load::new("inserted", scale.events(6_000), 1).fresh();
        vec![
            Case::new("1 writer: outbox", &one, |job| run(job, 1, NOTIFY)),
            Case::new("1 writer: insert", &one, |job| run(job, 1, Then::Insert)),
            Case::new("1 writer: without notify", &one, |job| run(job, 1, QUIET)),
            Case::new("1 writer: business alone", &one, |job| {
                run(job, 1, Then::Nothing)
            }),
            Case::new("8 writers: outbox", &eight, |job| run(job, 8, NOTIFY)),
            Case::new("8 writers: insert", &eight, |job| run(job, 8, Then::Insert)),
            Case::new("8 writers: without notify", &eight, |job| {
                run(job, 8, QUIET)
            }),
            Case::new("8 writers: business alone", &eight, |job| {
                run(job, 8, Then::Nothing)
            }),
        ]
        .into_iter()
        .map(Case::publishes)
        .collect()
    },
    verdicts: |rounds| {
        let mut verdicts = Vec::new();
        for writers in WRITERS {
            for how in ["outbox", "without notify"] {
                verdicts.push(by_insert(rounds, writers, how));
            }
        }
        verdicts
    },
};

const NOTIFY: Then = Then::Publish { notify: true };
const QUIET: Then = Then::Publish { notify: false };

fn by_insert(rounds: &Rounds, writers: usize, how: &str) -> Verdict {
    let of = if writers == 1 { "writer" } else { "writers" };
    let case = |how: &str| format!("{writers} {of}: {how}");
    Verdict::at_most(
        &format!("time of a transaction, {}, by one more insert", case(how)),
        rounds.ratio(&case(how), &case("insert"), EACH),
        1.3,
    )
}

fn run(job: &Job, writers: usize, then: Then) -> Result<Report> {
    subject::runtime()?.block_on(async {
        let database = Database::create(job, writers as u32).await?;
        let outbox = Outbox::builder("shop", database.pool.clone());
        let outbox = match then {
            Then::Publish { notify: false } => outbox.without_notify().build()?,
            _ => outbox.build()?,
        };
        outbox.migrate().await?;
        by_hand::create(&database).await?;
        database.execute(ORDERS).await?;
        database.settle().await?;

        let numbers = AtomicU64::new(0);
        let write = || writer(&database, &outbox, then, &numbers, job.load().events);
        let start = Instant::now();
        let done = all_of(writers, write).await?;
        let took = start.elapsed();

        let mut report = Report::default();
        report.figure(PER_SECOND, done as f64 / took.as_secs_f64());
        report.figure(
            EACH,
            took.as_secs_f64() * 1e3 * writers as f64 / done as f64,
        );
        check(&database, then, done, &mut report).await?;
        database.drop().await?;
        Ok(report)
    })
}

const ORDERS: &str = "CREATE TABLE orders (\
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id uuid NOT NULL, \
    customer text NOT NULL, total_cents bigint NOT NULL, \
    placed_at timestamptz NOT NULL DEFAULT now())";

/// Runs several at once; the sum of what they did.
async fn all_of<F: Future<Output = Result<u64>>>(
    number: usize,
    make: impl Fn() -> F,
) -> Result<u64> {
    let all = (0..number).map(|_| make());
    let mut sum = 0;
    for one in futures_util::future::join_all(all).await {
        sum += one?;
    }
    Ok(sum)
}

/// Transactions until there are enough, on a connection of its own.
async fn writer(
    database: &Database,
    outbox: &Outbox<Postgres>,
    then: Then,
    numbers: &AtomicU64,
    wanted: u64,
) -> Result<u64> {
    let mut done = 0;
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        if number >= wanted {
            return Ok(done);
        }
        let order = OrderPlaced::new((number % 10_000) as u32, number, 0, 0);
        let mut tx = database.pool.begin().await?;
        sqlx::query(
            "INSERT INTO orders (order_id, customer, total_cents) VALUES ($1::text::uuid, $2, $3)",
        )
        .bind(order.order_id.to_string())
        .bind(order.customer_id.to_string())
        .bind(number as i64)
        .execute(&mut *tx)
        .await?;
        match then {
            Then::Nothing => {}
            Then::Insert => by_hand::insert(&mut tx, &order).await?,
            Then::Publish { .. } => {
                outbox.publish(&mut tx, &order).await?;
            }
        }
        tx.commit().await?;
        done += 1;
    }
}

async fn check(database: &Database, then: Then, done: u64, report: &mut Report) -> Result<()> {
    let table = match then {
        Then::Nothing => return Ok(()),
        Then::Insert => "by_hand",
        Then::Publish { .. } => "eventkit_outbox",
    };
    let rows = database.rows(table).await?;
    report.check("lost", done.saturating_sub(rows));
    report.check("duplicate", rows.saturating_sub(done));
    let size = format!("SELECT avg(pg_column_size(t.*))::int8 FROM {table} AS t");
    report.figure(ROW, database.number(&size).await? as f64);
    Ok(())
}
