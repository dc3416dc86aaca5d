//! `StreamConsumer`, tuned, each event awaited before the next.

use anyhow::{Context, Result};
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use tokio::time::timeout;

use super::offsets::Offsets;
use super::tuned;
use crate::case::Job;
use crate::check::PATIENCE;
use crate::event::OrderPlaced;

/// Consumes the load to its end.
pub async fn consume(
    job: &Job,
    mut handler: impl AsyncFnMut(OrderPlaced) -> Result<()>,
) -> Result<()> {
    let topic = job.topic();
    let consumer: StreamConsumer = tuned(job)?.create()?;
    consumer.subscribe(&[&topic])?;
    let mut offsets = Offsets::new(&topic, job.load().partitions);
    for _ in 0..job.load().deliveries() {
        let Ok(message) = timeout(PATIENCE, consumer.recv()).await else {
            break;
        };
        let message = message?;
        let payload = message.payload().context("a record without payload")?;
        handler(serde_json::from_slice(payload)?).await?;
        offsets.handled(&consumer, message.partition(), message.offset())?;
    }
    offsets.commit(&consumer)
}
