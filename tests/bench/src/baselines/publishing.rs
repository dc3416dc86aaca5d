//! Publishing by hand, with the properties of eventkit's publisher.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, FutureProducer, FutureRecord, ProducerContext, ThreadedProducer,
};

use crate::event::OrderPlaced;
use crate::fill::headers;
use crate::kafka;

pub fn config() -> Result<rdkafka::ClientConfig> {
    let mut config = kafka::config()?;
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random");
    Ok(config)
}

/// A future for each record.
pub struct Futures {
    producer: FutureProducer,
}

impl Futures {
    pub fn new() -> Result<Self> {
        Ok(Self {
            producer: config()?.create()?,
        })
    }

    /// Sends a batch and waits for its acknowledgements.
    pub async fn publish(&self, topic: &str, batch: &[OrderPlaced]) -> Result<()> {
        let mut sent = Vec::with_capacity(batch.len());
        for order in batch {
            let key = order.customer_id.to_string();
            let payload = serde_json::to_vec(order)?;
            let record = FutureRecord::to(topic)
                .key(&key)
                .payload(&payload)
                .headers(headers(order));
            // A batch always has room in librdkafka's queue.
            sent.push(
                self.producer
                    .send_result(record)
                    .map_err(|(error, _)| error)?,
            );
        }
        for one in sent {
            one.await?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

/// One counter for all records.
pub struct Counted {
    producer: ThreadedProducer<Count>,
    acknowledged: Count,
    sent: u64,
}

#[derive(Clone, Default)]
struct Count {
    inner: Arc<Counter>,
}

#[derive(Default)]
struct Counter {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    wanted: AtomicU64,
    lock: Mutex<()>,
    reached: Condvar,
}

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = &*self.inner;
        if result.is_err() {
            counter.failed.fetch_add(1, Ordering::Relaxed);
        }
        let acknowledged = counter.acknowledged.fetch_add(1, Ordering::AcqRel) + 1;
        if acknowledged == counter.wanted.load(Ordering::Acquire) {
            let _locked = counter.lock.lock().unwrap_or_else(PoisonError::into_inner);
            counter.reached.notify_one();
        }
    }
}

impl Counted {
    pub fn new() -> Result<Self> {
        let acknowledged = Count::default();
        Ok(Self {
            producer: config()?.create_with_context(acknowledged.clone())?,
            acknowledged,
            sent: 0,
        })
    }

    /// Sends a batch and waits for its acknowledgements.
    pub fn publish(&mut self, topic: &str, batch: &[OrderPlaced]) -> Result<()> {
        let counter = &*self.acknowledged.inner;
        self.sent += batch.len() as u64;
        counter.wanted.store(self.sent, Ordering::Release);
        for order in batch {
            let key = order.customer_id.to_string();
            let payload = serde_json::to_vec(order)?;
            let mut record = BaseRecord::to(topic)
                .key(&key)
                .payload(&payload)
                .headers(headers(order));
            while let Err((error, back)) = self.producer.send(record) {
                ensure!(
                    error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull),
                    error
                );
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut locked = counter.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while counter.acknowledged.load(Ordering::Acquire) < self.sent {
            let wait = counter.reached.wait_timeout(locked, Duration::from_secs(1));
            locked = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        ensure!(
            counter.failed.load(Ordering::Relaxed) == 0,
            "a record was not delivered"
        );
        Ok(())
    }
}
