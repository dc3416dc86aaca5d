//! Topics and offsets, as the benchmark itself looks at them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(20);

pub fn servers() -> Result<String> {
    std::env::var("KAFKA_BOOTSTRAP_SERVERS").context(
        "KAFKA_BOOTSTRAP_SERVERS is not set: use tests/bench/run, or source target/stack/env",
    )
}

pub fn config() -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers()?);
    Ok(config)
}

/// Records in a topic; `None` when there is no such topic.
pub fn records(topic: &str) -> Result<Option<u64>> {
    let ends = Ends::of(topic)?;
    if ends.partitions == 0 {
        return Ok(None);
    }
    ends.records().map(Some)
}

/// The ends of one topic, asked again and again.
pub struct Ends {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Ends {
    pub fn of(topic: &str) -> Result<Self> {
        let consumer = reader("eventkit-bench")?;
        Ok(Self {
            partitions: partitions(&consumer, topic)?,
            topic: topic.to_owned(),
            consumer,
        })
    }

    pub fn records(&self) -> Result<u64> {
        let mut records = 0;
        for partition in 0..self.partitions {
            let (low, high) = ends(&self.consumer, &self.topic, partition)?;
            records += (high - low).unsigned_abs();
        }
        Ok(records)
    }
}

/// A partition's first and next offset. One that was just created has no leader
/// for a moment.
fn ends(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let start = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, PATIENCE) {
            Ok(ends) => return Ok(ends),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("{topic} partition {partition}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Records of a topic that a group has not committed.
pub fn uncommitted(group: &str, topic: &str) -> Result<u64> {
    let consumer = reader(group)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions(&consumer, topic)? {
        list.add_partition(topic, partition);
    }
    let mut uncommitted = 0;
    for committed in consumer.committed_offsets(list, PATIENCE)?.elements() {
        let (low, high) = ends(&consumer, topic, committed.partition())?;
        let next = match committed.offset() {
            Offset::Offset(next) => next,
            _ => low,
        };
        uncommitted += (high - next).unsigned_abs();
    }
    Ok(uncommitted)
}

pub fn create(topic: &str, partitions: i32) -> Result<()> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = wait(admin()?.create_topics([&new], &options()))??;
    for one in created {
        one.map_err(|(topic, code)| anyhow!("creating {topic}: {code}"))?;
    }
    // The broker knows it a moment later than it says so.
    let consumer = reader("eventkit-bench")?;
    let start = Instant::now();
    while self::partitions(&consumer, topic)? != partitions {
        anyhow::ensure!(start.elapsed() < PATIENCE, "{topic} does not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub fn delete(topic: &str) -> Result<()> {
    for one in wait(admin()?.delete_topics(&[topic], &options()))?? {
        one.map_err(|(topic, code)| anyhow!("deleting {topic}: {code}"))?;
    }
    Ok(())
}

pub fn delete_if_there(topic: &str) -> Result<()> {
    match records(topic)? {
        Some(_) => delete(topic),
        None => Ok(()),
    }
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32> {
    // Asked for by name, a topic that is not there would be an error.
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let topic = metadata.topics().iter().find(|known| known.name() == topic);
    Ok(topic.map_or(0, |topic| topic.partitions().len() as i32))
}

fn reader(group: &str) -> Result<BaseConsumer> {
    let mut config = config()?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false");
    Ok(config.create()?)
}

fn admin() -> Result<AdminClient<DefaultClientContext>> {
    Ok(config()?.create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}

fn wait<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(future))
}
