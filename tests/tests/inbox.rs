//! The inbox in PostgreSQL, with a real Kafka.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eventkit::inbox::{Inbox, Tx};
use eventkit::prelude::*;
use eventkit::{HandlerDefinition, HandlerStats, Running, handlers};
use eventkit_tests::{
    Admin, Logs, Proxy, RawRecord, Step, TestInbox, database_url, eventually, on, unique, worker,
};
use sqlx::{AssertSqlSafe, Postgres};
use tokio::sync::Barrier;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

async fn started(app: App, inbox: &TestInbox, handlers: Vec<HandlerDefinition>) -> Running {
    let running = app
        .handlers(on(inbox.base.topic.as_str(), handlers))
        .start()
        .await
        .unwrap();
    running.ready().await.unwrap();
    running
}

fn stats(running: &Running) -> HandlerStats {
    running.stats().remove(0)
}

fn steps(key: &str, numbers: std::ops::Range<u64>) -> Vec<RawRecord> {
    numbers.map(|n| Step::record(key, n)).collect()
}

#[handler(event = "Step.v1", inbox)]
async fn take_effect(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(inbox): State<TestInbox>,
) -> sqlx::Result<Step> {
    inbox.effect(tx, &step).await?;
    Ok(step)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_copies_over_three_services_have_one_effect() {
    let inbox = TestInbox::new("copies").await;
    let mut apps = Vec::new();
    for _ in 0..3 {
        apps.push(started(inbox.app(), &inbox, handlers![take_effect]).await);
    }
    let copies: Vec<RawRecord> = (0..100)
        .map(|n| Step::record("a", 1).no_key().partition(n % 4))
        .collect();
    inbox.write(&copies).await;
    inbox.settles().await;
    assert_eq!(inbox.counts().await, (1, 1, 1));
    let all: Vec<HandlerStats> = apps.iter().map(stats).collect();
    assert_eq!(all.iter().map(|one| one.handled).sum::<u64>(), 1);
    assert_eq!(all.iter().map(|one| one.duplicates).sum::<u64>(), 99);
    for app in apps {
        app.shutdown().await.unwrap();
    }
}

/// Another service's transaction has the event's row and is open. What the App
/// did with the event once that ended.
async fn beside_another(commits: bool) -> (HandlerStats, (i64, i64, i64)) {
    let inbox = TestInbox::new("beside").await;
    let running = started(inbox.app(), &inbox, handlers![take_effect]).await;
    let mut other = inbox.pool().begin().await.unwrap();
    let row = inbox.sql(
        "INSERT INTO inbox (event_id, source, handler, consumer_group) \
         VALUES ('a/1', 'tests', 'take_effect', $1)",
    );
    sqlx::query(AssertSqlSafe(row))
        .bind(&inbox.group)
        .execute(&mut *other)
        .await
        .unwrap();
    inbox.write(&steps("a", 1..2)).await;
    eventually("the delivery waits for the other", async || {
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
             AND query LIKE '%{}%'",
            inbox.base.schema
        );
        inbox.number(&waiting).await == 1
    })
    .await;
    assert_eq!(stats(&running).handled + stats(&running).duplicates, 0);
    match commits {
        true => other.commit().await.unwrap(),
        false => other.rollback().await.unwrap(),
    }
    inbox.settles().await;
    let ended = (stats(&running), inbox.counts().await);
    running.shutdown().await.unwrap();
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_waits_and_then_is_a_duplicate() {
    let (stats, counts) = beside_another(true).await;
    assert_eq!((stats.handled, stats.duplicates), (0, 1));
    assert_eq!(counts, (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_waits_and_handles_what_the_other_gave_up() {
    let (stats, counts) = beside_another(false).await;
    assert_eq!((stats.handled, stats.duplicates), (1, 0));
    assert_eq!(counts, (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_no_attempt() {
    #[handler(event = "Step.v1", inbox, order = none, retry(attempts = 1))]
    async fn count(
        step: Step,
        Tx(tx): Tx<Postgres>,
        State(inbox): State<TestInbox>,
    ) -> anyhow::Result<Step> {
        let change = inbox.sql("UPDATE effects SET n = n + 1 WHERE key = 'sum'");
        sqlx::query(AssertSqlSafe(change))
            .execute(&mut **tx)
            .await?;
        Ok(step)
    }

    let inbox = TestInbox::new("serializable").await;
    let strict = [("default_transaction_isolation", "serializable")];
    let inbox = inbox.with_settings(&strict).await;
    inbox.execute("INSERT INTO effects VALUES ('sum', 0)").await;
    inbox.write(&steps("a", 0..60)).await;
    let running = started(inbox.app(), &inbox, handlers![count]).await;
    inbox.settles().await;
    assert_eq!(inbox.number("SELECT n FROM effects").await, 60);
    assert_eq!(inbox.counts().await, (1, 60, 60));
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (60, 0));
    running.shutdown().await.unwrap();
}

#[derive(Clone)]
struct Meeting(Arc<Barrier>, Arc<AtomicU32>);

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_no_attempt() {
    /// Takes its own row first, then the other's, once both have their own.
    #[handler(event = "Step.v1", inbox, retry(attempts = 1))]
    async fn cross(
        step: Step,
        Tx(tx): Tx<Postgres>,
        State(inbox): State<TestInbox>,
        State(meeting): State<Meeting>,
    ) -> anyhow::Result<()> {
        let change = inbox.sql("UPDATE effects SET n = n + 1 WHERE key = $1");
        let other = if step.key == "a" { "b" } else { "a" };
        for (key, first) in [(step.key.as_str(), true), (other, false)] {
            sqlx::query(AssertSqlSafe(change.clone()))
                .bind(key)
                .execute(&mut **tx)
                .await?;
            if first && meeting.1.fetch_add(1, Ordering::Relaxed) < 2 {
                meeting.0.wait().await;
            }
        }
        Ok(())
    }

    let inbox = TestInbox::new("deadlock").await;
    inbox
        .execute("INSERT INTO effects VALUES ('a', 0), ('b', 0)")
        .await;
    let meeting = Meeting(Arc::new(Barrier::new(2)), Arc::default());
    let app = inbox.app().state(meeting.clone());
    let running = started(app, &inbox, handlers![cross]).await;
    inbox
        .write(&[Step::record("a", 1), Step::record("b", 1)])
        .await;
    inbox.settles().await;
    assert_eq!(inbox.number("SELECT sum(n)::bigint FROM effects").await, 4);
    assert_eq!(meeting.1.load(Ordering::Relaxed), 3, "one ran twice");
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (2, 0));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hides_a_database_error_has_not_succeeded() {
    #[handler(event = "Step.v1", inbox, retry(attempts = 2, backoff = "1ms..1ms"))]
    async fn hide(
        step: Step,
        Tx(tx): Tx<Postgres>,
        State(inbox): State<TestInbox>,
    ) -> anyhow::Result<()> {
        inbox.effect(tx, &step).await?;
        let _ = sqlx::query("SELECT 1 / 0").execute(&mut **tx).await;
        Ok(())
    }

    let inbox = TestInbox::new("hidden").await;
    let running = started(inbox.app(), &inbox, handlers![hide]).await;
    inbox.write(&steps("a", 1..2)).await;
    inbox.settles().await;
    let stats = stats(&running);
    assert_eq!(
        (stats.handled, stats.failures, stats.dead_letters),
        (0, 2, 1)
    );
    assert_eq!(inbox.counts().await, (0, 0, 0));
    running.shutdown().await.unwrap();
}

#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_within_a_transaction_is_no_attempt() {
    #[handler(event = "Step.v1", inbox, retry(attempts = 1))]
    async fn lose_connection(
        step: Step,
        Tx(tx): Tx<Postgres>,
        State(inbox): State<TestInbox>,
        State(runs): State<Runs>,
    ) -> anyhow::Result<Step> {
        inbox.effect(tx, &step).await?;
        if runs.0.fetch_add(1, Ordering::Relaxed) < 3 {
            let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
                .fetch_one(&mut **tx)
                .await?;
            sqlx::query("SELECT pg_terminate_backend($1)")
                .bind(backend)
                .execute(inbox.pool())
                .await?;
        }
        inbox.effect(tx, &step).await?;
        Ok(step)
    }

    let inbox = TestInbox::new("terminated").await;
    let runs = Runs::default();
    let app = inbox.app().state(runs.clone());
    let running = started(app, &inbox, handlers![lose_connection]).await;
    inbox.write(&steps("a", 1..2)).await;
    inbox.settles().await;
    assert_eq!(inbox.counts().await, (2, 1, 1));
    assert_eq!(runs.0.load(Ordering::Relaxed), 4);
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (1, 0));
    running.shutdown().await.unwrap();
}

async fn waits_while(fault: fn(&Proxy, bool)) {
    let inbox = TestInbox::new("away").await;
    let url = database_url();
    let address = url.rsplit('@').next().unwrap().split('/').next().unwrap();
    let proxy = Proxy::to(address).await;
    let behind = inbox.through(&proxy).await;
    let running = started(behind.app(), &inbox, handlers![take_effect]).await;
    inbox.write(&steps("a", 0..10)).await;
    inbox.settles().await;

    fault(&proxy, true);
    for key in ["a", "b", "c"] {
        inbox.write(&steps(key, 10..20)).await;
    }
    // Long enough for several tries; none of them counts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stats(&running).handled, 10);
    fault(&proxy, false);
    inbox.settles().await;
    assert_eq!(inbox.counts().await, (40, 40, 40));
    let stats = stats(&running);
    assert_eq!(
        (stats.handled, stats.failures, stats.dead_letters),
        (40, 0, 0)
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_a_database_that_is_away() {
    waits_while(Proxy::cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_wait_for_a_database_that_stands_still() {
    waits_while(Proxy::freeze).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_before_its_commit_has_had_no_effect() {
    let inbox = TestInbox::new("killed").await;
    inbox.write(&steps("a", 0..5)).await;
    let (schema, topic) = (inbox.base.schema.clone(), inbox.base.topic.clone());
    let mut first = worker(WORKER, &["inbox", &schema, &topic, "effect"]);
    first.says("reached").await;
    first.kill();
    assert_eq!(inbox.counts().await, (0, 0, 0));
    let second = worker(WORKER, &["inbox", &schema, &topic, "nowhere"]);
    inbox.settles().await;
    assert_eq!(inbox.counts().await, (5, 5, 5));
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_right_after_its_commit_has_had_its_effect() {
    let inbox = TestInbox::new("committed").await;
    inbox.write(&steps("a", 0..1)).await;
    let (schema, topic) = (inbox.base.schema.clone(), inbox.base.topic.clone());
    let mut first = worker(WORKER, &["inbox", &schema, &topic, "nowhere"]);
    eventually("the effect", async || inbox.counts().await.0 == 1).await;
    first.kill();
    let committed = Admin::new().committed(&inbox.group, &topic);
    assert!(
        committed.values().all(|offset| *offset == 0),
        "{committed:?}"
    );
    let second = worker(WORKER, &["inbox", &schema, &topic, "nowhere"]);
    inbox.settles().await;
    assert_eq!(inbox.counts().await, (1, 1, 1));
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_before_the_topics_records_are_warned_of() {
    let logs = Logs::capture();
    let inbox = TestInbox::new("retention").await;
    let topic = unique("short");
    let admin = Admin::new();
    admin
        .create(&topic, 1, &[("retention.ms", "3600000")])
        .await;
    let check = async |topic: &str, keep: Duration| {
        let kept = Inbox::new(&inbox.base.outbox).keep(keep);
        let handlers = on(topic.to_owned(), handlers![take_effect]);
        inbox.app().inbox(kept).handlers(handlers).check().await
    };
    check(&topic, Duration::from_secs(3600)).await.unwrap();
    assert!(logs.with(&topic).is_empty());
    check(&topic, Duration::from_secs(3599)).await.unwrap();
    let warned = logs.with(&topic);
    assert!(
        warned.iter().any(|line| line
            .message
            .contains("for 1h, the inbox its rows for 59m 59s")),
        "{warned:?}"
    );
}
