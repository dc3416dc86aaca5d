//! The inbox in PostgreSQL, with a real Kafka.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eventkit::inbox::Tx;
use eventkit::outbox::{Outbox, OutboxError};
use eventkit::prelude::*;
use eventkit::{HandlerStats, Running, handlers};
use eventkit_tests::{
    Admin, By, Logs, PostgresServer, Process, Proxy, RawRecord, Reserved, Step, TestInbox,
    database_address, eventually, settles_at, worker,
};
use sqlx::Postgres;
use sqlx::postgres::PgListener;
use tokio::sync::{Barrier, Semaphore};

#[handler(event = "Step.v1", inbox, order = none, retry(attempts = 1))]
async fn reserve(step: Step, Tx(tx): Tx<Postgres>, State(by): State<By>) -> sqlx::Result<Reserved> {
    TestInbox::reserve(tx, &step, &by).await
}

#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn reserve_in_order(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
) -> sqlx::Result<Reserved> {
    TestInbox::reserve(tx, &step, &by).await
}

async fn ready(app: App) -> Running {
    let running = app.start().await.unwrap();
    running.ready().await.unwrap();
    running
}

fn stats(running: &Running) -> HandlerStats {
    running.stats().remove(0)
}

fn process(inbox: &TestInbox, how: &str) -> Process {
    worker(env!("CARGO_BIN_EXE_worker"), &["inbox", &inbox.name, how])
}

/// So many copies of one event, over all partitions.
fn copies(count: i32) -> Vec<RawRecord> {
    let copy = |at| Step::record("k0", 0).partition(at % 4);
    (0..count).map(copy).collect()
}

async fn ends(mut processes: Vec<Process>) {
    for process in &processes {
        process.signal("TERM");
    }
    for process in &mut processes {
        assert!(process.ends(Duration::from_secs(20)).await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_copies_in_four_processes_have_one_effect_and_one_event() {
    let inbox = TestInbox::new("copies").await;
    let mut processes: Vec<_> = (0..4).map(|_| process(&inbox, "plain")).collect();
    for process in &mut processes {
        process.says("partition assigned").await;
    }
    inbox.write(&copies(100)).await;
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    assert_eq!(inbox.outbox.published().0.len(), 1);
    ends(processes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_under_serializable_isolation_have_one_effect_and_no_failure() {
    let inbox = TestInbox::new("isolated").await;
    let isolated = inbox
        .with("default_transaction_isolation", "serializable")
        .await;
    let one = ready(isolated.app("one", handlers![reserve])).await;
    let two = ready(isolated.app("two", handlers![reserve])).await;
    inbox.write(&copies(100)).await;
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    let all = [stats(&one), stats(&two)];
    assert_eq!(all.iter().map(|stats| stats.handled).sum::<u64>(), 1);
    assert_eq!(all.iter().map(|stats| stats.duplicates).sum::<u64>(), 99);
    assert_eq!(all.iter().map(|stats| stats.failures).sum::<u64>(), 0);
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}

/// Lets handlers go on, with success or not.
#[derive(Clone)]
struct Gate {
    entered: Arc<AtomicU32>,
    open: Arc<Semaphore>,
    fails: bool,
}

/// The first run of all waits at the gate.
#[handler(event = "Step.v1", inbox, retry(attempts = 2, backoff = "1ms..1ms"))]
async fn reserve_at_gate(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(gate): State<Gate>,
) -> anyhow::Result<Reserved> {
    let reserved = TestInbox::reserve(tx, &step, &by).await?;
    if gate.entered.fetch_add(1, Ordering::SeqCst) == 0 {
        gate.open.acquire().await?.forget();
        anyhow::ensure!(!gate.fails, "it is told to fail");
    }
    Ok(reserved)
}

async fn two_at_once(fails: bool) {
    let inbox = TestInbox::new("at-once").await;
    let gate = Gate {
        entered: Arc::default(),
        open: Arc::new(Semaphore::new(0)),
        fails,
    };
    let app = |by: &str| {
        let app = inbox.app(by, handlers![reserve_at_gate]);
        ready(app.state(gate.clone()))
    };
    let apps = [app("one").await, app("two").await];
    // Into every partition, so that each has some.
    inbox.write(&copies(4)).await;
    inbox.waits_for_locks(3).await;
    assert_eq!(gate.entered.load(Ordering::SeqCst), 1, "one runs");
    gate.open.add_permits(1);
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    assert_eq!(inbox.outbox.published().0.len(), 1);
    let all = apps.each_ref().map(stats);
    let sum = |what: fn(&HandlerStats) -> u64| all.iter().map(what).sum::<u64>();
    assert!(all.iter().all(|stats| stats.handled + stats.duplicates > 0));
    let runs = if fails { 2 } else { 1 };
    assert_eq!(gate.entered.load(Ordering::SeqCst), runs);
    assert_eq!(sum(|stats| stats.handled), 1);
    assert_eq!(sum(|stats| stats.duplicates), 3);
    assert_eq!(sum(|stats| stats.failures), u64::from(fails));
    for app in apps {
        app.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_the_second_waits_and_is_a_duplicate() {
    two_at_once(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_the_second_handles_what_the_first_rolls_back() {
    two_at_once(true).await;
}

#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    /// Counts one more, from 1.
    fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Loses three times against another transaction that is done within its own.
#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn lose(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(inbox): State<TestInbox>,
    State(runs): State<Runs>,
) -> anyhow::Result<Reserved> {
    let reserved = TestInbox::reserve(tx, &step, &by).await?;
    sqlx::query("SELECT n FROM stock")
        .execute(&mut **tx)
        .await?;
    if runs.next() < 4 {
        inbox.execute("UPDATE stock SET n = n + 10").await;
    }
    sqlx::query("UPDATE stock SET n = n + 1")
        .execute(&mut **tx)
        .await?;
    Ok(reserved)
}

async fn loses_and_is_handled(inbox: &TestInbox) {
    inbox
        .execute("CREATE TABLE stock AS SELECT 0::bigint AS n")
        .await;
    let isolated = inbox
        .with("default_transaction_isolation", "serializable")
        .await;
    let runs = Runs::default();
    let app = isolated.app("one", handlers![lose]).state(runs.clone());
    let running = ready(app).await;
    inbox.write_steps(1, 0..1).await;
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    assert_eq!(inbox.number("SELECT n FROM stock").await, 31);
    assert_eq!(runs.count(), 4);
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (1, 0));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_no_attempt() {
    loses_and_is_handled(&TestInbox::new("serial").await).await;
}

/// Locks two rows, the even keys in one order and the odd ones in the other, and
/// at first waits in between until the other has its first.
#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn cross(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(runs): State<Runs>,
    State(meeting): State<Arc<Barrier>>,
) -> sqlx::Result<Reserved> {
    let (first, second) = if step.key == "k0" { (1, 2) } else { (2, 1) };
    let lock = "UPDATE stock SET n = n + 1 WHERE id = $1";
    sqlx::query(lock).bind(first).execute(&mut **tx).await?;
    if runs.next() <= 2 {
        meeting.wait().await;
    }
    sqlx::query(lock).bind(second).execute(&mut **tx).await?;
    TestInbox::reserve(tx, &step, &by).await
}

async fn crosses_and_is_handled(inbox: &TestInbox) {
    inbox
        .execute("CREATE TABLE stock AS SELECT id, 0::bigint AS n FROM generate_series(1, 2) AS id")
        .await;
    let runs = Runs::default();
    let app = inbox.app("one", handlers![cross]).state(runs.clone());
    let running = ready(app.state(Arc::new(Barrier::new(2)))).await;
    inbox.write_steps(2, 0..1).await;
    inbox.comes_to_rest().await;
    inbox.assert_once(2, 1).await;
    assert_eq!(inbox.number("SELECT min(n) FROM stock").await, 2);
    assert_eq!(runs.count(), 3);
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (2, 0));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_no_attempt() {
    crosses_and_is_handled(&TestInbox::new("deadlock").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_german_is_understood() {
    let server = PostgresServer::speaking("de").await;
    let serial = TestInbox::in_database(&server.url(), "serial").await;
    let said = sqlx::query("SELECT nothing").execute(&serial.outbox.pool);
    let said = said.await.unwrap_err().to_string();
    assert!(said.contains("existiert nicht"), "no German: {said}");

    loses_and_is_handled(&serial).await;
    crosses_and_is_handled(&TestInbox::in_database(&server.url(), "deadlock").await).await;
    let absent = Outbox::builder("tests", serial.outbox.pool.clone()).schema("absent");
    let absent = absent.build().unwrap();
    let missing = absent.stats().await.unwrap_err();
    assert!(
        matches!(missing, OutboxError::NotMigrated { .. }),
        "{missing}"
    );
    let step = Step {
        key: "a".into(),
        n: 0,
    };
    let mut tx = serial.outbox.pool.begin().await.unwrap();
    let missing = absent.publish(&mut tx, &step).await.unwrap_err();
    assert!(
        matches!(missing, OutboxError::NotMigrated { .. }),
        "{missing}"
    );
}

#[handler(event = "Step.v1", inbox, retry(attempts = 3, backoff = "1ms..1ms"))]
async fn swallow(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(runs): State<Runs>,
) -> sqlx::Result<Option<Reserved>> {
    let reserved = TestInbox::reserve(tx, &step, &by).await?;
    runs.next();
    let _ = sqlx::query("SELECT 1 / 0").execute(&mut **tx).await;
    // With an event for the outbox or without one.
    Ok((step.key == "k0").then_some(reserved))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_swallows_an_error_has_failed() {
    let inbox = TestInbox::new("swallow").await;
    let runs = Runs::default();
    let app = inbox.app("one", handlers![swallow]).state(runs.clone());
    let running = ready(app).await;
    inbox.write_steps(2, 0..1).await;
    inbox.comes_to_rest().await;
    assert_eq!((inbox.effects().await, inbox.notes().await), (0, 0));
    assert_eq!(runs.count(), 6);
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (0, 6));
    assert_eq!(stats.dead_letters, 2);
    assert!(inbox.outbox.published().0.is_empty());
    running.shutdown().await.unwrap();
}

/// Its connection ends under it, before its second statement or before the commit.
#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn cut_off(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(inbox): State<TestInbox>,
    State(runs): State<Runs>,
) -> sqlx::Result<Reserved> {
    let reserved = TestInbox::reserve(tx, &step, &by).await?;
    let run = runs.next();
    if run <= 4 {
        let own = sqlx::query_scalar("SELECT pg_backend_pid()");
        let own: i32 = own.fetch_one(&mut **tx).await?;
        let end = format!("SELECT pg_terminate_backend({own}, 5000)");
        inbox.execute(&end).await;
    }
    if run % 2 == 0 {
        sqlx::query("SELECT").execute(&mut **tx).await?;
    }
    Ok(reserved)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_under_a_handler_is_no_attempt() {
    let inbox = TestInbox::new("cut-off").await;
    let runs = Runs::default();
    let app = inbox.app("one", handlers![cut_off]).state(runs.clone());
    let running = ready(app).await;
    inbox.write_steps(1, 0..1).await;
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    assert_eq!(runs.count(), 5);
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.failures), (1, 0));
    running.shutdown().await.unwrap();
}

/// Commits with a note stop at a lock, and statements that remove rows of the
/// outbox at another.
struct Stops<'i> {
    inbox: &'i TestInbox,
    held: sqlx::pool::PoolConnection<Postgres>,
    lock: i64,
}

impl<'i> Stops<'i> {
    async fn at(inbox: &'i TestInbox, trigger: &str) -> Self {
        let lock = i64::from(uuid::Uuid::new_v4().as_fields().0);
        inbox
            .execute(&format!(
                "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared({lock}); RETURN NULL; END $$; \
                 CREATE {trigger} EXECUTE FUNCTION stop()"
            ))
            .await;
        let mut held = inbox.outbox.pool.acquire().await.unwrap();
        let take = sqlx::query("SELECT pg_advisory_lock($1)").bind(lock);
        take.execute(&mut *held).await.unwrap();
        Self { inbox, held, lock }
    }

    async fn in_commit(inbox: &'i TestInbox) -> Self {
        Self::at(
            inbox,
            "CONSTRAINT TRIGGER stop AFTER INSERT ON eventkit_inbox \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        )
        .await
    }

    fn waiting(&self, what: &str) -> String {
        let lock = self.lock;
        format!(
            "SELECT {what} FROM pg_locks \
             WHERE NOT granted AND locktype = 'advisory' AND objid::bigint = {lock}"
        )
    }

    /// Waits until somebody has come to the point.
    async fn is_reached(&self) {
        eventually("it is reached", async || {
            self.inbox.number(&self.waiting("count(*)")).await > 0
        })
        .await;
    }

    /// Those who wait are thrown out.
    async fn breaks(&self) {
        let end = self.waiting("pg_terminate_backend(pid, 5000)");
        self.inbox.execute(&end).await;
    }

    async fn lets_go(mut self) {
        let give = sqlx::query("SELECT pg_advisory_unlock($1)").bind(self.lock);
        give.execute(&mut *self.held).await.unwrap();
    }
}

async fn commit_without_an_answer(happens: bool) {
    let inbox = TestInbox::new("answer").await;
    let proxy = Proxy::to(&database_address()).await;
    let behind = inbox.through(&proxy).await;
    let running = ready(behind.app("one", handlers![reserve])).await;
    let stops = Stops::in_commit(&inbox).await;
    inbox.write_steps(1, 0..1).await;
    stops.is_reached().await;
    proxy.cut(true);
    if !happens {
        stops.breaks().await;
    }
    stops.lets_go().await;
    if happens {
        eventually("it is committed", async || inbox.effects().await == 1).await;
    }
    assert_eq!(stats(&running).handled, 0, "it cannot be known yet");
    proxy.cut(false);
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    let stats = stats(&running);
    assert_eq!((stats.handled, stats.duplicates), (1, 0));
    assert_eq!(stats.failures, 0);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found() {
    commit_without_an_answer(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_came_about_is_done_again() {
    commit_without_an_answer(false).await;
}

async fn away(fault: &mut dyn FnMut(&mut PostgresServer, bool), what: &str) {
    let logs = Logs::capture();
    let mut server = PostgresServer::start().await;
    let inbox = TestInbox::in_database(&server.url(), what).await;
    let running = ready(inbox.app("one", handlers![reserve_in_order])).await;
    inbox.write_steps(40, 0..5).await;
    eventually("events are handled", async || stats(&running).handled >= 20).await;
    fault(&mut server, true);
    inbox.write_steps(40, 5..10).await;
    if what == "killed" {
        eventually("it is said", async || {
            let told = logs.with(&inbox.group);
            told.iter()
                .any(|logged| logged.message.contains("deliveries wait"))
        })
        .await;
    } else {
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    fault(&mut server, false);
    server.start_again().await;
    inbox.comes_to_rest().await;
    inbox.assert_once(40, 10).await;
    let stats = stats(&running);
    assert_eq!((stats.failures, stats.dead_letters), (0, 0));
    assert_eq!(stats.handled, 400);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_makes_deliveries_wait() {
    let mut fault = |server: &mut PostgresServer, begins| {
        if begins {
            server.kill();
        }
    };
    away(&mut fault, "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_frozen_makes_deliveries_wait() {
    let mut fault = |server: &mut PostgresServer, begins| {
        if begins {
            server.freeze();
        } else {
            server.thaw();
        }
    };
    away(&mut fault, "frozen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_its_effect_leaves_nothing() {
    let inbox = TestInbox::new("effect").await;
    let mut killed = process(&inbox, "effect");
    inbox.write_steps(1, 0..1).await;
    killed.says("reached").await;
    killed.kill();
    eventually("its transaction ends", async || {
        let open = "SELECT count(*) FROM pg_locks WHERE relation = 'effects'::regclass";
        inbox.number(open).await <= 1
    })
    .await;
    assert_eq!((inbox.effects().await, inbox.notes().await), (0, 0));
    goes_on(&inbox, 1).await;
}

/// Another process does what is left, and nothing twice.
async fn goes_on(inbox: &TestInbox, published: usize) {
    let next = process(inbox, "plain");
    inbox.comes_to_rest().await;
    inbox.assert_once(1, 1).await;
    settles_at("published", published, async || {
        inbox.outbox.published().0.len()
    })
    .await;
    ends(vec![next]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_in_its_commit_has_one_effect_whether_it_happens_or_not() {
    for happens in [false, true] {
        let inbox = TestInbox::new("commit").await;
        let stops = Stops::in_commit(&inbox).await;
        let mut killed = process(&inbox, "plain");
        inbox.write_steps(1, 0..1).await;
        stops.is_reached().await;
        killed.kill();
        if !happens {
            stops.breaks().await;
        }
        stops.lets_go().await;
        if happens {
            eventually("it is committed", async || inbox.effects().await == 1).await;
        } else {
            assert_eq!(inbox.effects().await, 0);
        }
        goes_on(&inbox, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_before_its_offset_is_committed_has_one_effect() {
    let inbox = TestInbox::new("offset").await;
    let mut killed = process(&inbox, "late");
    inbox.write_steps(1, 0..1).await;
    eventually("it is committed", async || inbox.effects().await == 1).await;
    killed.kill();
    assert!(
        Admin::new()
            .committed(&inbox.group, &inbox.input)
            .is_empty()
    );
    goes_on(&inbox, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_after_publishing_publishes_a_copy_and_has_one_effect() {
    let inbox = TestInbox::new("relay").await;
    let stops = Stops::at(
        &inbox,
        "TRIGGER stop BEFORE DELETE ON eventkit_outbox FOR EACH STATEMENT",
    )
    .await;
    let mut killed = process(&inbox, "plain");
    inbox.write_steps(1, 0..1).await;
    stops.is_reached().await;
    assert_eq!(inbox.outbox.published().0.len(), 1);
    killed.kill();
    stops.breaks().await;
    stops.lets_go().await;
    // The same event, by its id.
    goes_on(&inbox, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_outlives_the_notes_is_warned_of_at_start() {
    let logs = Logs::capture();
    let inbox = TestInbox::new("retention").await;
    let hour = [("retention.ms", "3600000")];
    Admin::new().alter(&inbox.input, &hour).await;
    let warned = || {
        let told = logs.with(&inbox.input);
        let of_keep = told
            .iter()
            .filter(|logged| logged.message.contains("Inbox::keep"));
        of_keep.count()
    };
    for (keep, warnings) in [(7200, 0), (3600, 0), (3599, 1)] {
        let keep = inbox.inbox().keep(Duration::from_secs(keep));
        let app = inbox.app("one", handlers![reserve]).inbox(keep);
        app.check().await.unwrap();
        assert_eq!(warned(), warnings, "{:?}", logs.with("inbox"));
    }
}

async fn heard(told: &mut PgListener) -> String {
    let next = tokio::time::timeout(Duration::from_secs(30), told.recv());
    let next = next.await.expect("the database says something").unwrap();
    next.payload().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_tells_of_a_returned_event_only_where_its_relay_is_elsewhere() {
    // Alone: all outboxes of a database share a channel.
    let server = PostgresServer::start().await;
    let inbox = TestInbox::in_database(&server.url(), "elsewhere").await;
    let mut told = PgListener::connect_with(&inbox.outbox.pool).await.unwrap();
    told.listen("eventkit_outbox").await.unwrap();
    let running = ready(inbox.app("here", handlers![reserve])).await;
    inbox.outbox.is_shared_by(1).await;
    inbox.write_steps(16, 0..1).await;
    inbox.comes_to_rest().await;
    inbox.execute("NOTIFY eventkit_outbox, 'silence'").await;
    assert_eq!(heard(&mut told).await, "silence");

    // Polling alone would come too late for this test.
    let elsewhere = TestInbox::open(&server.url(), &inbox.name).await;
    let relay = elsewhere.outbox.relay();
    let relay = relay.poll_interval(Duration::from_secs(600)).start();
    inbox.outbox.is_shared_by(2).await;
    inbox.write_steps(16, 1..2).await;
    inbox.comes_to_rest().await;
    assert_eq!(heard(&mut told).await, "");
    inbox.assert_once(16, 2).await;
    relay.unwrap().shutdown().await.unwrap();
    running.shutdown().await.unwrap();
}

#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn write_no_more(step: Step, Tx(tx): Tx<Postgres>, State(by): State<By>) -> sqlx::Result<()> {
    TestInbox::reserve(tx, &step, &by).await?;
    let read_only = sqlx::query("SET TRANSACTION READ ONLY");
    read_only.execute(&mut **tx).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_inherits_nothing_and_none_stays_open() {
    let logs = Logs::capture();
    let server = PostgresServer::start().await;
    let inbox = TestInbox::in_database(&server.url(), "inherits").await;
    let running = ready(inbox.app("here", handlers![write_no_more])).await;
    inbox.write_steps(1, 0..50).await;
    inbox.comes_to_rest().await;
    assert_eq!(inbox.effects().await, 50);
    // A transaction that cannot write would have made deliveries wait.
    let mut told = logs.with(&inbox.group).into_iter();
    assert!(!told.any(|logged| logged.message.contains("deliveries wait")));
    eventually("no transaction is open", async || {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        inbox.number(open).await == 0
    })
    .await;
    running.shutdown().await.unwrap();
}
