//! What eventkit promises of a real Kafka: nothing lost, keys in order, an
//! orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventkit::prelude::*;
use eventkit::{Error, Running, StartFrom, handlers};
use eventkit_tests::{
    Admin, Effect, Effects, Logs, Process, RawRecord, RawWriter, Step, app, eventually, on,
    read_all, redis_url, settles_at, unique, worker,
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Who the effects of an App are by.
#[derive(Clone)]
struct Me(&'static str);

#[handler(event = "Step.v1")]
async fn record(step: Step, State(effects): State<Effects>, State(Me(me)): State<Me>) {
    effects.record(me, &step);
}

#[handler(event = "Step.v1")]
async fn record_too(step: Step, State(effects): State<Effects>) {
    effects.record("record_too", &step);
}

#[handler(event = "Step.v1", dedup(ttl = "1h"))]
async fn record_once(step: Step, State(effects): State<Effects>, State(Me(me)): State<Me>) {
    tokio::time::sleep(Duration::from_millis(step.n % 4)).await;
    effects.record(me, &step);
}

#[handler(event = "Step.v1", retry(attempts = 2, backoff = "1ms..5ms"))]
async fn stumble(
    step: Step,
    Attempt(attempt): Attempt,
    State(effects): State<Effects>,
) -> anyhow::Result<()> {
    anyhow::ensure!(step.n % 10 != 3 || attempt > 1, "the first attempt fails");
    anyhow::ensure!(step.n % 10 != 7, "every attempt fails");
    effects.record("stumble", &step);
    Ok(())
}

/// `each` steps of `keys` keys, the keys in turn.
fn steps(keys: u64, each: std::ops::Range<u64>) -> Vec<RawRecord> {
    each.flat_map(|n| (0..keys).map(move |key| Step::record(format!("key-{key}"), n)))
        .collect()
}

/// What workers pushed to their list, by the word in front.
async fn results(list: &str, word: &str) -> Vec<Effect> {
    let client = redis::Client::open(redis_url()).expect("a Redis address");
    let connection = client.get_multiplexed_async_connection().await;
    let lines: Vec<String> = redis::cmd("LRANGE")
        .arg(list)
        .arg("0")
        .arg("-1")
        .query_async(&mut connection.expect("Redis answers"))
        .await
        .expect("a list");
    lines
        .iter()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|parts| parts[0] == word)
        .map(|parts| Effect {
            by: parts[1].to_owned(),
            key: parts[2].to_owned(),
            n: parts[3].parse().expect("a number"),
        })
        .collect()
}

/// A topic of this test's own, and a group for it.
async fn topic(name: &str, partitions: i32) -> (String, String) {
    let topic = unique(name);
    Admin::new().create(&topic, partitions, &[]).await;
    let group = format!("{topic}-group");
    (topic, group)
}

fn start_worker(handler: &str, topic: &str, group: &str, more: &[&str]) -> Process {
    let results = format!("{topic}-results");
    let mut arguments = vec![handler, "--topic", topic, "--group", group];
    arguments.extend(["--results", &results]);
    arguments.extend(more);
    worker(WORKER, &arguments)
}

async fn ready(app: App) -> Running {
    let running = app.start().await.expect("the App starts");
    running.ready().await.expect("the App gets its partitions");
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_mid_run_loses_nothing() {
    const KEYS: u64 = 100;
    const EACH: u64 = 40;
    let (topic, group) = topic("killed", 8).await;
    let list = format!("{topic}-results");
    let mut victim = start_worker("record", &topic, &group, &[]);
    let mut other = start_worker("record", &topic, &group, &[]);
    victim.says("partition assigned").await;
    other.says("partition assigned").await;

    // More than both have in hand for some seconds: what is received and not
    // yet done when one of them dies must not be committed.
    let load = steps(KEYS, 0..EACH);
    RawWriter::new().write_all(&topic, &load).await;
    let admin = Admin::new();
    eventually("both workers are at work and have committed", async || {
        let done = results(&list, "done").await;
        let by: std::collections::HashSet<_> = done.iter().map(|effect| &effect.by).collect();
        by.len() == 2 && admin.committed(&group, &topic).len() == admin.ends(&topic).len()
    })
    .await;
    victim.kill();
    let done = results(&list, "done").await.len();
    assert!(done < load.len(), "the worker must be killed under load");

    eventually("every step is done", async || {
        let done = results(&list, "done").await;
        let distinct: std::collections::HashSet<_> =
            done.iter().map(|effect| (&effect.key, effect.n)).collect();
        distinct.len() as u64 == KEYS * EACH
    })
    .await;
    Effects::assert_order_of_first_occurrences(&results(&list, "done").await);
    admin.committed_to_the_end(&group, &topic).await;
    other.signal("TERM");
    assert!(other.ends(Duration::from_secs(30)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooperative_rebalance_under_load_keeps_per_key_order() {
    rebalance_under_load(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eager_rebalance_under_load_keeps_per_key_order() {
    rebalance_under_load(&[("partition.assignment.strategy", "range")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_by_the_broker_under_load_keeps_per_key_order() {
    rebalance_under_load(&[("group.protocol", "consumer")]).await;
}

/// Members come and go while events flow; each event has one effect, in order.
async fn rebalance_under_load(properties: &[(&'static str, &'static str)]) {
    const KEYS: u64 = 40;
    let (topic, group) = topic("rebalanced", 6).await;
    let effects = Effects::default();
    let join = async |me: &'static str| {
        let mut app = app(&group)
            .redis_url(redis_url())
            .handlers(on(&topic, handlers![record_once]))
            .state(effects.clone())
            .state(Me(me));
        for (name, value) in properties {
            app = app.kafka(*name, *value);
        }
        let running = app.start().await.expect("the App starts");
        eventually("the new member does something", async || effects.of(me) > 0).await;
        running
    };
    let enough = Arc::new(AtomicBool::new(false));
    let (writer, load, stop) = (RawWriter::new(), topic.clone(), enough.clone());
    let load = tokio::spawn(async move {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            writer.write_all(&load, &steps(KEYS, n..n + 1)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            n += 1;
        }
        n
    });
    let first = join("first").await;
    let second = join("second").await;
    let third = join("third").await;
    first.shutdown().await.expect("the first leaves in order");
    let fourth = join("fourth").await;
    second.shutdown().await.expect("the second leaves in order");
    enough.store(true, Ordering::Relaxed);
    let each = load.await.expect("all is written");

    let all = (KEYS * each) as usize;
    eventually("every step is done", async || effects.counts().len() == all).await;
    third.shutdown().await.expect("the third leaves in order");
    fourth.shutdown().await.expect("the fourth leaves in order");
    Effects::assert_once_and_in_order(&effects.all(), KEYS as usize, each);
    Admin::new().committed_to_the_end(&group, &topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_back_is_read_on() {
    let (topic, group) = topic("returned", 4).await;
    let (writer, effects) = (RawWriter::new(), Effects::default());
    let start = async |me: &'static str| {
        let app = app(&group).handlers(on(&topic, handlers![record]));
        ready(app.state(effects.clone()).state(Me(me))).await
    };
    let host = start("host").await;
    writer.write_all(&topic, &steps(40, 0..1)).await;
    eventually("the host has all partitions", async || effects.len() == 40).await;
    let guest = start("guest").await;
    let mut n = 1;
    eventually("the guest has some of them", async || {
        writer.write_all(&topic, &steps(40, n..n + 1)).await;
        n += 1;
        effects.of("guest") > 0
    })
    .await;
    guest.shutdown().await.expect("the guest leaves in order");
    writer.write_all(&topic, &steps(40, n..n + 1)).await;
    let all = 40 * (n as usize + 1);
    eventually("the host reads what it got back", async || {
        effects.counts().len() == all
    })
    .await;
    host.shutdown().await.expect("an orderly end");
    Effects::assert_order_of_first_occurrences(&effects.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_running_handlers_and_exits_zero() {
    let (topic, group) = topic("sigterm", 2).await;
    let list = format!("{topic}-results");
    RawWriter::new().write_all(&topic, &steps(4, 0..5)).await;
    let mut first = start_worker("slow", &topic, &group, &[]);
    eventually("a handler runs", async || {
        !results(&list, "begun").await.is_empty()
    })
    .await;
    first.signal("TERM");
    let status = first.ends(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{:?}", first.lines());
    let begun = results(&list, "begun").await;
    assert_eq!(results(&list, "done").await.len(), begun.len());
    assert!(begun.len() < 20, "the rest is left to the next run");

    let _second = start_worker("slow", &topic, &group, &[]);
    eventually("every step is done", async || {
        results(&list, "done").await.len() >= 20
    })
    .await;
    Effects::assert_once_and_in_order(&results(&list, "done").await, 4, 5);
    Effects::assert_once_and_in_order(&results(&list, "begun").await, 4, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_ends_does_not_hold_up_shutdown() {
    stuck("stuck").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_handler_that_never_ends_does_not_hold_up_shutdown() {
    stuck("stuck_blocking").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (topic, group) = topic("twice", 1).await;
    let list = format!("{topic}-results");
    RawWriter::new().write_all(&topic, &steps(1, 0..1)).await;
    let hour = ["--shutdown-timeout", "3600"];
    let mut worker = start_worker("stuck", &topic, &group, &hour);
    eventually("the handler runs", async || {
        results(&list, "begun").await.len() == 1
    })
    .await;
    worker.signal("TERM");
    worker.says("shutting down").await;
    worker.signal("TERM");
    let status = worker.ends(Duration::from_secs(20)).await;
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
    assert!(worker.said("second signal"), "{:?}", worker.lines());
}

async fn stuck(handler: &str) {
    let (topic, group) = topic("stuck", 1).await;
    let list = format!("{topic}-results");
    RawWriter::new().write_all(&topic, &steps(2, 0..2)).await;
    let mut worker = start_worker(handler, &topic, &group, &["--shutdown-timeout", "1"]);
    eventually("the handlers run", async || {
        results(&list, "begun").await.len() == 2
    })
    .await;
    worker.signal("TERM");
    let status = worker.ends(Duration::from_secs(8)).await;
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
    assert!(worker.said("not finished"), "{:?}", worker.lines());
    assert!(Admin::new().committed(&group, &topic).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_groups_each_get_every_event() {
    let (topic, group) = topic("groups", 3).await;
    let third = format!("{group}-third");
    let effects = Effects::default();
    let own: &'static str = format!("{group}-own").leak();
    let mut both = on(&topic, handlers![record, record_too]);
    both[1] = both[1].in_group(own);
    let one = ready(
        app(&group)
            .handlers(both)
            .state(effects.clone())
            .state(Me("first")),
    )
    .await;
    let two = app(&third).handlers(on(&topic, handlers![record]));
    let two = ready(two.state(effects.clone()).state(Me("third"))).await;
    RawWriter::new().write_all(&topic, &steps(10, 0..10)).await;
    settles_at("effects of three groups", 300, async || effects.len()).await;
    for group in ["first", "record_too", "third"] {
        assert_eq!(effects.of(group), 100, "{group}");
    }
    one.shutdown().await.expect("an orderly end");
    two.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_misses_nothing_after_ready() {
    let (topic, group) = topic("latest", 4).await;
    let (writer, effects) = (RawWriter::new(), Effects::default());
    let latest = async || {
        let app = app(&group).handlers(on(&topic, handlers![record]));
        let app = app.start_from(StartFrom::Latest).state(effects.clone());
        ready(app.state(Me("latest"))).await
    };
    writer.write_all(&topic, &steps(20, 0..5)).await;
    // A group that was ready and left keeps its place, even without an event.
    latest().await.shutdown().await.expect("an orderly end");
    writer.write_all(&topic, &steps(20, 5..10)).await;
    let running = latest().await;
    writer.write_all(&topic, &steps(20, 10..15)).await;
    settles_at("what came after ready", 200, async || effects.len()).await;
    assert!(effects.all().iter().all(|effect| effect.n >= 5));
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_stops_a_group_without_offsets() {
    let (topic, group) = topic("fail", 2).await;
    RawWriter::new().write_all(&topic, &steps(4, 0..2)).await;
    let effects = Effects::default();
    let app = app(&group).handlers(on(&topic, handlers![record]));
    let app = app
        .start_from(StartFrom::Fail)
        .state(effects.clone())
        .state(Me("fail"));
    let running = app.start().await.expect("the App starts");
    let failed = running.ready().await.expect_err("no offsets, no start");
    assert!(
        matches!(&failed, Error::Group { group: named, .. } if *named == group),
        "{failed}"
    );
    assert!(failed.to_string().contains(&topic), "{failed}");
    running.failed().await;
    assert!(effects.is_empty());
    assert!(Admin::new().committed(&group, &topic).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_reported() {
    let logs = Logs::capture();
    let (topic, group) = topic("deleted", 1).await;
    let (admin, writer, effects) = (Admin::new(), RawWriter::new(), Effects::default());
    let start = async || {
        let app = app(&group).handlers(on(&topic, handlers![record]));
        ready(app.state(effects.clone()).state(Me("deleted"))).await
    };
    writer.write_all(&topic, &steps(1, 0..10)).await;
    let running = start().await;
    eventually("ten are handled", async || effects.len() == 10).await;
    running.shutdown().await.expect("an orderly end");
    writer.write_all(&topic, &steps(1, 10..60)).await;
    admin.delete_records(&topic, 0, 40).await;

    let running = start().await;
    settles_at("the rest is handled", 30, async || effects.len()).await;
    let told = logs.with(&topic);
    assert!(
        told.iter()
            .any(|logged| logged.message.contains("30 records were deleted")
                && logged.fields.contains("deleted=30 ")),
        "{told:?}"
    );
    admin.committed_to_the_end(&group, &topic).await;
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_reach_the_end() {
    let (topic, group) = topic("committed", 3).await;
    let (admin, writer, effects) = (Admin::new(), RawWriter::new(), Effects::default());
    let app = app(&group).handlers(on(&topic, handlers![stumble]));
    let running = ready(app.state(effects.clone())).await;
    writer.write_all(&topic, &steps(9, 0..20)).await;
    for partition in 0..3 {
        let unknown = RawRecord::of_type("Other.v1", "1").partition(partition);
        let nameless = RawRecord::default().partition(partition).payload("?");
        writer.write_all(&topic, [&unknown, &nameless]).await;
    }
    // While it runs, not only at its end.
    admin.committed_to_the_end(&group, &topic).await;
    assert_eq!(effects.len(), 9 * 18);
    assert_eq!(read_all(&format!("{topic}.{group}.dlq")).len(), 9 * 2 + 3);
    running.shutdown().await.expect("an orderly end");
    admin.committed_to_the_end(&group, &topic).await;
}
