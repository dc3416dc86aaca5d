//! The outbox in PostgreSQL, with a real Kafka.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use eventkit::outbox::{Outbox, OutboxError};
use eventkit_tests::{
    Admin, Process, Proxy, Step, TestOutbox, database_address, eventually, settles_at, unique,
    worker,
};
use sqlx::Connection;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

fn relay_process(outbox: &TestOutbox) -> Process {
    worker(WORKER, &["relay", &outbox.schema, &outbox.topic])
}

fn writer_process(outbox: &TestOutbox, key: &str, until: &str) -> Process {
    worker(
        WORKER,
        &["write", &outbox.schema, &outbox.topic, key, until],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_never_published_nor_is_a_savepoint() {
    let outbox = TestOutbox::new("rollback").await;
    let relay = outbox.relay().start().unwrap();
    let mut tx = outbox.pool.begin().await.unwrap();
    outbox.write(&mut tx, "a", 100..200).await;
    tx.rollback().await.unwrap();

    let mut tx = outbox.pool.begin().await.unwrap();
    outbox.write(&mut tx, "a", 0..1).await;
    let mut savepoint = tx.begin().await.unwrap();
    outbox.write(&mut savepoint, "a", 200..300).await;
    savepoint.rollback().await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    outbox.write(&mut savepoint, "a", 1..2).await;
    savepoint.commit().await.unwrap();
    tx.commit().await.unwrap();
    outbox.commit("a", 2..5).await;

    outbox.drains_to(0).await;
    let published = outbox.published();
    assert_eq!(published.0.len(), 5);
    published.assert_complete(1, 5);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_takes_its_id_first_and_commits_last_is_published() {
    let outbox = TestOutbox::new("gap").await;
    let relay = outbox.relay().start().unwrap();
    let mut late = outbox.pool.begin().await.unwrap();
    outbox.write(&mut late, "late", 0..3).await;
    // Passed by many, in its bucket and in the others.
    for round in 0..5 {
        outbox
            .commit("late", round * 10 + 10..round * 10 + 20)
            .await;
        for key in 0..20 {
            outbox.commit(&format!("k{key}"), round..round + 1).await;
        }
    }
    outbox.drains_to(0).await;
    late.commit().await.unwrap();
    outbox.drains_to(0).await;
    let published = outbox.published();
    assert_eq!(published.0.len(), 3 + 5 * 10 + 5 * 20);
    let late = &published.by_key()["late"];
    assert_eq!(late[late.len() - 3..], [0, 1, 2]);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_take_turns_on_a_key_have_an_order_whoever_began_first() {
    let outbox = TestOutbox::new("turns").await;
    // It is the older transaction by its number, and writes second.
    let mut older = outbox.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *older)
        .await
        .unwrap();
    outbox.commit("a", 0..1).await;
    outbox.write(&mut older, "a", 1..2).await;
    older.commit().await.unwrap();
    outbox.commit("a", 2..3).await;
    let relay = outbox.relay().start().unwrap();
    outbox.drains_to(0).await;
    outbox.published().assert_complete(1, 3);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_that_stays_open_holds_nothing_up() {
    let outbox = TestOutbox::new("foreign").await;
    let mut foreign = outbox.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()")
        .execute(&mut *foreign)
        .await
        .unwrap();
    let relay = outbox.relay().start().unwrap();
    outbox.commit("a", 0..10).await;
    outbox.drains_to(0).await;
    outbox.published().assert_complete(1, 10);
    foreign.rollback().await.unwrap();
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_the_relay_of_another_process() {
    let outbox = TestOutbox::new("wake").await;
    // Polling alone would come too late for this test.
    let elsewhere = TestOutbox::open(&outbox.schema, &outbox.topic).await;
    let relay = elsewhere
        .relay()
        .poll_interval(Duration::from_secs(600))
        .start()
        .unwrap();
    outbox.is_shared_by(1).await;
    for round in 0..5 {
        outbox.commit("a", round..round + 1).await;
        outbox.drains_to(0).await;
    }
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notify_polling_finds_the_rows() {
    let outbox = TestOutbox::new("poll").await;
    let quiet = Outbox::builder("tests", outbox.pool.clone()).schema(&outbox.schema);
    let quiet = TestOutbox {
        outbox: quiet.without_notify().build().unwrap(),
        ..outbox.clone()
    };
    let relay = outbox.relay().start().unwrap();
    outbox.is_shared_by(1).await;
    quiet.commit("a", 0..5).await;
    quiet.drains_to(0).await;
    outbox.published().assert_complete(1, 5);
    relay.shutdown().await.unwrap();
}

/// Writers of their own keys, as long as relays come and go.
async fn write_all(outbox: &TestOutbox, keys: usize, each: u64) {
    let writers = (0..keys).map(|key| {
        let outbox = outbox.clone();
        tokio::spawn(async move {
            let mut n = 0;
            while n < each {
                let next = (n + 1 + n % 3).min(each);
                outbox.commit(&format!("k{key}"), n..next).await;
                n = next;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

async fn survives(relays: usize, how: &str) {
    let outbox = TestOutbox::new(how).await;
    let mut processes: Vec<_> = (0..relays).map(|_| relay_process(&outbox)).collect();
    outbox.is_shared_by(relays as i64).await;
    let writing = tokio::spawn({
        let outbox = outbox.clone();
        async move { write_all(&outbox, 24, 60).await }
    });
    eventually("some events are published", async || {
        let ends = Admin::new().ends(&outbox.topic);
        ends.values().sum::<i64>() > 100
    })
    .await;
    if how == "killed" {
        processes[0].kill();
    } else {
        processes[0].signal("STOP");
    }
    writing.await.unwrap();
    outbox.drains_to(0).await;
    if how == "frozen" {
        processes[0].signal("CONT");
        outbox.is_shared_by(relays as i64).await;
        write_more(&outbox, 24, 60).await;
    } else {
        processes[0] = relay_process(&outbox);
        outbox.is_shared_by(relays as i64).await;
        write_more(&outbox, 24, 60).await;
    }
    outbox.drains_to(0).await;
    outbox.published().assert_complete(24, 63);
    for mut process in processes {
        process.signal("TERM");
        assert!(process.ends(Duration::from_secs(20)).await.success());
    }
}

async fn write_more(outbox: &TestOutbox, keys: usize, from: u64) {
    for key in 0..keys {
        outbox.commit(&format!("k{key}"), from..from + 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_lose_nothing_when_one_is_killed() {
    survives(2, "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_lose_nothing_when_one_is_frozen() {
    survives(2, "frozen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_relays_lose_nothing_when_one_is_killed() {
    survives(4, "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_relays_lose_nothing_when_one_is_frozen() {
    survives(4, "frozen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_renew_its_leases_stops_when_they_end() {
    let outbox = TestOutbox::new("lease").await;
    let relay = outbox.relay().start().unwrap();
    outbox.commit("a", 0..1).await;
    outbox.drains_to(0).await;
    // Readers pass this lock, writers wait for it.
    let mut tx = outbox.pool.begin().await.unwrap();
    let lock = outbox.sql("LOCK TABLE outbox_leases IN EXCLUSIVE MODE");
    sqlx::query(sqlx::AssertSqlSafe(lock))
        .execute(&mut *tx)
        .await
        .unwrap();
    eventually("the leases have ended", async || {
        outbox
            .number("SELECT count(*) FROM outbox_leases WHERE expires_at > clock_timestamp()")
            .await
            == 0
    })
    .await;
    outbox.commit("a", 1..2).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(outbox.rows().await, 1);
    tx.rollback().await.unwrap();
    outbox.drains_to(0).await;
    outbox.published().assert_complete(1, 2);
    relay.shutdown().await.unwrap();
}

async fn is_back_after(fault: fn(&Proxy, bool)) {
    let outbox = TestOutbox::new("away").await;
    let proxy = Proxy::to(&database_address()).await;
    let behind = outbox.through(&proxy).await;
    let relay = behind.relay().start().unwrap();
    outbox.commit("a", 0..10).await;
    outbox.drains_to(0).await;

    fault(&proxy, true);
    outbox.commit("a", 10..20).await;
    eventually("the leases have ended", async || {
        outbox
            .number("SELECT count(*) FROM outbox_leases WHERE expires_at > clock_timestamp()")
            .await
            == 0
    })
    .await;
    // Another relay takes over, by its own way.
    let other = outbox.relay().start().unwrap();
    outbox.drains_to(0).await;
    other.shutdown().await.unwrap();
    outbox.commit("a", 20..30).await;

    fault(&proxy, false);
    outbox.drains_to(0).await;
    outbox.published().assert_complete(1, 30);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_database_was_away_goes_on() {
    is_back_after(Proxy::cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_database_was_frozen_goes_on() {
    is_back_after(Proxy::freeze).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_before_its_commit_publishes_nothing_and_after_it_everything() {
    let outbox = TestOutbox::new("writer").await;
    let relay = outbox.relay().start().unwrap();
    let mut before = writer_process(&outbox, "inserted", "insert");
    before.says("reached").await;
    let mut after = writer_process(&outbox, "committed", "commit");
    after.says("reached").await;
    before.kill();
    after.kill();
    outbox.drains_to(0).await;
    let published = outbox.published();
    assert_eq!(published.0.len(), 10);
    published.assert_complete(1, 10);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_after_publishing_and_before_removing_leaves_only_duplicates() {
    let outbox = TestOutbox::new("published").await;
    outbox.commit("a", 0..10).await;
    // The rows can be read and not removed.
    let mut tx = outbox.pool.begin().await.unwrap();
    let lock = outbox.sql("LOCK TABLE outbox IN SHARE MODE");
    sqlx::query(sqlx::AssertSqlSafe(lock))
        .execute(&mut *tx)
        .await
        .unwrap();
    let mut relay = relay_process(&outbox);
    let published = async || Admin::new().ends(&outbox.topic).values().sum::<i64>();
    eventually("the events are published", async || published().await == 10).await;
    relay.kill();
    tx.rollback().await.unwrap();
    assert_eq!(outbox.rows().await, 10);
    let mut relay = relay_process(&outbox);
    outbox.drains_to(0).await;
    let copies = outbox.published();
    assert_eq!(copies.0.len(), 20);
    copies.assert_complete(1, 10);
    // And after removing: no duplicate.
    relay.kill();
    let mut relay = relay_process(&outbox);
    outbox.commit("b", 0..10).await;
    outbox.drains_to(0).await;
    settles_at("published", 30, async || published().await as usize).await;
    relay.signal("TERM");
    assert!(relay.ends(Duration::from_secs(20)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_large_for_its_topic_blocks_its_key() {
    is_blocked_and_not_overtaken("1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_does_not_overtake_a_refused_event() {
    is_blocked_and_not_overtaken("1").await;
}

/// With batches of so many records on the wire.
async fn is_blocked_and_not_overtaken(records_of_a_batch: &str) {
    let outbox = TestOutbox::with_topic("large", &[("max.message.bytes", "20000")]).await;
    // Many fit one by one, and not in one batch.
    for key in 0..20 {
        outbox.commit(&format!("k{key}"), 0..20).await;
    }
    let payload = format!("{{\"key\":\"k0\",\"n\":20,\"text\":\"{}\"}}", noise(30_000));
    outbox.commit("k0", 20..21).await;
    let enlarge =
        outbox.sql("UPDATE outbox SET payload = $1 WHERE id = (SELECT max(id) FROM outbox)");
    let enlarge = sqlx::query(sqlx::AssertSqlSafe(enlarge)).bind(payload.into_bytes());
    enlarge.execute(&outbox.pool).await.unwrap();
    for key in 0..20 {
        outbox.commit(&format!("k{key}"), 21..40).await;
    }
    let relay = outbox
        .relay()
        .kafka("batch.num.messages", records_of_a_batch);
    let relay = relay.start().unwrap();
    // Its 19 followers wait with it.
    outbox.drains_to(20).await;
    let blocked = outbox.outbox.blocked().await.unwrap();
    assert_eq!(blocked.len(), 1);
    assert_eq!(blocked[0].key.as_deref(), Some(&b"k0"[..]));
    assert!(
        blocked[0].reason.contains("MessageSizeTooLarge"),
        "{blocked:?}"
    );
    let before = outbox.published().by_key();
    assert_eq!(before["k0"], (0..20).collect::<Vec<_>>());

    let larger = [("max.message.bytes", "100000")];
    Admin::new().alter(&outbox.topic, &larger).await;
    assert!(outbox.outbox.retry(blocked[0].id).await.unwrap());
    outbox.drains_to(0).await;
    let after = outbox.published().by_key();
    assert_eq!(after["k0"], (0..40).collect::<Vec<_>>());
    relay.shutdown().await.unwrap();
}

/// Does not compress.
fn noise(bytes: usize) -> String {
    let text = std::iter::repeat_with(|| uuid::Uuid::new_v4().simple().to_string());
    text.take(bytes / 32).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_an_unknown_topic_waits_until_the_topic_is_there() {
    let outbox = TestOutbox::new("known").await;
    let unknown = TestOutbox {
        topic: unique("unknown"),
        ..outbox.clone()
    };
    unknown.commit("a", 0..3).await;
    outbox.commit("a", 0..3).await;
    outbox.commit("b", 0..3).await;
    let relay = outbox.relay().start().unwrap();
    // Another topic has another order, with the same key too.
    outbox.drains_to(3).await;
    eventually("the event is blocked", async || {
        outbox.outbox.blocked().await.unwrap().len() == 1
    })
    .await;
    outbox.published().assert_complete(2, 3);
    // Known to be unknown: nobody waits for it again.
    unknown.commit("c", 0..1).await;
    eventually("the other key is blocked too", async || {
        outbox.outbox.blocked().await.unwrap().len() == 2
    })
    .await;

    Admin::new().create(&unknown.topic, 1, &[]).await;
    assert_eq!(outbox.outbox.retry_all().await.unwrap(), 2);
    outbox.drains_to(0).await;
    let published = unknown.published().by_key();
    assert_eq!(published["a"], [0, 1, 2]);
    assert_eq!(published["c"], [0]);
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_migrate_at_once_agree() {
    let schema = unique("migrate").replace('-', "_");
    let outbox = TestOutbox::open(&schema, "steps").await;
    let migrations: Vec<_> = (0..8)
        .map(|_| {
            let outbox = outbox.outbox.clone();
            tokio::spawn(async move { outbox.migrate().await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    assert_eq!(
        outbox.number("SELECT count(*) FROM outbox_leases").await,
        64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_are_known_in_every_language() {
    let schema = unique("language").replace('-', "_");
    let outbox = TestOutbox::open(&schema, "steps").await;
    let missing = outbox.outbox.stats().await.unwrap_err();
    assert!(
        matches!(missing, OutboxError::NotMigrated { .. }),
        "{missing}"
    );

    // What a German server says, under the code that every server gives.
    for statement in [
        format!("CREATE SCHEMA {schema}"),
        format!(
            "CREATE VIEW {schema}.eventkit_outbox AS SELECT 1::int2 AS bucket, ''::text AS event_id, ''::text AS event_type, ''::text AS topic, ''::bytea AS key, ''::bytea AS headers, ''::bytea AS payload"
        ),
        format!(
            "CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'Relation »eventkit_outbox« existiert nicht' USING ERRCODE = '42P01'; END $$"
        ),
        format!(
            "CREATE TRIGGER refuse INSTEAD OF INSERT ON {schema}.eventkit_outbox FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&outbox.pool)
            .await
            .unwrap();
    }
    let mut tx = outbox.pool.begin().await.unwrap();
    let step = Step {
        key: "a".into(),
        n: 0,
    };
    let refused = outbox.outbox.publish(&mut tx, &step).await.unwrap_err();
    assert!(
        matches!(refused, OutboxError::NotMigrated { .. }),
        "{refused}"
    );
}
