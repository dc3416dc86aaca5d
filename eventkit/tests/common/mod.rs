//! What the tests on the embedded broker share.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventkit::embedded::EmbeddedBroker;
use eventkit::prelude::*;
use eventkit::{HandlerStats, Running, Settings};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

/// An App that takes nothing from file or environment.
pub fn app(name: &str, broker: &EmbeddedBroker) -> App {
    App::new(name).settings(Settings::default()).broker(broker)
}

/// A broker whose topics have one partition, so that order is easy to tell.
pub fn broker(topics: &[&str]) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().unwrap();
    for topic in topics {
        broker.create_topic(topic, 1).unwrap();
    }
    broker
}

pub async fn started(app: App) -> Running {
    let running = app.start().await.unwrap();
    running.ready().await.unwrap();
    running
}

/// Waits until the condition holds; says what it waited for when it does not.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn stats(running: &Running, handler: &str) -> HandlerStats {
    running
        .stats()
        .into_iter()
        .find(|stats| stats.handler == handler)
        .unwrap()
}

/// A list that handlers write into.
#[derive(Clone)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    pub fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A record as raw bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Raw {
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Raw {
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: Some(payload.into()),
            ..Self::default()
        }
    }

    pub fn of_type(event_type: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self::new(payload).header("ce_type", event_type)
    }

    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    pub fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }

    /// Without what eventkit put behind the original headers.
    pub fn original(mut self) -> Self {
        self.headers
            .retain(|(name, _)| !name.starts_with("eventkit-") || name.ends_with("another-make"));
        self
    }
}

/// Writes records as any producer might.
pub async fn produce(broker: &EmbeddedBroker, topic: &str, records: impl IntoIterator<Item = Raw>) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("message.max.bytes", "4000000")
        .create()
        .unwrap();
    for raw in records {
        let headers = raw
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |list, (key, value)| {
                list.insert(Header {
                    key,
                    value: value.as_ref(),
                })
            });
        let record = FutureRecord::<[u8], [u8]> {
            topic,
            partition: None,
            payload: raw.payload.as_deref(),
            key: raw.key.as_deref(),
            timestamp: None,
            headers: Some(headers),
        };
        producer
            .send(record, Duration::from_secs(10))
            .await
            .unwrap();
    }
}

/// Reads the first `count` records of a topic, from all its partitions.
pub async fn consume(broker: &EmbeddedBroker, topic: &str, count: usize) -> Vec<Raw> {
    consume_at(broker.bootstrap_servers(), topic, count).await
}

pub async fn consume_at(servers: &str, topic: &str, count: usize) -> Vec<Raw> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || {
        let metadata = consumer
            .fetch_metadata(Some(&topic), Duration::from_secs(5))
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(&topic, partition.id(), rdkafka::Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut records = Vec::new();
        while records.len() < count {
            assert!(
                Instant::now() < deadline,
                "only {} of {count} records in {topic}",
                records.len()
            );
            if let Some(message) = consumer.poll(Duration::from_millis(50)) {
                records.push(raw(&message.unwrap()));
            }
        }
        records
    })
    .await
    .unwrap()
}

/// How many records stand in a topic.
pub async fn len_at(servers: &str, topic: &str) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .create()
        .unwrap();
    let topic = topic.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let patience = Duration::from_secs(5);
        let metadata = consumer.fetch_metadata(Some(&topic), patience).unwrap();
        let marks = metadata.topics()[0].partitions().iter().map(|partition| {
            let marks = consumer.fetch_watermarks(&topic, partition.id(), patience);
            marks.unwrap()
        });
        marks.map(|(low, high)| (high - low) as usize).sum()
    });
    asked.await.unwrap()
}

fn raw(message: &BorrowedMessage<'_>) -> Raw {
    let headers = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter());
    Raw {
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

/// For each key, the numbers in the order in which they came.
pub fn by_key(entries: Vec<(u64, u64)>) -> BTreeMap<u64, Vec<u64>> {
    let mut keys: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (key, number) in entries {
        keys.entry(key).or_default().push(number);
    }
    keys
}
