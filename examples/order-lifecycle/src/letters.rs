//! Reads the dead-letter topics of the five services, as anybody could.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::args::ServiceName;
use crate::events::{OrderId, PARTITIONS, TOPICS};

const PATIENCE: Duration = Duration::from_secs(10);
/// A service that starts later creates its dead-letter topics later.
const LOOK_FOR_TOPICS: Duration = Duration::from_secs(1);

/// A dead letter of an order.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) order: OrderId,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) group: String,
    pub(crate) kind: String,
}

/// Tells of the dead letters as they come, from a thread of its own.
pub(crate) fn watch(
    bootstrap_servers: &str,
    letters: mpsc::UnboundedSender<Letter>,
    stop: CancellationToken,
) -> Result<std::thread::JoinHandle<()>, KafkaError> {
    let consumer = consumer(bootstrap_servers, "order.letters")?;
    let watch = move || {
        let mut watched = HashSet::new();
        let mut look = Instant::now();
        while !stop.is_cancelled() {
            if look <= Instant::now() {
                look = Instant::now() + LOOK_FOR_TOPICS;
                if let Err(error) = watch_new_topics(&consumer, &mut watched) {
                    tracing::warn!(%error, "looking for dead-letter topics");
                }
            }
            match consumer.poll(Duration::from_millis(50)) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(letter) = read(&message)
                        && letters.send(letter).is_err()
                    {
                        return;
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "reading dead letters"),
            }
        }
    };
    Ok(std::thread::spawn(watch))
}

/// How many dead letters no replay has sent back yet.
pub(crate) fn left(bootstrap_servers: &str) -> Result<u64, KafkaError> {
    let mut left = 0;
    for group in ServiceName::ALL {
        let consumer = consumer(bootstrap_servers, &format!("{group}.dlq-replay"))?;
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in dead_letter_partitions(&consumer, &[group])? {
            partitions.add_partition(&topic, partition);
        }
        if partitions.count() == 0 {
            continue;
        }
        for element in consumer.committed_offsets(partitions, PATIENCE)?.elements() {
            let (low, high) =
                consumer.fetch_watermarks(element.topic(), element.partition(), PATIENCE)?;
            let next = match element.offset() {
                Offset::Offset(next) => next.max(low),
                _ => low,
            };
            left += u64::try_from(high - next).unwrap_or(0);
        }
    }
    Ok(left)
}

/// How many records of the topics the five services have still to take.
pub(crate) fn lag(bootstrap_servers: &str) -> Result<i64, KafkaError> {
    let mut lag = 0;
    for group in ServiceName::ALL {
        let consumer = consumer(bootstrap_servers, group.as_str())?;
        let mut partitions = TopicPartitionList::new();
        for topic in TOPICS {
            partitions.add_partition_range(topic, 0, PARTITIONS - 1);
        }
        let committed = consumer.committed_offsets(partitions, PATIENCE)?;
        let committed = committed.elements();
        // Of topics that a group does not read it has committed nothing.
        let reads = |topic| {
            let of_topic = committed.iter().filter(|other| other.topic() == topic);
            of_topic
                .map(|other| other.offset())
                .any(|next| next != Offset::Invalid)
        };
        for element in committed.iter().filter(|element| reads(element.topic())) {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
            lag += match element.offset() {
                Offset::Offset(next) => high - next,
                _ => high - low,
            };
        }
    }
    Ok(lag)
}

pub(crate) fn consumer(bootstrap_servers: &str, group: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50")
        .create()
}

fn dead_letter_partitions(
    consumer: &BaseConsumer,
    groups: &[ServiceName],
) -> Result<Vec<(String, i32)>, KafkaError> {
    let ours: HashSet<String> = groups
        .iter()
        .flat_map(|group| TOPICS.map(|topic| format!("{topic}.{group}.dlq")))
        .collect();
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| ours.contains(topic.name()));
    Ok(topics
        .flat_map(|topic| {
            let partitions = topic.partitions().iter();
            partitions.map(|partition| (topic.name().to_owned(), partition.id()))
        })
        .collect())
}

fn watch_new_topics(
    consumer: &BaseConsumer,
    watched: &mut HashSet<(String, i32)>,
) -> Result<(), KafkaError> {
    let mut new = TopicPartitionList::new();
    for (topic, partition) in dead_letter_partitions(consumer, &ServiceName::ALL)? {
        if watched.insert((topic.clone(), partition)) {
            new.add_partition_offset(&topic, partition, Offset::Beginning)?;
        }
    }
    if new.count() == 0 {
        return Ok(());
    }
    consumer.incremental_assign(&new)
}

/// `None` for what is no letter of an order.
fn read(message: &BorrowedMessage<'_>) -> Option<Letter> {
    let header = |name: &str| {
        let mut headers = message.headers()?.iter();
        let value = headers.find(|header| header.key == name)?.value?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    Some(Letter {
        // Each order's flow has its id for correlation.
        order: header("ce_correlationid")?.parse().ok()?,
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        group: header("eventkit-group")?,
        kind: header("eventkit-error-kind")?,
    })
}
