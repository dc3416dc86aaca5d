//! Dead letters on a real Kafka: every byte as it came, and nothing dropped
//! while they cannot be written.

use std::time::{Duration, Instant};

use eventkit::prelude::*;
use eventkit::{Running, Settings, handlers};
use eventkit_tests::{
    Admin, Effects, Logs, RawHeaders, RawRecord, RawWriter, Step, app, eventually, kafka_servers,
    on, read_all, unique,
};

/// Fails on the first event of each key that begins with `bad`.
#[handler(event = "Step.v1", retry(attempts = 2, backoff = "1ms..5ms"))]
async fn refuse_bad(step: Step, State(effects): State<Effects>) -> anyhow::Result<()> {
    anyhow::ensure!(
        !step.key.starts_with("bad") || step.n > 0,
        "refused\nin two lines"
    );
    effects.record("refuse_bad", &step);
    Ok(())
}

struct Place {
    topic: String,
    group: String,
    letters: String,
    effects: Effects,
    admin: Admin,
    writer: RawWriter,
}

impl Place {
    /// A topic of this test's own with one partition.
    async fn new(name: &str) -> Self {
        let topic = unique(name);
        let group = format!("{name}-group");
        let admin = Admin::new();
        admin.create(&topic, 1, &[]).await;
        Self {
            letters: format!("{topic}.{group}.dlq"),
            topic,
            group,
            effects: Effects::default(),
            admin,
            writer: RawWriter::new(),
        }
    }

    fn app(&self) -> App {
        app(&self.group)
            .handlers(on(&self.topic, handlers![refuse_bad]))
            .state(self.effects.clone())
    }

    async fn start(&self) -> Running {
        self.app().start().await.expect("the App starts")
    }

    fn committed(&self) -> i64 {
        let committed = self.admin.committed(&self.group, &self.topic);
        committed.get(&0).copied().unwrap_or(0)
    }

    /// Waits for a number of dead letters and returns them as they stand in Kafka.
    async fn letters(&self, count: usize) -> Vec<RawRecord> {
        eventually("the dead letters are written", async || {
            self.admin.ends(&self.letters).values().sum::<i64>() >= count as i64
        })
        .await;
        let letters = read_all(&self.letters);
        assert_eq!(letters.len(), count);
        letters
    }
}

/// A step that fails, with a payload of this size.
fn large(key: &str, size: usize) -> RawRecord {
    let start = format!(r#"{{"key":"{key}","n":0,"pad":""#);
    let pad = noise(key, size - start.len() - 2);
    Step::record(key, 0).payload(format!("{start}{pad}\"}}"))
}

/// Text that does not compress, the same on every run for one seed.
fn noise(seed: &str, length: usize) -> String {
    let seed = seed
        .bytes()
        .fold(0, |sum: u64, byte| sum * 31 + u64::from(byte));
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (seed << 20);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'!' + (state % 90) as u8).to_ascii_lowercase()
        })
        .map(|char| {
            if matches!(char, '"' | '\\') {
                'x'
            } else {
                char
            }
        })
        .collect()
}

fn is_own(name: &str) -> bool {
    name.starts_with("eventkit-")
}

/// The letter without what eventkit added, which must stand behind.
fn original(letter: &RawRecord) -> RawRecord {
    let own_from = letter.headers.iter().position(|(name, _)| is_own(name));
    let (original, own) = letter.headers.split_at(own_from.expect("headers of ours"));
    assert!(own.iter().all(|(name, _)| is_own(name)), "{own:?}");
    RawRecord {
        headers: original.to_vec(),
        ..letter.clone()
    }
}

async fn comes_back_as_it_was(name: &str, records: Vec<RawRecord>) -> Vec<RawRecord> {
    let place = Place::new(name).await;
    let records: Vec<_> = records
        .into_iter()
        .map(|record| record.partition(0))
        .collect();
    place.writer.write_all(&place.topic, &records).await;
    let running = place.start().await;
    let letters = place.letters(records.len()).await;
    for (offset, sent) in records.iter().enumerate() {
        let offset = offset.to_string();
        let letter = letters
            .iter()
            .find(|letter| letter.text("eventkit-original-offset").as_ref() == Some(&offset));
        let kept = original(letter.unwrap_or_else(|| panic!("no letter of {offset}")));
        // Not `assert_eq`: some are a megabyte.
        assert!(kept == *sent, "the letter of {offset} is not what came");
    }
    place
        .admin
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    running.shutdown().await.expect("an orderly end");
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_the_original_byte_for_byte() {
    let bytes: Vec<u8> = (0..=255).collect();
    let plain = || Step::record("bad", 0);
    let odd_headers = plain()
        .header("tenant", "acme")
        .header("tenant", "second of the same name")
        .header("Tenant", "another name by case")
        .null_header("tenant")
        .header("empty", "")
        .null_header("null")
        .header("binary", bytes.clone())
        .header("", "no name")
        .header("größe", "a name beyond ASCII")
        .header("ce_type", "a second type")
        .header("traceparent", "not one")
        .header("tenant", "last of the name");
    let mut tombstone = plain();
    tombstone.payload = None;
    let mut null_key_tombstone = tombstone.clone().no_key();
    null_key_tombstone.headers.reverse();
    comes_back_as_it_was(
        "bytes",
        vec![
            plain(),
            odd_headers,
            plain().payload(""),
            plain().payload(bytes.clone()),
            plain().no_key(),
            plain().key(""),
            plain().key(bytes.clone()),
            plain().key(vec![0; 100_000]),
            tombstone,
            null_key_tombstone,
            RawRecord::default().payload("no headers at all"),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_and_ten_thousand_headers_come_back_whole() {
    let mut many = Step::record("bad", 0);
    many.headers
        .extend((0..10_000).map(|n: u32| -> (String, Option<Vec<u8>>) {
            (format!("h{}", n % 100), Some(n.to_be_bytes().to_vec()))
        }));
    let payload = large("bad", 1_000_000);
    comes_back_as_it_was("large", vec![payload, many]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_tell_the_story_of_the_failure() {
    let fails = Step::record("bad", 0).header("eventkit-group", "another's");
    let unreadable = Step::record("bad", 0).payload("canary");
    let nameless = RawRecord::default().payload("canary");
    let place = Place::new("story").await;
    let records = [fails, unreadable, nameless];
    place.writer.write_all(&place.topic, &records).await;
    let running = place.start().await;
    let mut letters = place.letters(3).await;
    letters.sort_by_key(|letter| letter.text("eventkit-original-offset"));
    let own = |letter: &RawRecord| -> RawHeaders {
        let own = letter.headers.iter().filter(|(name, _)| is_own(name));
        own.cloned().collect()
    };
    let said = |letter: &RawRecord, name: &str| letter.text(&format!("eventkit-{name}"));
    let story = [
        ("exhausted", "2", Some("refuse_bad")),
        ("undecodable", "1", Some("refuse_bad")),
        ("undecodable", "1", None),
    ];
    for (offset, (letter, (kind, attempts, handler))) in letters.iter().zip(story).enumerate() {
        assert_eq!(said(letter, "original-topic").as_ref(), Some(&place.topic));
        assert_eq!(said(letter, "original-partition").as_deref(), Some("0"));
        assert_eq!(said(letter, "original-offset"), Some(offset.to_string()));
        assert_eq!(said(letter, "group").as_ref(), Some(&place.group));
        assert_eq!(said(letter, "handler").as_deref(), handler);
        assert_eq!(said(letter, "error-kind").as_deref(), Some(kind));
        assert_eq!(said(letter, "replay-count").as_deref(), Some("0"));
        let timestamp = said(letter, "original-timestamp");
        assert!(
            timestamp.is_some_and(|ms| ms.parse::<u64>().is_ok_and(|ms| ms > 1_600_000_000_000))
        );
        for time in ["first-failure-time", "last-failure-time"] {
            assert!(
                said(letter, time)
                    .is_some_and(|time| time.starts_with("20") && time.ends_with('Z'))
            );
        }
        let message = said(letter, "error-message").expect("a message");
        assert!(
            !message.contains("canary") && !message.contains('\n'),
            "{message}"
        );
        assert_eq!(
            said(letter, "attempts").as_deref(),
            Some(attempts),
            "{message}"
        );
        let names: std::collections::HashSet<_> =
            own(letter).into_iter().map(|own| own.0).collect();
        assert_eq!(names.len(), own(letter).len(), "each once");
    }
    assert_eq!(
        said(&letters[0], "error-message").as_deref(),
        Some("refused in two lines")
    );
    running.shutdown().await.expect("an orderly end");
}

/// One key's letter cannot be written; then it can.
async fn waits_until(place: &Place, running: Running, mend: impl AsyncFnOnce()) {
    let logs = Logs::capture();
    let steps = [
        ("good", 0),
        ("bad", 0),
        ("bad", 1),
        ("good", 1),
        ("other", 0),
    ];
    let records = steps.map(|(key, n)| Step::record(key, n));
    place.writer.write_all(&place.topic, &records).await;
    eventually("the other keys go on", async || place.effects.len() == 3).await;
    eventually("it is said", async || {
        let told = logs.with(&place.letters);
        told.iter()
            .any(|logged| logged.message.contains("cannot be written"))
    })
    .await;
    // Longer than the interval of commits.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert!(place.committed() <= 1, "the offset passed what is not kept");
        assert_eq!(place.effects.len(), 3, "the key waits");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    mend().await;
    let letters = place.letters(1).await;
    assert_eq!(original(&letters[0]).headers, records[1].headers);
    eventually("the key goes on", async || place.effects.len() == 4).await;
    place
        .admin
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dead_letter_topic_is_missing_its_key_waits() {
    let _logs = Logs::capture();
    let place = Place::new("missing").await;
    place.admin.create(&place.letters, 1, &[]).await;
    let settings = r#"
        create_dead_letter_topics = false
        [kafka]
        "message.timeout.ms" = 2000
        "topic.metadata.propagation.max.ms" = 1000
    "#;
    let settings = Settings::parse(settings).expect("settings");
    let app = place
        .app()
        .settings(settings)
        .bootstrap_servers(kafka_servers());
    // The start-up check finds the topic; then it goes.
    let running = app.start().await.expect("the App starts");
    running.ready().await.expect("the App gets its partition");
    place.admin.delete(&place.letters).await;
    waits_until(&place, running, async || {
        place.admin.create(&place.letters, 1, &[]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dead_letter_topic_refuses_records_its_key_waits() {
    let _logs = Logs::capture();
    let place = Place::new("refused").await;
    let limit = async |bytes: &str| {
        place
            .admin
            .alter(&place.letters, &[("max.message.bytes", bytes)])
            .await;
    };
    place.admin.create(&place.letters, 1, &[]).await;
    limit("100").await;
    let running = place.start().await;
    waits_until(&place, running, async || limit("1000000").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_is_written_with_its_headers_cut() {
    let place = Place::new("cut").await;
    place
        .admin
        .create(&place.letters, 1, &[("max.message.bytes", "20000")])
        .await;
    let record = large("bad", 15_000)
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("baggage-of-a-stranger", noise("stranger", 10_000));
    place.writer.write_all(&place.topic, [&record]).await;
    let running = place.start().await;
    let letters = place.letters(1).await;
    let kept = original(&letters[0]);
    assert_eq!((&kept.key, &kept.payload), (&record.key, &record.payload));
    let short: RawHeaders = record.headers[..record.headers.len() - 1].to_vec();
    assert_eq!(kept.headers, short, "what says what the event is stays");
    assert_eq!(
        letters[0].text("eventkit-headers-cut").as_deref(),
        Some("true")
    );
    assert_eq!(
        letters[0].text("eventkit-error-kind").as_deref(),
        Some("exhausted")
    );
    place
        .admin
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_takes_whatever_its_source_takes() {
    let place = Place::new("roomy").await;
    let settings = [("max.message.bytes", "6000000")];
    place.admin.alter(&place.topic, &settings).await;
    let record = large("bad", 5_900_000);
    place.writer.write_all(&place.topic, [&record]).await;
    let running = place.start().await;
    let letters = place.letters(1).await;
    assert_eq!(letters[0].payload, record.payload);
    running.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_letters_larger_than_the_topics_limit_together_is_written_whole() {
    let place = Place::new("burst").await;
    place
        .admin
        .create(&place.letters, 1, &[("max.message.bytes", "20000")])
        .await;
    let records: Vec<_> = (0..50)
        .map(|n| large(&format!("bad-{n}"), 10_000))
        .collect();
    place.writer.write_all(&place.topic, &records).await;
    let running = place.start().await;
    let letters = place.letters(50).await;
    for letter in &letters {
        assert_eq!(
            letter.text("eventkit-headers-cut"),
            None,
            "each fits by itself"
        );
    }
    place
        .admin
        .committed_to_the_end(&place.group, &place.topic)
        .await;
    running.shutdown().await.expect("an orderly end");
}
