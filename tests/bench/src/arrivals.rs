//! What arrived in the topic of the event's type, read after or while a
//! contender publishes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use eventkit::Event;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::case::Job;
use crate::check::{Check, PATIENCE};
use crate::event::OrderPlaced;
use crate::kafka;
use crate::report::Report;

/// An event names its topic for good: each run has it anew.
pub const TOPIC: &str = OrderPlaced::TOPIC;

pub fn make_topic(job: &Job) -> Result<()> {
    // These calls have a runtime of their own.
    tokio::task::block_in_place(|| {
        kafka::delete_if_there(TOPIC)?;
        kafka::create(TOPIC, job.load().partitions)
    })
}

/// Reads the topic from its beginning, as events come.
pub struct Arrivals {
    consumer: BaseConsumer,
}

impl Arrivals {
    pub fn new(job: &Job) -> Result<Self> {
        let consumer: BaseConsumer = kafka::config()?
            .set("group.id", &job.group)
            .set("enable.auto.commit", "false")
            .create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..job.load().partitions {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        Ok(Self { consumer })
    }

    /// The next event; `None` when none comes for a while.
    pub fn next(&self) -> Result<Option<OrderPlaced>> {
        let Some(message) = self.consumer.poll(PATIENCE) else {
            return Ok(None);
        };
        let message = message?;
        let payload = message.payload().context("a record without payload")?;
        Ok(Some(serde_json::from_slice(payload)?))
    }
}

/// Reads all that stands in the topic; reports what is lost, repeated or out of
/// order.
pub fn check_all(job: &Job, report: &mut Report) -> Result<()> {
    let check = Check::new(job.load());
    let arrivals = Arrivals::new(job)?;
    for _ in 0..kafka::records(TOPIC)?.unwrap_or(0) {
        match arrivals.next()? {
            Some(order) => check.handled(&order),
            None => break,
        };
    }
    let found = Report::of(&check);
    report.checks.extend(found.checks);
    tokio::task::block_in_place(|| kafka::delete(TOPIC))
}

/// Waits until the topic has so many records, looking every 10 ms.
pub async fn reach(ends: &kafka::Ends, records: u64) -> Result<()> {
    let (mut before, mut heard) = (0, Instant::now());
    loop {
        let found = tokio::task::block_in_place(|| ends.records())?;
        if found != before {
            (before, heard) = (found, Instant::now());
        }
        if found >= records || heard.elapsed() > PATIENCE {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
