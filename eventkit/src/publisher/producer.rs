use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::FutureRecord;
use rdkafka::producer::future_producer::DeliveryFuture;

use super::client::Client;
use crate::error::{Error, Result};
use crate::kafka::{Connection, Role};

/// librdkafka's settings, below those of the user.
pub(crate) const DEFAULTS: &[(&str, &str)] = &[
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
    together: Arc<Client>,
    /// Sends one record a batch. A broker refuses a batch as a whole, and only
    /// alone does a record show whether it is too large itself.
    alone: Arc<OnceLock<Client>>,
    connection: Connection,
}

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
        let together = Client::new(connection.client(Role::Producer, DEFAULTS))
            .map_err(|error| Error::kafka("creating the producer", error))?;
        Ok(Self {
            together: Arc::new(together),
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
    pub(crate) async fn enqueue(&self, record: RawRecord<'_>) -> Result<Queued, KafkaError> {
        enqueue(&self.together, record).await
    }

    /// The same without waiting; `None` when the queue is full.
    pub(crate) fn enqueue_now(&self, record: RawRecord<'_>) -> Option<Result<Queued, KafkaError>> {
        let partition = record.partition;
        let acknowledgement = self.together.enqueue_now(record.into())?;
        Some(acknowledgement.map(|acknowledgement| Queued {
            acknowledgement,
            partition,
        }))
    }

    /// Waits for all in-sync replicas to have the record.
    pub(crate) async fn acknowledged(&self, queued: Queued) -> Result<(i32, i64), KafkaError> {
        let partition = queued.partition;
        match queued.acknowledged(&self.together).await {
            Err((error, Some(message))) if is_too_large(&error) => {
                let alone = self.alone()?;
                let record = RawRecord {
                    topic: message.topic(),
                    partition,
                    key: message.key(),
                    payload: message.payload(),
                    headers: message.headers().cloned().unwrap_or_default(),
                };
                let again = enqueue(alone, record).await?;
                again.acknowledged(alone).await.map_err(|(error, _)| error)
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
        let client = Client::new(config)?;
        Ok(self.alone.get_or_init(|| client))
    }

    pub(crate) async fn flush(&self, timeout: Duration) -> Result<()> {
        let producer = self.clone();
        // Not on the runtime's pool, for which the end of a program waits.
        blocking::unblock(move || {
            let deadline = Instant::now() + timeout;
            producer.together.flush(timeout)?;
            let left = deadline.saturating_duration_since(Instant::now());
            producer
                .alone
                .get()
                .map_or(Ok(()), |alone| alone.flush(left))
        })
        .await
        .map_err(|error| Error::kafka("flushing the producer", error))
    }
}

impl<'a> From<RawRecord<'a>> for FutureRecord<'a, [u8], [u8]> {
    fn from(record: RawRecord<'a>) -> Self {
        Self {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: None,
            headers: Some(record.headers),
        }
    }
}

/// A record in the send queue.
pub(crate) struct Queued {
    acknowledgement: DeliveryFuture,
    /// As it was asked for.
    partition: Option<i32>,
}

async fn enqueue(client: &Client, record: RawRecord<'_>) -> Result<Queued, KafkaError> {
    let partition = record.partition;
    let acknowledgement = client.enqueue(record.into()).await?;
    Ok(Queued {
        acknowledgement,
        partition,
    })
}

impl Queued {
    /// A failure gives the record back.
    async fn acknowledged(
        self,
        client: &Client,
    ) -> Result<(i32, i64), (KafkaError, Option<OwnedMessage>)> {
        match self.acknowledgement.await {
            Ok(Ok(delivered)) => Ok((delivered.partition, delivered.offset)),
            Ok(Err((error, message))) => {
                client.renew_if_stopped();
                Err((error, Some(message)))
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rdkafka::bindings::rd_kafka_resp_err_t as Code;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaApiKey;

    use super::*;

    fn connected() -> (
        MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
        Producer,
    ) {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("orders", 1, 1).unwrap();
        let connection = Connection::to(cluster.bootstrap_servers());
        let producer = Producer::new(&connection).unwrap();
        (cluster, producer)
    }

    fn record(payload: &[u8]) -> RawRecord<'_> {
        RawRecord {
            topic: "orders",
            partition: None,
            key: None,
            payload: Some(payload),
            headers: OwnedHeaders::new(),
        }
    }

    #[tokio::test]
    async fn a_producer_that_stopped_for_good_is_replaced() {
        let (cluster, producer) = connected();
        producer.send(record(b"before")).await.unwrap();
        let forgotten = Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[forgotten]);
        let stops = producer.send(record(b"stops it")).await.unwrap_err();
        assert!(!is_refusal(&stops), "may be sent again: {stops}");
        producer.send(record(b"after")).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_stopped_producer_did_not_take_is_sent_by_the_next() {
        let (cluster, producer) = connected();
        producer.send(record(b"before")).await.unwrap();
        let forgotten = Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[forgotten]);
        // Nobody looks at what becomes of it.
        let unseen = producer.enqueue(record(b"stops it")).await.unwrap();
        let _ = unseen.acknowledgement.await;
        producer.send(record(b"after")).await.unwrap();
    }

    #[tokio::test]
    async fn a_flush_waits_for_records_that_are_sent_alone_too() {
        let (cluster, producer) = connected();
        producer.send(record(b"before")).await.unwrap();
        cluster.broker_down(1).unwrap();
        let _queued = enqueue(producer.alone().unwrap(), record(b"alone"))
            .await
            .unwrap();
        let flushed = producer.flush(Duration::from_millis(10)).await;
        assert!(flushed.is_err(), "it is not written");
        cluster.broker_up(1).unwrap();
        producer.flush(Duration::from_secs(30)).await.unwrap();
    }

    #[test]
    fn a_flush_does_not_hold_up_the_end_of_the_runtime() {
        let (cluster, producer) = connected();
        cluster.broker_down(1).unwrap();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let _queued = producer.enqueue(record(b"stays")).await.unwrap();
                let flush = producer.flush(Duration::from_secs(3600));
                let flushed = tokio::time::timeout(Duration::from_millis(50), flush).await;
                assert!(flushed.is_err(), "the flush waits");
            });
            drop(runtime);
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
