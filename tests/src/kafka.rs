use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::eventually;
use crate::servers::kafka_servers;

const PATIENCE: Duration = Duration::from_secs(10);

/// The headers of a record, in order; values may be null.
pub type RawHeaders = Vec<(String, Option<Vec<u8>>)>;

/// A record as it stands in Kafka, beside where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRecord {
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: RawHeaders,
}

impl RawRecord {
    /// With the CloudEvents headers that an event needs.
    pub fn of_type(event_type: &str, id: &str) -> Self {
        Self::default()
            .header("ce_specversion", "1.0")
            .header("ce_id", id)
            .header("ce_type", event_type)
            .header("ce_source", "tests")
    }

    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn no_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    pub fn null_header(mut self, name: impl Into<String>) -> Self {
        self.headers.push((name.into(), None));
        self
    }

    /// The first header of this name, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

/// Writes records as they are.
#[derive(Clone)]
pub struct RawWriter {
    producer: FutureProducer,
}

impl RawWriter {
    pub fn new() -> Self {
        Self::at(&kafka_servers())
    }

    /// To a Kafka of the test's own.
    pub fn at(servers: &str) -> Self {
        let producer = client(servers)
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "67108864")
            .set("linger.ms", "1")
            .create()
            .expect("a producer");
        Self { producer }
    }

    /// Writes one record and says where it stands.
    pub async fn write(&self, topic: &str, record: &RawRecord) -> (i32, i64) {
        self.queue(topic, record).await
    }

    /// Writes records in order, and returns when all are acknowledged, with
    /// where they stand.
    pub async fn write_all<'r>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = &'r RawRecord>,
    ) -> Vec<(i32, i64)> {
        let acknowledged: Vec<_> = records
            .into_iter()
            .map(|record| self.queue(topic, record))
            .collect();
        let mut places = Vec::with_capacity(acknowledged.len());
        for one in acknowledged {
            places.push(one.await);
        }
        places
    }

    fn queue(&self, topic: &str, record: &RawRecord) -> impl Future<Output = (i32, i64)> + use<> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut sent: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).headers(headers);
        sent.partition = record.partition;
        sent.key = record.key.as_deref();
        sent.payload = record.payload.as_deref();
        let acknowledged = self.producer.send_result(sent).map_err(|(error, _)| error);
        async move {
            let delivered = acknowledged.expect("room in the queue").await;
            let delivered = delivered
                .expect("the producer lives")
                .map_err(|(error, _)| error);
            let delivered = delivered.expect("written");
            (delivered.partition, delivered.offset)
        }
    }
}

impl Default for RawWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// Topics, their ends, and groups' offsets.
pub struct Admin {
    servers: String,
    admin: AdminClient<DefaultClientContext>,
    consumer: BaseConsumer,
}

impl Admin {
    pub fn new() -> Self {
        Self::at(&kafka_servers())
    }

    /// Of a Kafka of the test's own.
    pub fn at(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            admin: client(servers).create().expect("an admin client"),
            consumer: reader(servers, "eventkit-tests"),
        }
    }

    /// Creates a topic that is not there yet, with the servers' own number of
    /// replicas.
    pub async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let created = self.admin.create_topics([&new], &options()).await;
        let created = created.expect("Kafka answers");
        assert!(created.iter().all(Result::is_ok), "{topic}: {created:?}");
        self.is_there(topic, true).await;
    }

    /// Creates a topic of a fixed name unless an earlier run did.
    pub async fn ensure(&self, topic: &str, partitions: i32) {
        if !self.exists(topic) {
            self.create(topic, partitions, &[]).await;
        }
    }

    pub async fn delete(&self, topic: &str) {
        let deleted = self.admin.delete_topics(&[topic], &options()).await;
        let deleted = deleted.expect("Kafka answers");
        assert!(deleted.iter().all(Result::is_ok), "{topic}: {deleted:?}");
        self.is_there(topic, false).await;
    }

    /// Sets a topic's settings; those not named go back to their defaults.
    pub async fn alter(&self, topic: &str, settings: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in settings {
            change = change.set(name, value);
        }
        let altered = self.admin.alter_configs([&change], &options()).await;
        let altered = altered.expect("Kafka answers");
        assert!(altered.iter().all(Result::is_ok), "{topic}: {altered:?}");
    }

    /// Adds partitions until a topic has this many.
    pub async fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let grown = self.admin.create_partitions([&more], &options()).await;
        let grown = grown.expect("Kafka answers");
        assert!(grown.iter().all(Result::is_ok), "{topic}: {grown:?}");
    }

    /// Deletes what stands before an offset.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))
            .expect("a legal offset");
        let deleted = self.admin.delete_records(&list, &options()).await;
        let deleted = deleted.expect("Kafka answers");
        for element in deleted.elements() {
            element.error().expect("deleted");
        }
    }

    async fn is_there(&self, topic: &str, wanted: bool) {
        eventually("the topic's state is known", async || {
            self.exists(topic) == wanted
        })
        .await;
    }

    fn exists(&self, topic: &str) -> bool {
        self.partitions(topic) > 0
    }

    fn partitions(&self, topic: &str) -> i32 {
        let metadata = self.consumer.fetch_metadata(None, PATIENCE);
        let metadata = metadata.expect("Kafka answers");
        let topic = metadata.topics().iter().find(|known| known.name() == topic);
        topic.map_or(0, |topic| topic.partitions().len() as i32)
    }

    /// The next offset of each partition.
    pub fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        (0..self.partitions(topic))
            .map(|partition| {
                let marks = self.consumer.fetch_watermarks(topic, partition, PATIENCE);
                (partition, marks.expect("Kafka answers").1)
            })
            .collect()
    }

    /// What a group has committed; partitions without an offset are not in it.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            list.add_partition(topic, partition);
        }
        let committed = reader(&self.servers, group).committed_offsets(list, PATIENCE);
        committed
            .expect("Kafka answers")
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect()
    }

    /// Waits until a group has committed a topic to its end.
    pub async fn committed_to_the_end(&self, group: &str, topic: &str) {
        let mut ends = self.ends(topic);
        // A group commits nothing for a partition that never had a record.
        ends.retain(|_, end| *end > 0);
        eventually("the group commits to the end", async || {
            self.committed(group, topic) == ends
        })
        .await;
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self::new()
    }
}

/// All that stands in a topic now, by partition and offset.
pub fn read_all(topic: &str) -> Vec<RawRecord> {
    let admin = Admin::new();
    let mut open: BTreeMap<i32, i64> = admin.ends(topic);
    let consumer = reader(&admin.servers, "eventkit-tests");
    let mut list = TopicPartitionList::new();
    open.retain(|partition, end| {
        let low = consumer.fetch_watermarks(topic, *partition, PATIENCE);
        low.is_ok_and(|(low, _)| low < *end)
    });
    for partition in open.keys() {
        list.add_partition_offset(topic, *partition, Offset::Beginning)
            .expect("a legal offset");
    }
    consumer.assign(&list).expect("assigned");
    let mut found = BTreeMap::new();
    while !open.is_empty() {
        let message = consumer.poll(PATIENCE).expect("records up to the end");
        let message = message.expect("no error");
        let place = (message.partition(), message.offset());
        if open.get(&place.0).is_some_and(|end| place.1 + 1 >= *end) {
            open.remove(&place.0);
        }
        found.insert(place, raw(&message));
    }
    found.into_values().collect()
}

fn raw(message: &impl Message) -> RawRecord {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    RawRecord {
        partition: Some(message.partition()),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

fn reader(servers: &str, group: &str) -> BaseConsumer {
    let consumer: KafkaResult<BaseConsumer> = client(servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .create();
    consumer.expect("a consumer")
}

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(PATIENCE))
        .request_timeout(Some(PATIENCE))
}
