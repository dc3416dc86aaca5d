//! Offsets that never come: aborted transactions and their markers, and what
//! compaction took away.

use std::time::{Duration, Instant};

use eventkit_tests::RawRecord;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::journal::Event;
use crate::load::record;
use crate::oracle::Written;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::worker::Kind;

/// Longest wait for the broker to end a transaction or take a record.
const BROKER: Duration = Duration::from_secs(30);

/// Every second transaction is aborted, the last one too.
pub(crate) async fn aborted(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "aborted", Kind::Plain, 2).await?;
    let _workers = scene.workers(2).await?;
    let transactions = setting.either(20, 400);
    let (servers, topic) = (scene.orders().servers, scene.topic.clone());
    // librdkafka waits where this runtime must not.
    let written =
        tokio::task::spawn_blocking(move || write_in_transactions(&servers, &topic, transactions));
    scene.acknowledged.extend(written.await??);
    let begun = Instant::now();
    scene.finishes().await?;
    scene.recovers(begun).await;
    scene.verdict().await
}

fn write_in_transactions(
    servers: &str,
    topic: &str,
    transactions: u64,
) -> anyhow::Result<Vec<Written>> {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("transactional.id", topic)
        .create()?;
    producer.init_transactions(BROKER)?;
    let mut written = Vec::new();
    // Where a record stands: behind those before it and their markers.
    let mut next = [0; 2];
    for transaction in 0..transactions {
        let commits = transaction % 2 == 0;
        producer.begin_transaction()?;
        for n in 0..10 {
            let key = (n % 2) as u32;
            let partition = key as i32;
            // Aborted numbers are of another key, for the order to be seen.
            let event = Event {
                key: key + if commits { 0 } else { 2 },
                n: transaction / 2 * 5 + n / 2,
            };
            send(&producer, topic, partition, &record(event))?;
            let offset = next[key as usize];
            next[key as usize] += 1;
            if commits {
                written.push(Written {
                    partition,
                    offset,
                    event,
                });
            }
        }
        match commits {
            true => producer.commit_transaction(BROKER)?,
            false => producer.abort_transaction(BROKER)?,
        }
        next = next.map(|next| next + 1);
    }
    Ok(written)
}

fn send(
    producer: &ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    topic: &str,
    partition: i32,
    record: &RawRecord,
) -> anyhow::Result<()> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        let value = value.as_ref();
        headers = headers.insert(Header { key, value });
    }
    let mut sent: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(topic).partition(partition).headers(headers);
    sent.key = record.key.as_deref();
    sent.payload = record.payload.as_deref();
    producer.send(sent).map_err(|(error, _)| error.into())
}

/// A topic of which compaction leaves each key's last event, and few of the rest.
pub(crate) async fn compacted(setting: Setting) -> anyhow::Result<Findings> {
    let servers = setting.cluster.servers();
    let often = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "500"),
    ];
    let mut scene = Scene::on(&setting, &servers, "compacted", Kind::Plain, 2, &often).await?;
    let writer = eventkit_tests::RawWriter::at(&servers);
    let each = setting.either(200, 2_000);
    // Before anybody reads; with a pause, so that there are segments to clean.
    let mut places = Vec::new();
    for round in 0..3 {
        for key in 0..20 {
            let events = (0..each).map(|n| Event {
                key,
                n: round * each + n,
            });
            let events: Vec<_> = events.collect();
            let records: Vec<_> = events.iter().map(|event| record(*event)).collect();
            places.extend(
                events
                    .into_iter()
                    .zip(writer.write_all(&scene.topic, &records).await),
            );
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let (all, topic) = (places.len(), scene.topic.clone());
    let mut left = Vec::new();
    let start = Instant::now();
    while left.len() == all || left.is_empty() {
        anyhow::ensure!(start.elapsed() < PATIENCE, "Kafka compacts nothing");
        let (servers, topic) = (servers.clone(), topic.clone());
        let read = move || eventkit_tests::read_all_at(&servers, &topic);
        left = tokio::task::spawn_blocking(read).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Compaction may go on while the worker reads, so that nobody can say which
    // of the others it sees: only the last event of each key is demanded.
    let last = 3 * each - 1;
    let events = places.into_iter().filter(|(event, _)| event.n == last);
    scene
        .acknowledged
        .extend(events.map(|(event, (partition, offset))| Written {
            partition,
            offset,
            event,
        }));
    let begun = Instant::now();
    let _worker = scene.workers(1).await?;
    scene.finishes().await?;
    scene.recovers(begun).await;
    scene.verdict().await
}
