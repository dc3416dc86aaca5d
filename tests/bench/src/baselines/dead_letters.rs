//! Three attempts and a dead letter, by hand.

use std::time::Duration;

use anyhow::Result;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::event::OrderPlaced;
use crate::fill::headers;
use crate::kafka;

/// The waits between the attempts.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

#[derive(Clone)]
pub struct DeadLetters {
    producer: FutureProducer,
    topic: String,
}

impl DeadLetters {
    pub fn new(topic: String) -> Result<Self> {
        let mut config = kafka::config()?;
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "2");
        Ok(Self {
            producer: config.create()?,
            topic,
        })
    }

    /// Tries, waits and tries again; then the event is put aside, acknowledged.
    pub async fn attempts(
        &self,
        order: &OrderPlaced,
        mut handler: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        for wait in WAITS {
            if handler().is_ok() {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
        }
        match handler() {
            Ok(()) => Ok(()),
            Err(_) => self.put_aside(order).await,
        }
    }

    async fn put_aside(&self, order: &OrderPlaced) -> Result<()> {
        let key = order.customer_id.to_string();
        let payload = serde_json::to_vec(order)?;
        let record = FutureRecord::to(&self.topic)
            .key(&key)
            .payload(&payload)
            .headers(headers(order));
        let sent = self.producer.send(record, Duration::from_secs(10)).await;
        sent.map(drop).map_err(|(error, _)| error.into())
    }
}
