//! A relay's producer. The rows stay in the table until they are acknowledged, so
//! it may give up and begin anew at any time, and records wait in it for the
//! broker as long as it takes.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};

use crate::error::{Error, Result};
use crate::kafka::{Connection, LoggedContext, Role};
use crate::publisher::{PRODUCER_DEFAULTS, RawRecord};

/// How long a full send queue is left alone before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

/// How long to ask for a topic that was unknown before.
const TOPIC_PATIENCE: Duration = Duration::from_secs(2);

type Native = FutureProducer<LoggedContext>;

pub(super) struct Client {
    native: Option<Native>,
}

impl Client {
    /// Of what is queued for a partition only a beginning is written, never
    /// something behind a gap: a failure that would leave one is fatal.
    pub(super) fn gapless(connection: &Connection, batch_bytes: u32) -> Result<Self> {
        let batch_bytes = batch_bytes.to_string();
        let settings = [
            ("enable.gapless.guarantee", "true"),
            ("batch.size", &*batch_bytes),
        ];
        Self::new(connection, &settings)
    }

    /// For records that are sent one by one, and refused for themselves alone.
    pub(super) fn one_by_one(connection: &Connection) -> Result<Self> {
        Self::new(connection, &[("batch.num.messages", "1")])
    }

    fn new(connection: &Connection, settings: &[(&str, &str)]) -> Result<Self> {
        let mut defaults = PRODUCER_DEFAULTS.to_vec();
        // How long an unknown topic may be one that is just being made.
        defaults.push(("topic.metadata.propagation.max.ms", "5000"));
        let mut config = connection.client(Role::Producer, &defaults);
        // Only the lease limits how long a record may wait.
        config.set("message.timeout.ms", "0");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let native = config
            .create_with_context(LoggedContext)
            .map_err(|error| Error::kafka("creating a relay's producer", error))?;
        Ok(Self {
            native: Some(native),
        })
    }

    /// Waits for a place in the send queue. Records keep the order in which they
    /// got theirs.
    pub(super) async fn enqueue(
        &self,
        record: RawRecord<'_>,
    ) -> Result<DeliveryFuture, KafkaError> {
        let mut waiting = FutureRecord::<[u8], [u8]> {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: None,
            headers: Some(record.headers),
        };
        loop {
            match self.native().send_result(waiting) {
                Ok(acknowledgement) => return Ok(acknowledgement),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    waiting = record;
                    tokio::time::sleep(QUEUE_FULL_WAIT).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Whether it can send nothing more. It keeps what is queued all the same.
    pub(super) fn has_failed(&self) -> bool {
        self.native().client().fatal_error().is_some()
    }

    /// Lets everything fail that is queued or on its way.
    pub(super) fn take_back(&self) {
        let all = PurgeConfig::default().queue().inflight().non_blocking();
        self.native().purge(all);
    }

    /// Whether the broker has this topic; `true` when it does not answer.
    pub(super) async fn knows(&self, topic: &str) -> bool {
        let (native, topic) = (self.native().clone(), topic.to_owned());
        blocking::unblock(move || {
            let metadata = native.client().fetch_metadata(Some(&topic), TOPIC_PATIENCE);
            metadata.map_or(true, |metadata| {
                metadata
                    .topics()
                    .iter()
                    .all(|found| found.name() != topic || !found.partitions().is_empty())
            })
        })
        .await
    }

    fn native(&self) -> &Native {
        self.native.as_ref().expect("there until it is dropped")
    }
}

/// Its end may wait for the broker, and holds nobody up.
impl Drop for Client {
    fn drop(&mut self) {
        let native = self.native.take();
        blocking::unblock(move || drop(native)).detach();
    }
}

/// Waits for all in-sync replicas to have the record.
pub(super) async fn acknowledged(
    acknowledgement: DeliveryFuture,
) -> Result<(i32, i64), KafkaError> {
    match acknowledgement.await {
        Ok(Ok(delivered)) => Ok((delivered.partition, delivered.offset)),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}
