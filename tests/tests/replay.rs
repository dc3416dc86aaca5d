//! Dead letters go back to the handler that failed, and to nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventkit::prelude::*;
use eventkit::{Running, dlq, handlers};
use eventkit_tests::{
    Admin, Effects, RawRecord, RawWriter, Step, app, eventually, on, read_all, redis_url,
    settles_at, unique,
};

/// Whether what broke the payments is mended.
#[derive(Clone, Default)]
struct Mended(Arc<AtomicBool>);

#[handler(
    event = "Step.v1",
    dedup(ttl = "1h"),
    retry(attempts = 2, backoff = "1ms..5ms")
)]
async fn charge(
    step: Step,
    State(effects): State<Effects>,
    State(Mended(mended)): State<Mended>,
) -> anyhow::Result<()> {
    let mended = mended.load(Ordering::Relaxed);
    anyhow::ensure!(mended || step.n.is_multiple_of(2), "the payments are down");
    effects.record("charge", &step);
    Ok(())
}

#[handler(event = "Step.v1", dedup(ttl = "1h"))]
async fn notify(step: Step, State(effects): State<Effects>) {
    effects.record("notify", &step);
}

/// Without dedup, in a group of its own: it would show a second delivery.
#[handler(event = "Step.v1")]
async fn observe(step: Step, State(effects): State<Effects>) {
    effects.record("observe", &step);
}

struct Place {
    topic: String,
    group: String,
    letters: String,
    effects: Effects,
    mended: Mended,
}

impl Place {
    async fn new(name: &str) -> Self {
        let topic = unique(name);
        Admin::new().create(&topic, 3, &[]).await;
        let group = format!("{topic}-pay");
        Self {
            letters: format!("{topic}.{group}.dlq"),
            topic,
            group,
            effects: Effects::default(),
            mended: Mended::default(),
        }
    }

    async fn pay(&self) -> Running {
        let app = app(&self.group)
            .redis_url(redis_url())
            .handlers(on(&self.topic, handlers![charge, notify]));
        self.ready(app.state(self.mended.clone())).await
    }

    async fn observe(&self) -> Running {
        let app = app(&format!("{}-observe", self.topic));
        self.ready(app.handlers(on(&self.topic, handlers![observe])))
            .await
    }

    async fn ready(&self, app: App) -> Running {
        let running = app
            .state(self.effects.clone())
            .start()
            .await
            .expect("the App starts");
        running.ready().await.expect("the App gets its partitions");
        running
    }

    async fn write(&self, steps: u64) {
        let records: Vec<_> = (0..steps)
            .map(|n| Step::record(format!("key-{n}"), n))
            .collect();
        RawWriter::new().write_all(&self.topic, &records).await;
    }

    async fn letters(&self, count: usize) -> Vec<RawRecord> {
        eventually("the dead letters are written", async || {
            Admin::new().ends(&self.letters).values().sum::<i64>() >= count as i64
        })
        .await;
        read_all(&self.letters)
    }

    fn of(&self, handler: &str) -> usize {
        self.effects.of(handler)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_handler_that_failed_runs_again() {
    let place = Place::new("replayed").await;
    let (pay, observe) = (place.pay().await, place.observe().await);
    place.write(20).await;
    place.letters(10).await;
    settles_at("effects", 10 + 20 + 20, async || place.effects.len()).await;

    place.mended.0.store(true, Ordering::Relaxed);
    let report = dlq::replay(&pay).await.expect("a replay");
    assert_eq!((report.replayed, report.refused), (10, 0));
    settles_at("effects", 20 + 20 + 20, async || place.effects.len()).await;
    assert_eq!(
        (place.of("charge"), place.of("notify"), place.of("observe")),
        (20, 20, 20)
    );
    assert!(
        place.effects.counts().values().all(|times| *times == 3),
        "one each"
    );
    for group in [&place.group, &format!("{}-observe", place.topic)] {
        Admin::new().committed_to_the_end(group, &place.topic).await;
    }

    let again = dlq::replay(&pay).await.expect("a replay");
    assert_eq!(
        (again.replayed, again.refused),
        (0, 0),
        "nothing is replayed twice"
    );
    pay.shutdown().await.expect("an orderly end");
    observe.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_are_counted_and_the_original_stays() {
    let place = Place::new("rounds").await;
    let pay = place.pay().await;
    place.write(2).await;
    let first = place.letters(1).await.remove(0);
    for round in 1..=3 {
        let report = dlq::replay(&pay).await.expect("a replay");
        assert_eq!(report.replayed, 1, "round {round}");
        let letters = place.letters(round + 1).await;
        assert_eq!(letters.len(), round + 1);
        let count = |letter: &RawRecord| letter.text("eventkit-replay-count");
        let mut counts: Vec<_> = letters.iter().map(count).collect();
        counts.sort();
        let wanted: Vec<_> = (0..=round).map(|n| Some(n.to_string())).collect();
        assert_eq!(counts, wanted);
        let latest = letters
            .iter()
            .find(|letter| count(letter) == Some(round.to_string()));
        let latest = latest.expect("the letter of this round");
        assert_eq!(without_ours(latest), without_ours(&first));
        assert_eq!(latest.text("eventkit-replay-for"), None);
    }
    place.mended.0.store(true, Ordering::Relaxed);
    dlq::replay(&pay).await.expect("a replay");
    settles_at("the charge", 2, async || place.of("charge")).await;
    assert_eq!(place.of("notify"), 2);
    pay.shutdown().await.expect("an orderly end");
}

fn without_ours(record: &RawRecord) -> RawRecord {
    let mut record = record.clone();
    record
        .headers
        .retain(|(name, _)| !name.starts_with("eventkit-"));
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_original_stays_a_duplicate_of_its_dead_letter() {
    let place = Place::new("copies").await;
    let pay = place.pay().await;
    place.write(2).await;
    place.letters(1).await;
    place.mended.0.store(true, Ordering::Relaxed);
    // The producer sends both again: one was handled, the other is buried.
    place.write(2).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    assert_eq!((place.of("charge"), place.of("notify")), (1, 2));
    // And a stray copy of the replay has no second effect.
    dlq::replay(&pay).await.expect("a replay");
    settles_at("the charge", 2, async || place.of("charge")).await;
    let replayed = read_all(&place.topic);
    let replayed = replayed
        .iter()
        .find(|record| record.text("eventkit-replay-for").is_some());
    RawWriter::new().write_all(&place.topic, replayed).await;
    Admin::new()
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    assert_eq!((place.of("charge"), place.of("notify")), (2, 2));
    pay.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_arrive_meanwhile_are_for_the_next_replay() {
    const FAILING: usize = 700;
    let place = Place::new("meanwhile").await;
    let pay = place.pay().await;
    place.write(2 * FAILING as u64).await;
    place.letters(FAILING).await;
    // Nothing is mended, so each letter that goes back is soon another one.
    for round in 2..=3 {
        let report = dlq::replay(&pay).await.expect("a replay");
        assert_eq!((report.replayed, report.refused), (FAILING as u64, 0));
        place.letters(round * FAILING).await;
    }
    place.mended.0.store(true, Ordering::Relaxed);
    let report = dlq::replay(&pay).await.expect("a replay");
    assert_eq!((report.replayed, report.refused), (FAILING as u64, 0));
    settles_at("charges", 2 * FAILING, async || place.of("charge")).await;
    pay.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_their_topic_refuses_stay_and_hold_up_no_others() {
    let place = Place::new("refusing").await;
    let admin = Admin::new();
    let pay = place.pay().await;
    let large = Step::record("key-1", 1).header("noise", "x".repeat(100_000));
    let records = [large, Step::record("key-3", 3), Step::record("key-5", 5)];
    RawWriter::new().write_all(&place.topic, &records).await;
    place.letters(3).await;
    let limit = async |bytes: &str| {
        let settings = [
            ("max.message.bytes", bytes),
            ("compression.type", "uncompressed"),
        ];
        admin.alter(&place.topic, &settings).await;
    };
    limit("10000").await;
    place.mended.0.store(true, Ordering::Relaxed);
    let report = dlq::replay(&pay).await.expect("a replay");
    assert_eq!((report.replayed, report.refused), (2, 1));
    settles_at("charges", 2, async || place.of("charge")).await;
    let left = place.letters(3).await;
    assert!(left.iter().any(|letter| letter.text("noise").is_some()));
    let again = dlq::replay(&pay).await.expect("a replay");
    assert_eq!((again.replayed, again.refused), (0, 0), "it is passed over");
    pay.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_name_foreign_topics_groups_or_handlers_are_refused() {
    let place = Place::new("forged").await;
    let foreign = unique("foreign");
    let admin = Admin::new();
    admin.create(&foreign, 1, &[]).await;
    let pay = place.pay().await;
    let letter = |topic: &str, group: &str, handler: &str| {
        Step::record("key-1", 1)
            .header("eventkit-original-topic", topic)
            .header("eventkit-original-partition", "0")
            .header("eventkit-group", group)
            .header("eventkit-handler", handler)
            .header("eventkit-replay-count", "0")
    };
    let (topic, group) = (place.topic.as_str(), place.group.as_str());
    let forged = [
        letter(&foreign, group, "charge"),
        letter(topic, "another", "charge"),
        letter(topic, group, "another"),
        letter(&place.letters, group, "charge"),
        Step::record("key-1", 1),
        letter(topic, group, "charge").header("eventkit-original-topic", foreign.as_str()),
    ];
    RawWriter::new().write_all(&place.letters, &forged).await;
    let report = dlq::replay(&pay).await.expect("a replay");
    assert_eq!((report.replayed, report.refused), (0, 6));
    assert_eq!(
        admin.ends(&foreign).values().sum::<i64>(),
        0,
        "nothing went to a foreign topic"
    );
    assert_eq!(admin.ends(&place.topic).values().sum::<i64>(), 0);
    assert_eq!(admin.ends(&place.letters).values().sum::<i64>(), 6);
    pay.shutdown().await.expect("an orderly end");
}
