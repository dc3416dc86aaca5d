//! Dedup from topic to effect, over a Redis of the test's own that goes away.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use eventkit::prelude::*;
use eventkit::{HandlerDefinition, Running, Settings, handlers};
use eventkit_tests::{
    Admin, Effects, Logs, RawRecord, RawWriter, RedisServer, Step, eventually, kafka_servers, on,
    settles_at, unique,
};

#[handler(event = "Step.v1", dedup(ttl = "1h"))]
async fn once(step: Step, State(effects): State<Effects>) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    effects.record("once", &step);
}

/// Slow, so that a duplicate arrives while the first runs; the first run fails.
#[handler(
    event = "Step.v1",
    dedup(ttl = "1h"),
    retry(attempts = 2, backoff = "200ms..200ms")
)]
async fn slowly_once(
    step: Step,
    Attempt(attempt): Attempt,
    State(effects): State<Effects>,
) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    anyhow::ensure!(attempt > 1, "the first attempt fails");
    effects.record("slowly_once", &step);
    Ok(())
}

struct Place {
    topic: String,
    group: String,
    effects: Effects,
    redis: RedisServer,
    writer: RawWriter,
}

impl Place {
    async fn new(name: &str) -> Self {
        let topic = unique(name);
        Admin::new().create(&topic, 4, &[]).await;
        Self {
            group: format!("{topic}-group"),
            topic,
            effects: Effects::default(),
            redis: RedisServer::start().await,
            writer: RawWriter::new(),
        }
    }

    fn app(&self, handlers: Vec<HandlerDefinition>) -> App {
        // A claim whose answer is lost with Redis holds until its lease ends.
        let mut settings = Settings::default();
        settings.dedup_lease = Duration::from_secs(3);
        App::new(&self.group)
            .settings(settings)
            .bootstrap_servers(kafka_servers())
            .redis_url(self.redis.url())
            .handlers(on(&self.topic, handlers))
            .state(self.effects.clone())
    }

    async fn write(&self, key: &str, numbers: std::ops::Range<u64>) {
        let records: Vec<_> = numbers
            .map(|n| Step::record(format!("{key}-{n}"), n))
            .collect();
        self.writer.write_all(&self.topic, &records).await;
    }
}

async fn ready(app: App) -> Running {
    let running = app.start().await.expect("the App starts");
    running.ready().await.expect("the App gets its partitions");
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_on_two_partitions_have_one_effect() {
    let place = Place::new("concurrent").await;
    let one = ready(place.app(handlers![slowly_once])).await;
    let two = ready(place.app(handlers![slowly_once])).await;
    let records: Vec<RawRecord> = (0..50)
        .flat_map(|n| {
            let step = Step::record(format!("key-{n}"), n);
            [0, 1, 2, 3].map(|partition| step.clone().partition(partition))
        })
        .collect();
    place.writer.write_all(&place.topic, &records).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    settles_at("effects", 50, async || place.effects.len()).await;
    assert_eq!(place.effects.counts().len(), 50);
    let stats = [one.stats(), two.stats()].concat();
    let sum = |what: fn(&eventkit::HandlerStats) -> u64| stats.iter().map(what).sum::<u64>();
    assert_eq!(sum(|stats| stats.handled), 50);
    assert_eq!(sum(|stats| stats.duplicates), 150);
    assert_eq!(
        sum(|stats| stats.failures),
        50,
        "a duplicate waits, it does not run"
    );
    one.shutdown().await.expect("an orderly end");
    two.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_stopped_and_started_again_loses_and_doubles_nothing() {
    let mut place = Place::new("outage").await;
    let running = ready(place.app(handlers![once])).await;
    let (writer, topic) = (place.writer.clone(), place.topic.clone());
    let load = tokio::spawn(async move {
        // Each event comes twice, the second time on another partition.
        for n in 0..600 {
            let step = Step::record(format!("key-{n}"), n);
            let partition = (n % 4) as i32;
            writer
                .write(&topic, &step.clone().partition(partition))
                .await;
            writer
                .write(&topic, &step.partition((partition + 1) % 4))
                .await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for done in [100, 250] {
        eventually("events are handled", async || place.effects.len() >= done).await;
        place.redis.stop();
        tokio::time::sleep(Duration::from_millis(500)).await;
        place.redis.start_again().await;
    }
    assert!(!load.is_finished(), "Redis must go away under load");
    load.await.expect("all is written");
    eventually("every event is handled", async || {
        place.effects.counts().len() == 600
    })
    .await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    let twice: Vec<_> = place
        .effects
        .counts()
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert!(twice.is_empty(), "more than one effect: {twice:?}");
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_makes_deliveries_wait() {
    let logs = Logs::capture();
    let mut place = Place::new("away").await;
    let running = ready(place.app(handlers![once])).await;
    place.write("before", 0..20).await;
    eventually("events are handled", async || place.effects.len() == 20).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    let before = Admin::new().committed(&place.group, &place.topic);
    place.redis.stop();
    place.write("during", 0..20).await;
    eventually("it is said", async || {
        let told = logs.with(&place.group);
        told.iter()
            .any(|logged| logged.message.contains("deliveries wait"))
    })
    .await;
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert_eq!(place.effects.len(), 20, "nothing is handled meanwhile");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(Admin::new().committed(&place.group, &place.topic), before);
    let back = || {
        let told = logs.with(&place.group);
        told.iter()
            .filter(|logged| logged.message.contains("answers again"))
            .count()
    };
    assert_eq!(back(), 0);
    place.redis.start_again().await;
    settles_at("effects", 40, async || place.effects.len()).await;
    assert_eq!(back(), 1, "said once");
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_makes_deliveries_wait_and_not_the_shutdown() {
    let place = Place::new("frozen").await;
    let running = ready(place.app(handlers![once])).await;
    place.write("before", 0..20).await;
    eventually("events are handled", async || place.effects.len() == 20).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    place.redis.freeze();
    place.write("during", 0..20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    running.shutdown().await.expect("an orderly end");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(place.effects.len(), 20);
    place.redis.thaw();
    let running = ready(place.app(handlers![once])).await;
    eventually("the rest is handled", async || place.effects.len() == 40).await;
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_open_goes_on() {
    let mut place = Place::new("open").await;
    let app = place.app(handlers![once]).dedup_fail_open();
    let running = ready(app).await;
    place.write("before", 0..20).await;
    eventually("events are handled", async || place.effects.len() == 20).await;
    place.redis.stop();
    place.write("during", 0..20).await;
    eventually("events are handled without Redis", async || {
        place.effects.len() == 40
    })
    .await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    place.redis.start_again().await;
    // What comes twice from now on is known again.
    place.write("after", 0..20).await;
    place.write("after", 0..20).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    let keys: HashSet<_> = place
        .effects
        .all()
        .into_iter()
        .map(|effect| effect.key)
        .collect();
    assert_eq!((keys.len(), place.effects.len()), (60, 60));
    running.shutdown().await.expect("an orderly end");
}
