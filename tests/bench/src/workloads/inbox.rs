//! Handlers that take effect through the inbox, beside a task per key that does
//! the same statements in the same transaction.

use anyhow::Result;
use eventkit::inbox::{Inbox, Tx};
use eventkit::outbox::Outbox;
use eventkit::prelude::*;
use sqlx::{PgPool, Postgres};

use super::Workload;
use crate::baselines::per_key;
use crate::case::{Case, Job};
use crate::check::Check;
use crate::database::Database;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::subject;
use crate::verdict::Verdict;

/// Transactions at once.
const WRITERS: u32 = 8;

const EFFECTS: &str = "CREATE TABLE effects (\
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id uuid NOT NULL, \
    customer text NOT NULL)";
const EFFECT: &str = "INSERT INTO effects (order_id, customer) VALUES ($1::text::uuid, $2)";
const ENTER: &str = "INSERT INTO eventkit_inbox (event_id, handler, consumer_group, source) \
    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

pub const WORKLOAD: Workload = Workload {
    name: "inbox",
    about: "an effect in PostgreSQL, once, 8 transactions at once, one delivery in six a duplicate",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load =
            Load::new("repeated", scale.events(20_000), scale.keys(10_000)).duplicate_every(6);
        vec![
            Case::new("eventkit", &load, eventkit),
            Case::new("by hand", &load, by_hand),
        ]
    },
    verdicts: |rounds| {
        vec![Verdict::at_least(
            "events/s, by the same statements by hand",
            rounds.ratio("eventkit", "by hand", RATE),
            0.9,
        )]
    },
};

#[handler(event = "OrderPlaced.v1", inbox)]
async fn take_effect(
    order: OrderPlaced,
    Tx(tx): Tx<Postgres>,
    State(check): State<Check>,
) -> sqlx::Result<()> {
    effect(tx, &order).await?;
    check.handled(&order);
    Ok(())
}

fn eventkit(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    subject::runtime()?.block_on(async {
        // One connection of the pool is left to others.
        let (database, outbox) = prepared(job, WRITERS + 1).await?;
        let app = subject::app(job, handlers![take_effect])?.inbox(Inbox::new(&outbox));
        let report = subject::run_here(job, app, &check).await?;
        compared(database, report).await
    })
}

fn by_hand(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    subject::runtime()?.block_on(async {
        let (database, _) = prepared(job, WRITERS).await?;
        let (pool, counted) = (database.pool.clone(), check.clone());
        let group = job.group.clone();
        per_key::consume(job, move |order| {
            handled(pool.clone(), group.clone(), counted.clone(), order)
        })
        .await?;
        compared(database, Report::of(&check)).await
    })
}

async fn handled(pool: PgPool, group: String, check: Check, order: OrderPlaced) {
    // A failure would show as a lost event.
    let _ = once(&pool, &group, &check, &order).await;
}

async fn once(pool: &PgPool, group: &str, check: &Check, order: &OrderPlaced) -> sqlx::Result<()> {
    check.begun();
    let mut tx = pool.begin().await?;
    let entered = sqlx::query(ENTER)
        .bind(order.order_id.to_string())
        .bind("take_effect")
        .bind(group)
        .bind("shop")
        .execute(&mut *tx)
        .await?;
    if entered.rows_affected() == 0 {
        return tx.rollback().await;
    }
    effect(&mut tx, order).await?;
    check.handled(order);
    tx.commit().await
}

async fn effect(
    tx: &mut sqlx::Transaction<'static, Postgres>,
    order: &OrderPlaced,
) -> sqlx::Result<()> {
    sqlx::query(EFFECT)
        .bind(order.order_id.to_string())
        .bind(order.customer_id.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn prepared(job: &Job, connections: u32) -> Result<(Database, Outbox<Postgres>)> {
    let database = Database::create(job, connections).await?;
    database.execute(EFFECTS).await?;
    let outbox = Outbox::new("shop", database.pool.clone());
    outbox.migrate().await?;
    Inbox::new(&outbox).migrate().await?;
    database.settle().await?;
    Ok((database, outbox))
}

/// What the tables say must be what was counted.
async fn compared(database: Database, mut report: Report) -> Result<Report> {
    let (effects, noted) = (
        database.rows("effects").await?,
        database.rows("eventkit_inbox").await?,
    );
    report.check("effects without a note", effects.abs_diff(noted));
    database.drop().await?;
    Ok(report)
}
