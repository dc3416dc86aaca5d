//! The inbox in SQLite, on the embedded broker.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/sqlite.rs"]
mod sqlite;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Raw, app, broker, consume, produce, started, stats, until};
use eventkit::embedded::EmbeddedBroker;
use eventkit::inbox::{Inbox, InboxError, Tx};
use eventkit::outbox::Outbox;
use eventkit::prelude::*;
use eventkit::{Running, handlers};
use sqlite::SqliteFile;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection, Sqlite, SqlitePool};

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(type = "Ordered.v1", topic = "orders", key = order)]
struct Ordered {
    order: String,
}

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(type = "Reserved.v1", topic = "stock", key = order)]
struct Reserved {
    order: String,
}

/// An event with this id for an order.
fn ordered(id: &str, order: &str) -> Raw {
    Raw::of_type("Ordered.v1", format!(r#"{{"order":"{order}"}}"#))
        .key(order)
        .header("ce_id", id)
        .header("ce_source", "shop")
}

struct Stock {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
    broker: EmbeddedBroker,
    file: SqliteFile,
}

impl Stock {
    async fn new() -> Self {
        let file = SqliteFile::new().await;
        let pool = file.pool.clone();
        sqlx::raw_sql("CREATE TABLE effects (handler TEXT NOT NULL, order_id TEXT NOT NULL)")
            .execute(&pool)
            .await
            .unwrap();
        let outbox = Outbox::new("inventory", pool.clone());
        outbox.migrate().await.unwrap();
        Inbox::new(&outbox).migrate().await.unwrap();
        Self {
            pool,
            outbox,
            broker: broker(&["orders", "stock", "orders.inventory.dlq"]),
            file,
        }
    }

    fn app(&self) -> App {
        app("inventory", &self.broker)
            .inbox(self.outbox.clone())
            .outbox(self.outbox.clone())
            .start_from(eventkit::StartFrom::Earliest)
    }

    async fn started(&self, handlers: Vec<eventkit::HandlerDefinition>) -> Running {
        started(self.app().handlers(handlers)).await
    }

    async fn produce(&self, records: impl IntoIterator<Item = Raw>) {
        produce(&self.broker, "orders", records).await;
    }

    async fn effects(&self) -> i64 {
        let sql = "SELECT count(*) FROM effects";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    async fn noted(&self) -> i64 {
        let sql = "SELECT count(*) FROM eventkit_inbox";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

async fn effect(tx: &mut sqlx::Transaction<'_, Sqlite>, order: &str) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO effects VALUES ('reserve', $1)")
        .bind(order)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[handler(event = "Ordered.v1", inbox)]
async fn reserve(ordered: Ordered, Tx(tx): Tx<Sqlite>) -> sqlx::Result<Reserved> {
    effect(tx, &ordered.order).await?;
    Ok(Reserved {
        order: ordered.order,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_the_note_and_what_is_returned_commit_together() {
    let stock = Stock::new().await;
    let running = stock.started(handlers![reserve]).await;
    stock.produce([ordered("1", "a"), ordered("2", "b")]).await;
    let published = consume(&stock.broker, "stock", 2).await;
    let mut causes: Vec<_> = published
        .iter()
        .map(|raw| raw.get("ce_causationid"))
        .collect();
    causes.sort();
    assert_eq!(causes, [Some("1".to_owned()), Some("2".to_owned())]);
    assert_eq!((stock.effects().await, stock.noted().await), (2, 2));
    assert_eq!(stats(&running, "reserve").handled, 2);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_copies_at_once_have_one_effect() {
    #[handler(event = "Ordered.v1", inbox, order = none)]
    async fn reserve_any(ordered: Ordered, Tx(tx): Tx<Sqlite>) -> sqlx::Result<Reserved> {
        effect(tx, &ordered.order).await?;
        tokio::task::yield_now().await;
        Ok(Reserved {
            order: ordered.order,
        })
    }

    let stock = Stock::new().await;
    stock.produce((0..100).map(|_| ordered("1", "a"))).await;
    let running = stock.started(handlers![reserve_any]).await;
    until("all copies", || {
        let stats = stats(&running, "reserve_any");
        stats.handled + stats.duplicates == 100
    })
    .await;
    assert_eq!(stats(&running, "reserve_any").handled, 1);
    assert_eq!(stock.effects().await, 1);
    assert_eq!(consume(&stock.broker, "stock", 1).await.len(), 1);
    running.shutdown().await.unwrap();
    let servers = stock.broker.bootstrap_servers();
    assert_eq!(common::len_at(servers, "stock").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_handler_has_the_event_once_also_after_a_restart() {
    #[handler(event = "Ordered.v1", inbox, group = "second")]
    async fn reserve_too(ordered: Ordered, Tx(tx): Tx<Sqlite>) -> sqlx::Result<()> {
        effect(tx, &ordered.order).await
    }

    let stock = Stock::new().await;
    stock.broker.create_topic("orders.second.dlq", 1).unwrap();
    for copies in [1, 2] {
        stock.produce([ordered("1", "a")]).await;
        let running = stock.started(handlers![reserve, reserve_too]).await;
        until("both handlers", || {
            ["reserve", "reserve_too"].iter().all(|handler| {
                let stats = stats(&running, handler);
                stats.handled + stats.duplicates == 1
            })
        })
        .await;
        assert_eq!(stock.effects().await, 2, "after {copies} copies");
        running.shutdown().await.unwrap();
    }
    // From another source it is another event.
    let other = ordered("1", "a").header("ce_source", "shop");
    let other = Raw {
        headers: other
            .headers
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "ce_source" => (name, Some(b"branch".to_vec())),
                _ => (name, value),
            })
            .collect(),
        ..other
    };
    stock.produce([other]).await;
    let running = stock.started(handlers![reserve, reserve_too]).await;
    until("both handlers again", || {
        ["reserve", "reserve_too"]
            .iter()
            .all(|handler| stats(&running, handler).handled == 1)
    })
    .await;
    assert_eq!(stock.effects().await, 4);
    running.shutdown().await.unwrap();
}

#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    /// Counts one more, from 1.
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has its effect and fails, each time in another way; the fourth run succeeds.
#[handler(
    event = "Ordered.v1",
    inbox,
    retry(attempts = 4, backoff = "1ms..1ms"),
    timeout = "200ms"
)]
async fn stumble(
    ordered: Ordered,
    Tx(tx): Tx<Sqlite>,
    State(outbox): State<Outbox<Sqlite>>,
    State(runs): State<Runs>,
) -> anyhow::Result<Reserved> {
    effect(tx, &ordered.order).await?;
    let reserved = Reserved {
        order: ordered.order,
    };
    outbox.publish(tx, &reserved).await?;
    match runs.next() {
        1 => anyhow::bail!("an error"),
        2 => panic!("a panic"),
        3 => std::future::pending().await,
        _ => Ok(reserved),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_a_panic_and_a_timeout_roll_everything_back() {
    let stock = Stock::new().await;
    let (runs, outbox) = (Runs::default(), stock.outbox.clone());
    let app = stock.app().state(runs.clone()).state(outbox);
    let running = started(app.handlers(handlers![stumble])).await;
    stock.produce([ordered("1", "a")]).await;
    // One that the handler put into the outbox, and the one that it returned.
    let published = consume(&stock.broker, "stock", 2).await;
    assert_eq!(published.len(), 2);
    assert_eq!(runs.count(), 4);
    assert_eq!((stock.effects().await, stock.noted().await), (1, 1));
    let stats = stats(&running, "stumble");
    assert_eq!((stats.handled, stats.failures), (1, 3));
    running.shutdown().await.unwrap();
    let servers = stock.broker.bootstrap_servers();
    assert_eq!(common::len_at(servers, "stock").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_leaves_nothing_and_its_replay_is_handled() {
    #[handler(event = "Ordered.v1", inbox, retry(attempts = 2, backoff = "1ms..1ms"))]
    async fn fail_at_first(
        ordered: Ordered,
        Tx(tx): Tx<Sqlite>,
        State(runs): State<Runs>,
    ) -> anyhow::Result<()> {
        effect(tx, &ordered.order).await?;
        anyhow::ensure!(runs.next() > 2, "not yet");
        Ok(())
    }

    let stock = Stock::new().await;
    let app = stock.app().state(Runs::default());
    let running = started(app.handlers(handlers![fail_at_first])).await;
    stock.produce([ordered("1", "a")]).await;
    until("the dead letter", || {
        stats(&running, "fail_at_first").dead_letters == 1
    })
    .await;
    assert_eq!((stock.effects().await, stock.noted().await), (0, 0));
    eventkit::dlq::replay(&running).await.unwrap();
    until("the replay", || {
        stats(&running, "fail_at_first").handled == 1
    })
    .await;
    assert_eq!((stock.effects().await, stock.noted().await), (1, 1));
    running.shutdown().await.unwrap();
}

/// A pool that does not wait for the write lock.
#[derive(Clone)]
struct Hasty(SqlitePool);

impl Hasty {
    async fn new(stock: &Stock) -> Self {
        let options = stock.file.options.clone().busy_timeout(Duration::ZERO);
        Self(
            SqlitePoolOptions::new()
                .connect_with(options)
                .await
                .unwrap(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_conflict_is_no_attempt() {
    #[handler(event = "Ordered.v1", inbox, retry(attempts = 1))]
    async fn collide(
        ordered: Ordered,
        Tx(tx): Tx<Sqlite>,
        State(hasty): State<Hasty>,
        State(runs): State<Runs>,
    ) -> anyhow::Result<()> {
        effect(tx, &ordered.order).await?;
        if runs.next() < 4 {
            // The lock is ours, so this is told that the database is busy.
            sqlx::query("DELETE FROM effects").execute(&hasty.0).await?;
        }
        Ok(())
    }

    let stock = Stock::new().await;
    let runs = Runs::default();
    let hasty = Hasty::new(&stock).await;
    let app = stock.app().state(runs.clone()).state(hasty);
    let running = started(app.handlers(handlers![collide])).await;
    stock.produce([ordered("1", "a")]).await;
    until("the event", || stats(&running, "collide").handled == 1).await;
    assert_eq!(runs.count(), 4);
    assert_eq!(stats(&running, "collide").failures, 0);
    assert_eq!(stock.effects().await, 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_waits_for_a_database_that_is_busy() {
    let stock = Stock::new().await;
    let hasty = Hasty::new(&stock).await;
    let mut holder = stock.pool.acquire().await.unwrap();
    let lock = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let outbox = Outbox::new("inventory", hasty.0.clone());
    let app = app("inventory", &stock.broker).inbox(Inbox::new(&outbox));
    let running = started(app.handlers(handlers![reserve])).await;
    stock.produce([ordered("1", "a")]).await;
    // It was begun, and met the lock at least once.
    tokio::time::timeout(Duration::from_millis(300), async {
        until("never", || stats(&running, "reserve").handled > 0).await;
    })
    .await
    .unwrap_err();
    lock.rollback().await.unwrap();
    until("the event", || stats(&running, "reserve").handled == 1).await;
    assert_eq!(stats(&running, "reserve").failures, 0);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_deleted_and_young_ones_stay() {
    let stock = Stock::new().await;
    let rows = "INSERT INTO eventkit_inbox (event_id, source, handler, consumer_group, handled_at) \
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
        SELECT 'old-' || i, 's', 'h', 'g', 0 FROM n";
    sqlx::query(rows).execute(&stock.pool).await.unwrap();
    let inbox = Inbox::new(&stock.outbox).keep(Duration::from_secs(20));
    let app = app("inventory", &stock.broker).inbox(inbox);
    let running = started(app.handlers(handlers![reserve])).await;
    stock.produce([ordered("1", "a")]).await;
    until("the event", || stats(&running, "reserve").handled == 1).await;
    let mut noted = stock.noted().await;
    for _ in 0..2000 {
        if noted == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        noted = stock.noted().await;
    }
    assert_eq!(noted, 1);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_said_at_start() {
    let stock = Stock::new().await;
    let without = app("inventory", &stock.broker).handlers(handlers![reserve]);
    let error = without.check().await.unwrap_err().to_string();
    assert!(
        error.contains("`reserve`") && error.contains("App::inbox"),
        "{error}"
    );

    let inbox = Inbox::new(&stock.outbox).table("other").unwrap();
    let app = app("inventory", &stock.broker).inbox(inbox);
    let error = app.handlers(handlers![reserve]).check().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("inbox `other`"), "{error}");

    let error = Inbox::new(&stock.outbox).table("x\"; DROP TABLE y; --");
    assert!(matches!(error, Err(InboxError::Setting(_))));
}
