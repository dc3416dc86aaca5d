//! The outbox in SQLite, on the embedded broker.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/sqlite.rs"]
mod sqlite;

use std::time::Duration;

use common::{Log, Raw, app, broker, consume, started, until};
use eventkit::embedded::EmbeddedBroker;
use eventkit::outbox::{Outbox, OutboxError, Relay};
use eventkit::prelude::*;
use eventkit::{Message, handlers};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr as Code;
use sqlite::SqliteFile;
use sqlx::{Connection, Sqlite, SqlitePool};

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(type = "Noted.v1", topic = "notes", key = key)]
struct Noted {
    key: String,
    n: u64,
}

fn note(key: &str, n: u64) -> Noted {
    Noted {
        key: key.to_owned(),
        n,
    }
}

struct Database {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
    _file: SqliteFile,
}

impl Database {
    async fn new() -> Self {
        let file = SqliteFile::new().await;
        let outbox = Outbox::new("shop", file.pool.clone());
        outbox.migrate().await.unwrap();
        Self {
            pool: file.pool.clone(),
            outbox,
            _file: file,
        }
    }

    async fn publish(&self, events: &[Noted]) {
        let mut tx = self.pool.begin().await.unwrap();
        for event in events {
            self.outbox.publish(&mut tx, event).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    fn relay(&self, broker: &EmbeddedBroker) -> Relay<Sqlite> {
        relay(&self.outbox, broker.bootstrap_servers())
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = match table {
            "outbox" => "SELECT count(*) FROM eventkit_outbox",
            "sent" => "SELECT count(*) FROM eventkit_outbox_sent",
            "aside" => "SELECT count(*) FROM eventkit_outbox_aside",
            other => panic!("no table {other}"),
        };
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    async fn blocked_at(&self) -> i64 {
        let sql = "SELECT max(blocked_at) FROM eventkit_outbox";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until nothing is unsent but this many.
    async fn drains_to(&self, left: i64) {
        let mut last = -1;
        for _ in 0..2000 {
            last = self.count("outbox").await;
            if last == left {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{last} rows are left, not {left}");
    }
}

fn relay(outbox: &Outbox<Sqlite>, servers: &str) -> Relay<Sqlite> {
    Relay::new(outbox)
        .bootstrap_servers(servers)
        .lease(Duration::from_secs(1))
        .poll_interval(Duration::from_millis(20))
}

fn decoded(records: &[Raw]) -> Vec<(String, u64)> {
    records
        .iter()
        .map(|raw| {
            let noted: Noted = serde_json::from_slice(raw.payload.as_deref().unwrap()).unwrap();
            assert_eq!(raw.key.as_deref(), Some(noted.key.as_bytes()));
            (noted.key, noted.n)
        })
        .collect()
}

fn numbers(records: &[Raw]) -> Vec<u64> {
    decoded(records).into_iter().map(|(_, n)| n).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_published_and_what_is_rolled_back_is_not() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let relay = database.relay(&broker).start().unwrap();

    let mut tx = database.pool.begin().await.unwrap();
    database
        .outbox
        .publish(&mut tx, &note("a", 100))
        .await
        .unwrap();
    tx.rollback().await.unwrap();

    let mut tx = database.pool.begin().await.unwrap();
    database
        .outbox
        .publish(&mut tx, &note("a", 1))
        .await
        .unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    database
        .outbox
        .publish(&mut savepoint, &note("a", 101))
        .await
        .unwrap();
    savepoint.rollback().await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    database
        .outbox
        .publish(&mut savepoint, &note("a", 2))
        .await
        .unwrap();
    savepoint.commit().await.unwrap();
    tx.commit().await.unwrap();

    database.publish(&[note("a", 3)]).await;
    database.drains_to(0).await;
    assert_eq!(numbers(&consume(&broker, "notes", 3).await), [1, 2, 3]);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_what_a_publisher_would_have_sent() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let mut tx = database.pool.begin().await.unwrap();
    let id = uuid::Uuid::now_v7();
    let event = note("a", 1);
    let message = Message::new(&event)
        .id(id)
        .correlation_id("request-1")
        .subject("about a")
        .header("tenant", "acme")
        .header("tenant", [0xff]);
    let returned = database.outbox.send(&mut tx, message).await.unwrap();
    assert_eq!(returned, id.to_string());
    let ids = database
        .outbox
        .publish_all(&mut tx, vec![note("a", 2), note("b", 3)])
        .await;
    let ids = ids.unwrap();
    tx.commit().await.unwrap();

    let relay = database.relay(&broker).start().unwrap();
    let mut records = consume(&broker, "notes", 3).await;
    relay.shutdown().await.unwrap();
    // Between keys there is no order.
    records.sort_by_key(|record| numbers(std::slice::from_ref(record)));
    assert_eq!(numbers(&records), [1, 2, 3]);
    let first = &records[0];
    assert_eq!(first.get("ce_id"), Some(id.to_string()));
    assert_eq!(first.get("ce_type").as_deref(), Some("Noted.v1"));
    assert_eq!(first.get("ce_source").as_deref(), Some("shop"));
    assert_eq!(first.get("ce_subject").as_deref(), Some("about a"));
    assert_eq!(first.get("ce_correlationid").as_deref(), Some("request-1"));
    let own = &first.headers[first.headers.len() - 2..];
    assert_eq!(own[0], ("tenant".into(), Some(b"acme".to_vec())));
    assert_eq!(own[1], ("tenant".into(), Some(vec![0xff])));
    assert_eq!(records[1].get("ce_id").as_ref(), Some(&ids[0]));
    assert_eq!(records[2].get("ce_id"), records[2].get("ce_correlationid"));
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Asked.v1", topic = "questions", key = key)]
struct Asked {
    key: String,
}

#[handler(event = "Asked.v1", retry(attempts = 3, backoff = "1ms..2ms"))]
async fn answer(
    asked: Asked,
    Attempt(attempt): Attempt,
    State(pool): State<SqlitePool>,
    State(outbox): State<Outbox<Sqlite>>,
) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let noted = note(&asked.key, attempt.into());
    outbox.publish(&mut tx, &noted).await?;
    tx.commit().await?;
    // The commit succeeded, and its handler fails all the same.
    anyhow::ensure!(attempt > 1, "not yet");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_handler_events_have_its_correlation_and_ids_that_repeat() {
    let broker = broker(&["notes", "questions"]);
    let database = Database::new().await;
    let running = started(
        app("answers", &broker)
            .handlers(handlers![answer])
            .state(database.pool.clone())
            .state(database.outbox.clone())
            .outbox(database.relay(&broker)),
    )
    .await;
    let event = Asked { key: "a".into() };
    let asked = Message::new(&event).correlation_id("flow-1");
    let asked = running.publisher().send(asked).await.unwrap();
    let records = consume(&broker, "notes", 2).await;
    running.shutdown().await.unwrap();
    assert_eq!(numbers(&records), [1, 2]);
    for record in &records {
        assert_eq!(record.get("ce_correlationid").as_deref(), Some("flow-1"));
        assert_eq!(record.get("ce_causationid").as_ref(), Some(&asked.id));
    }
    assert_eq!(records[0].get("ce_id"), records[1].get("ce_id"));
}

#[handler(event = "Noted.v1")]
async fn take(noted: Noted, State(log): State<Log<u64>>) {
    log.push(noted.n);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_publishes_its_outbox() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let log = Log::<u64>::default();
    let running = started(
        app("notes", &broker)
            .handlers(handlers![take])
            .state(log.clone())
            .outbox(database.outbox.clone()),
    )
    .await;
    let many: Vec<Noted> = (0..3000).map(|n| note("a", n)).collect();
    let mut tx = database.pool.begin().await.unwrap();
    database.outbox.publish_all(&mut tx, many).await.unwrap();
    tx.commit().await.unwrap();
    until("all events are handled", || log.len() == 3000).await;
    assert_eq!(log.all(), (0..3000).collect::<Vec<_>>());
    database.drains_to(0).await;
    let stats = database.outbox.stats().await.unwrap();
    assert_eq!(
        (stats.backlog, stats.published, stats.oldest),
        (0, 3000, None)
    );
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_app_does_not_start_without_the_tables() {
    let broker = broker(&[]);
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let app = app("shop", &broker)
        .handlers([])
        .outbox(Outbox::new("shop", pool));
    let error = app.start().await.unwrap_err().to_string();
    assert!(error.contains("outbox `eventkit_outbox`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_rows_are_kept_for_their_time_and_unsent_ones_never_cleaned() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let kept = database.relay(&broker).keep_sent(Duration::from_secs(3600));
    let kept = kept.start().unwrap();
    database.publish(&[note("a", 1), note("b", 2)]).await;
    database.drains_to(0).await;
    kept.shutdown().await.unwrap();
    assert_eq!(database.count("sent").await, 2);

    // A relay that can publish nothing cleans all the same.
    database.publish(&[note("a", 3)]).await;
    let cleaning = relay(&database.outbox, "127.0.0.1:1");
    let cleaning = cleaning
        .keep_sent(Duration::from_millis(100))
        .start()
        .unwrap();
    while database.count("sent").await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(database.count("outbox").await, 1);
    drop(cleaning);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_blocks_its_key_only_until_it_is_tried_again() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let large = Noted {
        key: "x".repeat(3000),
        n: 1,
    };
    let follower = Noted {
        n: 2,
        ..large.clone()
    };
    database
        .publish(&[large.clone(), note("a", 3), follower, note("a", 4)])
        .await;
    // The client's own limit stands in for the topic's.
    let strict = database.relay(&broker).kafka("message.max.bytes", "2000");
    let strict = strict.start().unwrap();
    database.drains_to(2).await;
    assert_eq!(numbers(&consume(&broker, "notes", 2).await), [3, 4]);

    until_blocked(&database, 1).await;
    let blocked = database.outbox.blocked().await.unwrap();
    assert_eq!(blocked[0].topic, "notes");
    assert_eq!(blocked[0].key.as_deref(), Some(large.key.as_bytes()));
    assert!(
        blocked[0].reason.contains("MessageSizeTooLarge"),
        "{blocked:?}"
    );
    assert_eq!(database.outbox.stats().await.unwrap().blocked, 1);

    // It is left alone until somebody asks for it.
    let since = database.blocked_at().await;
    database.publish(&[note("a", 5)]).await;
    database.drains_to(2).await;
    assert_eq!(database.blocked_at().await, since);

    // The reason is still there.
    assert!(database.outbox.retry(blocked[0].id).await.unwrap());
    until_blocked(&database, 1).await;
    strict.shutdown().await.unwrap();

    // It is gone.
    assert!(database.outbox.retry(blocked[0].id).await.unwrap());
    assert!(!database.outbox.retry(blocked[0].id).await.unwrap());
    let relay = database.relay(&broker).start().unwrap();
    database.drains_to(0).await;
    assert_eq!(
        numbers(&consume(&broker, "notes", 5).await),
        [3, 4, 5, 1, 2]
    );
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_set_aside_lets_its_key_go_on() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let key = "x".repeat(1500);
    database.publish(&[note(&(key.clone() + &key), 1)]).await;
    database.publish(&[note(&key, 2), note(&key, 3)]).await;
    let relay = database
        .relay(&broker)
        .kafka("message.max.bytes", "2000")
        .start()
        .unwrap();
    until_blocked(&database, 2).await;
    let blocked = database.outbox.blocked().await.unwrap();
    assert!(
        !database
            .outbox
            .set_aside(blocked[0].id + 100)
            .await
            .unwrap()
    );
    for event in &blocked {
        assert!(database.outbox.set_aside(event.id).await.unwrap());
    }
    until_blocked(&database, 1).await;
    assert_eq!(database.count("aside").await, 2, "nothing is dropped");
    assert_eq!(database.outbox.retry_all().await.unwrap(), 1);
    relay.shutdown().await.unwrap();
    assert_eq!(database.count("outbox").await, 1);
}

async fn until_blocked(database: &Database, count: usize) {
    for _ in 0..2000 {
        if database.outbox.blocked().await.unwrap().len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", database.outbox.blocked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_share_the_buckets_and_one_takes_over_what_the_other_gives_back() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let first = database.relay(&broker).start().unwrap();
    holders(&database, &[64]).await;
    let second = database.relay(&broker).start().unwrap();
    holders(&database, &[32, 32]).await;
    let third = database.relay(&broker).start().unwrap();
    holders(&database, &[20, 22, 22]).await;
    first.shutdown().await.unwrap();
    third.shutdown().await.unwrap();
    holders(&database, &[64]).await;
    database.publish(&[note("a", 1)]).await;
    database.drains_to(0).await;
    second.shutdown().await.unwrap();
    holders(&database, &[]).await;
}

/// Waits until so many buckets are held by each of so many relays.
async fn holders(database: &Database, wanted: &[i64]) {
    let mut held: Vec<i64> = Vec::new();
    for _ in 0..2000 {
        held = sqlx::query_scalar(
            "SELECT count(*) FROM eventkit_outbox_leases WHERE relay IS NOT NULL \
             GROUP BY relay ORDER BY 1",
        )
        .fetch_all(&database.pool)
        .await
        .unwrap();
        if held == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("held: {held:?}, wanted: {wanted:?}");
}

/// Somebody else has all leases for a while.
async fn steal(database: &Database, seconds: i64) {
    let stolen = sqlx::query(
        "UPDATE eventkit_outbox_leases SET relay = 'thief', \
         expires_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + 1000 * ?",
    );
    stolen.bind(seconds).execute(&database.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_leases_publishes_nothing() {
    let broker = broker(&["notes"]);
    let database = Database::new().await;
    let relay = database.relay(&broker).start().unwrap();
    holders(&database, &[64]).await;
    steal(&database, 3600).await;
    database.publish(&[note("a", 1)]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(database.count("outbox").await, 1);
    steal(&database, 0).await;
    database.drains_to(0).await;
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_broker_is_taken_back_when_the_lease_is_lost() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("notes", 1, 1).unwrap();
    let database = Database::new().await;
    let relay = relay(&database.outbox, &cluster.bootstrap_servers())
        .kafka("reconnect.backoff.max.ms", "100")
        .start()
        .unwrap();
    database.publish(&[note("a", 1)]).await;
    database.drains_to(0).await;

    cluster.broker_down(1).unwrap();
    database.publish(&[note("a", 2)]).await;
    // Time for the row to be read and queued.
    tokio::time::sleep(Duration::from_millis(300)).await;
    steal(&database, 3600).await;
    // Time for the relay to notice.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.broker_up(1).unwrap();
    database.publish(&[note("a", 3)]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let published = database.outbox.stats().await.unwrap().published;
    assert_eq!((published, database.count("outbox").await), (1, 2));

    steal(&database, 0).await;
    database.drains_to(0).await;
    relay.shutdown().await.unwrap();
    assert_eq!(
        consume_from(&cluster.bootstrap_servers(), 3).await,
        [1, 2, 3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_unknown_for_a_moment_blocks_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("notes", 1, 1).unwrap();
    // As a broker says that has just started.
    let unknown = Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error("notes", unknown).unwrap();
    let database = Database::new().await;
    database.publish(&[note("a", 1)]).await;
    let relay = relay(&database.outbox, &cluster.bootstrap_servers())
        .kafka("topic.metadata.propagation.max.ms", "200")
        .start()
        .unwrap();
    // Time for the row to be refused.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(database.outbox.blocked().await.unwrap(), []);
    assert_eq!(database.count("outbox").await, 1);
    let known = Code::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error("notes", known).unwrap();
    database.drains_to(0).await;
    relay.shutdown().await.unwrap();
}

async fn consume_from(servers: &str, count: usize) -> Vec<u64> {
    numbers(&common::consume_at(servers, "notes", count).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_while_the_broker_is_away() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("notes", 1, 1).unwrap();
    cluster.broker_down(1).unwrap();
    let database = Database::new().await;
    let relay = relay(&database.outbox, &cluster.bootstrap_servers())
        .start()
        .unwrap();
    for n in 0..50 {
        database.publish(&[note("a", n)]).await;
    }
    let stats = database.outbox.stats().await.unwrap();
    assert_eq!((stats.backlog, stats.blocked), (50, 0));
    assert!(stats.oldest.is_some());
    cluster.broker_up(1).unwrap();
    database.drains_to(0).await;
    assert_eq!(
        consume_from(&cluster.bootstrap_servers(), 50).await,
        (0..50).collect::<Vec<_>>()
    );
    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn other_names_are_taken_and_illegal_ones_refused() {
    let database = Database::new().await;
    let named = |table: &str| Outbox::builder("shop", database.pool.clone()).table(table);
    let outbox = named("Mail_1").build().unwrap();
    outbox.migrate().await.unwrap();
    outbox.migrate().await.unwrap();
    let mut tx = database.pool.begin().await.unwrap();
    outbox.publish(&mut tx, &note("a", 1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(outbox.stats().await.unwrap().backlog, 1);
    assert_eq!(database.outbox.stats().await.unwrap().backlog, 0);
    let error = named("x\"; DROP TABLE y; --").build().unwrap_err();
    assert!(matches!(error, OutboxError::Setting(_)), "{error}");
    let error = named("mail").schema("shop").build().unwrap_err();
    assert!(
        error.to_string().contains("SQLite has no schemas"),
        "{error}"
    );
}
