//! A task for each partition, its records one after the other.

use std::sync::Arc;

use anyhow::{Context, Result};
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::tuned;
use super::window::{Place, Windows};
use crate::case::Job;
use crate::check::PATIENCE;
use crate::event::OrderPlaced;

/// Consumes the load to its end.
pub async fn consume<H, F>(job: &Job, handler: H) -> Result<()>
where
    H: Fn(OrderPlaced) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let topic = job.topic();
    let consumer: StreamConsumer = tuned(job)?.create()?;
    consumer.subscribe(&[&topic])?;
    let windows = Arc::new(Windows::new(&topic, job.load().partitions));
    let mut tasks = JoinSet::new();
    let mut inboxes = Vec::new();
    for _ in 0..job.load().partitions {
        // The loop never waits for a full queue; the load is small enough.
        let (inbox, mut records) = mpsc::unbounded_channel::<(OrderPlaced, Place)>();
        let (windows, handler) = (windows.clone(), handler.clone());
        tasks.spawn(async move {
            while let Some((order, place)) = records.recv().await {
                handler(order).await;
                windows.handled(&place);
            }
        });
        inboxes.push(inbox);
    }
    for _ in 0..job.load().deliveries() {
        let Ok(message) = timeout(PATIENCE, consumer.recv()).await else {
            break;
        };
        let message = message?;
        let payload = message.payload().context("a record without payload")?;
        let place = windows.receive(message.partition(), message.offset());
        let _ =
            inboxes[message.partition() as usize].send((serde_json::from_slice(payload)?, place));
    }
    drop(inboxes);
    tasks.join_all().await;
    windows.commit(&consumer)
}
