//! What a good engineer writes by hand on rdkafka, one way of it in each file.
//!
//! They give what eventkit gives where it is compared: at least once, offsets
//! stored only behind what is handled, order for each key.

pub mod bare;
pub mod dead_letters;
pub mod defaults;
pub mod inline;
pub mod offsets;
pub mod outbox;
pub mod per_key;
pub mod per_partition;
pub mod publishing;
pub mod redis;
#[cfg(feature = "rival")]
pub mod rival;
pub mod window;

use anyhow::Result;
use rdkafka::ClientConfig;

use crate::case::Job;
use crate::kafka;

/// Tuned as eventkit's own consumer is, for a like-for-like comparison.
pub fn tuned(job: &Job) -> Result<ClientConfig> {
    let mut config = plain(job)?;
    config
        .set("enable.auto.offset.store", "false")
        .set("auto.commit.interval.ms", "1000")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "100")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "8388608");
    Ok(config)
}

/// librdkafka's defaults.
pub fn plain(job: &Job) -> Result<ClientConfig> {
    let mut config = kafka::config()?;
    config
        .set("group.id", &job.group)
        .set("auto.offset.reset", "earliest");
    Ok(config)
}
