use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::error::{Error, Result};
use crate::kafka::{Connection, LoggedContext, Role};

/// How long a full send queue is left alone before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

const DEFAULTS: &[(&str, &str)] = &[
    // No duplicate and no reordering by resending; implies acks=all.
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // A handler waits for its events' acknowledgement, so latency counts; under
    // load the queue fills batches by itself.
    ("linger.ms", "2"),
    ("message.timeout.ms", "30000"),
    // The broker's own limit decides, not the client's guess at it.
    ("message.max.bytes", "67108864"),
    ("compression.type", "lz4"),
    // The partitioner of the Java clients, so that one key has one partition,
    // whoever writes it.
    ("partitioner", "murmur2_random"),
];

/// Where an event stands after it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The event's id.
    pub id: String,
    /// Its topic.
    pub topic: &'static str,
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
}

/// The librdkafka producer: raw records in, acknowledgements out.
#[derive(Clone)]
pub(crate) struct Producer {
    producer: Client,
    /// Sends one record a batch. A broker refuses a batch as a whole, and only
    /// alone does a record show whether it is too large itself.
    alone: Arc<OnceLock<Client>>,
    connection: Connection,
}

pub(crate) type Client = FutureProducer<LoggedContext>;

/// A record to write, borrowed from whoever may have to write it again.
pub(crate) struct RawRecord<'a> {
    pub(crate) topic: &'a str,
    /// `None`: the partition that the key belongs to.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
}

impl Producer {
    pub(crate) fn new(connection: &Connection) -> Result<Self> {
        connection.validate()?;
        let producer = connection
            .client(Role::Producer, DEFAULTS)
            .create_with_context(LoggedContext)
            .map_err(|error| Error::kafka("creating the producer", error))?;
        Ok(Self {
            producer,
            alone: Arc::default(),
            connection: connection.clone(),
        })
    }

    /// Resolves with partition and offset when all in-sync replicas have the record.
    pub(crate) async fn send(&self, record: RawRecord<'_>) -> Result<(i32, i64), KafkaError> {
        self.acknowledged(self.enqueue(record).await?).await
    }

    /// Waits for a place in the send queue. Records keep the order in which they
    /// got theirs.
    pub(crate) async fn enqueue<'a>(
        &self,
        record: RawRecord<'a>,
    ) -> Result<Queued<'a>, KafkaError> {
        enqueue(&self.producer, record).await
    }

    /// Waits for all in-sync replicas to have the record.
    pub(crate) async fn acknowledged(&self, queued: Queued<'_>) -> Result<(i32, i64), KafkaError> {
        match queued.acknowledged().await {
            Err((error, Some(record))) if is_too_large(&error) => {
                let again = enqueue(self.alone()?, record).await?;
                again.acknowledged().await.map_err(|(error, _)| error)
            }
            sent => sent.map_err(|(error, _)| error),
        }
    }

    fn alone(&self) -> Result<&Client, KafkaError> {
        if let Some(client) = self.alone.get() {
            return Ok(client);
        }
        let mut config = self.connection.client(Role::Producer, DEFAULTS);
        config.set("batch.num.messages", "1");
        let client = config.create_with_context(LoggedContext)?;
        Ok(self.alone.get_or_init(|| client))
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        let producer = self.producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(timeout));
        match flushed.await {
            Ok(flushed) => flushed.map_err(|error| Error::kafka("flushing the producer", error)),
            Err(_) => Err(Error::Unfinished("the producer was not flushed".into())),
        }
    }
}

/// A client for a relay, which has the records stored and can begin anew: they
/// wait for the broker as long as it takes, and of what is queued for a partition
/// only a beginning is written, never something behind a gap. A failure that
/// would leave one is fatal to the client.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn gapless_client(connection: &Connection, batch_bytes: u32) -> Result<Client> {
    let batch_bytes = batch_bytes.to_string();
    let settings = [
        ("enable.gapless.guarantee", "true"),
        ("batch.size", &*batch_bytes),
    ];
    relay_client(connection, &settings)
}

/// The same for records that are sent one by one.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn one_by_one_client(connection: &Connection) -> Result<Client> {
    relay_client(connection, &[("batch.num.messages", "1")])
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn relay_client(connection: &Connection, settings: &[(&str, &str)]) -> Result<Client> {
    let mut config = connection.client(Role::Producer, DEFAULTS);
    // Only the lease limits how long a record may wait.
    config.set("message.timeout.ms", "0");
    // How long an unknown topic may be one that is just being made.
    config.set("topic.metadata.propagation.max.ms", "5000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
        .create_with_context(LoggedContext)
        .map_err(|error| Error::kafka("creating a relay's producer", error))
}

/// A record in the send queue.
pub(crate) struct Queued<'a> {
    acknowledgement: DeliveryFuture,
    topic: &'a str,
    partition: Option<i32>,
    key: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
}

pub(crate) async fn enqueue<'a>(
    client: &Client,
    record: RawRecord<'a>,
) -> Result<Queued<'a>, KafkaError> {
    let RawRecord {
        topic,
        partition,
        key,
        payload,
        headers,
    } = record;
    let mut waiting = FutureRecord::<[u8], [u8]> {
        topic,
        partition,
        payload,
        key,
        timestamp: None,
        headers: Some(headers),
    };
    loop {
        match client.send_result(waiting) {
            Ok(acknowledgement) => {
                return Ok(Queued {
                    acknowledgement,
                    topic,
                    partition,
                    key,
                    payload,
                });
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                waiting = record;
                tokio::time::sleep(QUEUE_FULL_WAIT).await;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

impl<'a> Queued<'a> {
    /// A failure gives the record back.
    pub(crate) async fn acknowledged(
        self,
    ) -> Result<(i32, i64), (KafkaError, Option<RawRecord<'a>>)> {
        match self.acknowledgement.await {
            Ok(Ok(delivered)) => Ok((delivered.partition, delivered.offset)),
            Ok(Err((error, message))) => {
                let record = RawRecord {
                    topic: self.topic,
                    partition: self.partition,
                    key: self.key,
                    payload: self.payload,
                    headers: message.headers().cloned().unwrap_or_default(),
                };
                Err((error, Some(record)))
            }
            Err(_) => Err((KafkaError::Canceled, None)),
        }
    }
}

pub(crate) fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Whether the broker would answer the same next time.
pub(crate) fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation
        )
    )
}
