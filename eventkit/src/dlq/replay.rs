use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::{Offset, TopicPartitionList};

use crate::app::{Running, Topology};
use crate::error::{Error, Result};
use crate::event::headers;
use crate::ffi;
use crate::kafka::{LoggedContext, Role};
use crate::publisher::{Producer, RawRecord, is_refusal};

const PATIENCE: Duration = Duration::from_secs(10);
/// Dead letters that are sent back together, and then counted as replayed.
const BATCH: usize = 500;

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Dead letters sent back to their topics.
    pub replayed: u64,
    /// Dead letters that name no topic and handler of this App, or that their
    /// topic refuses. They are logged and stay in the dead-letter topic, and
    /// later replays pass over them.
    pub refused: u64,
}

/// Sends an App's dead letters back, for the handlers that failed on them and
/// for no others.
///
/// Each record returns to its original topic and partition with its original
/// key, payload and headers, and with `eventkit-replay-for: <group>/<handler>`,
/// which makes everybody else skip it. It goes only to topics that the App's
/// handlers listen to, whatever its headers say. A handler with `dedup` runs
/// only if it did not succeed on the event before.
///
/// The replay reads what stands in the dead-letter topics now, from where the
/// last one ended (consumer group `<group>.dlq-replay`), so a letter whose
/// handler fails again is a new letter for the next replay.
///
/// At least once: when the process dies, the letters of the last moment are
/// sent back again.
///
/// ```no_run
/// # async fn f(app: eventkit::App) -> eventkit::Result<()> {
/// let running = app.start().await?;
/// let report = eventkit::dlq::replay(&running).await?;
/// println!("{} replayed", report.replayed);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When Kafka cannot be reached or a record is not acknowledged; what was
/// acknowledged until then is not replayed again.
pub async fn replay(app: &Running) -> Result<ReplayReport> {
    let topology = app.topology().clone();
    let producer = app.publisher().producer().clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut report = ReplayReport::default();
        for group in topology.groups.keys() {
            Replay::open(&topology, group, &producer, &runtime)?.run(&mut report)?;
        }
        Ok(report)
    })
    .await
    .map_err(|error| Error::Unfinished(format!("replay: {error}")))?
}

struct Replay<'a> {
    topology: &'a Topology,
    group: &'a Arc<str>,
    producer: &'a Producer,
    runtime: &'a tokio::runtime::Handle,
    consumer: BaseConsumer<LoggedContext>,
    /// Where each partition of the dead-letter topics ends for this replay.
    ends: HashMap<(String, i32), i64>,
    /// Behind the last letter that was looked at, of each partition.
    next: HashMap<(String, i32), i64>,
}

/// A dead letter on its way back.
struct Letter {
    topic: String,
    partition: Option<i32>,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: OwnedHeaders,
}

impl<'a> Replay<'a> {
    fn open(
        topology: &'a Topology,
        group: &'a Arc<str>,
        producer: &'a Producer,
        runtime: &'a tokio::runtime::Handle,
    ) -> Result<Self> {
        let consumer: BaseConsumer<LoggedContext> = topology
            .connection
            .client(
                Role::Consumer,
                &[("enable.auto.commit", "false"), ("fetch.wait.max.ms", "50")],
            )
            .set("group.id", format!("{group}.dlq-replay"))
            .set("auto.offset.reset", "earliest")
            .create_with_context(LoggedContext)
            .map_err(|error| Error::kafka(format!("replaying `{group}`"), error))?;
        Ok(Self {
            topology,
            group,
            producer,
            runtime,
            consumer,
            ends: HashMap::new(),
            next: HashMap::new(),
        })
    }

    fn run(mut self, report: &mut ReplayReport) -> Result<()> {
        self.assign().map_err(|error| self.failed(error))?;
        let mut batch = Vec::new();
        let mut quiet_since = Instant::now();
        while !self.ends.is_empty() {
            let Some(polled) = self.consumer.poll(Duration::from_millis(100)) else {
                self.send(&mut batch, report)?;
                if quiet_since.elapsed() > PATIENCE {
                    return Err(Error::Group {
                        group: self.group.to_string(),
                        reason: "the dead-letter topics cannot be read to their end".into(),
                    });
                }
                continue;
            };
            quiet_since = Instant::now();
            let message = polled.map_err(|error| self.failed(error))?;
            let place = (message.topic().to_owned(), message.partition());
            let Some(end) = self.ends.get(&place).copied() else {
                continue;
            };
            if message.offset() < end {
                match self.letter(&message) {
                    Some(letter) => batch.push(letter),
                    None => report.refused += 1,
                }
            }
            // A letter behind the end is for the next replay.
            let next = (message.offset() + 1).min(end);
            if next == end {
                self.ends.remove(&place);
            }
            self.next.insert(place, next);
            if batch.len() >= BATCH || self.ends.is_empty() {
                self.send(&mut batch, report)?;
                // Only what was acknowledged is committed: the batch is sent.
                self.commit().map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    fn assign(&mut self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for topic in self.topology.groups[self.group].dead_letter_topics.keys() {
            let metadata = self.consumer.fetch_metadata(Some(topic), PATIENCE)?;
            for partition in metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions())
            {
                list.add_partition(topic, partition.id());
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let committed = self.consumer.committed_offsets(list, PATIENCE)?;
        let mut starts = TopicPartitionList::new();
        for element in committed.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, PATIENCE)?;
            let start = match element.offset() {
                Offset::Offset(next) => next.max(low),
                _ => low,
            };
            if start < high {
                starts.add_partition_offset(topic, partition, Offset::Offset(start))?;
                self.ends.insert((topic.to_owned(), partition), high);
            }
        }
        self.consumer.assign(&starts)
    }

    /// `None` when it names no topic and handler of ours: headers come from
    /// outside and may say anything.
    fn letter(&self, message: &rdkafka::message::BorrowedMessage<'_>) -> Option<Letter> {
        let mut said: HashMap<&str, String> = HashMap::new();
        let known = [
            headers::ORIGINAL_TOPIC,
            headers::ORIGINAL_PARTITION,
            headers::GROUP,
            headers::HANDLER,
            headers::REPLAY_COUNT,
        ];
        let list = OwnedHeaders::new_with_capacity(24);
        ffi::for_each_header(message, |name, value| {
            if !headers::is_own(name) {
                ffi::append_header(&list, name, value);
            } else if let Some(known) = known.iter().find(|known| known.as_bytes() == name)
                && let Some(value) = value
            {
                said.insert(known, String::from_utf8_lossy(value).into_owned());
            }
        });
        let declared = &self.topology.groups[self.group];
        let topic = said.remove(headers::ORIGINAL_TOPIC)?;
        let ours = said
            .get(headers::GROUP)
            .is_some_and(|group| **group == **self.group)
            && declared.topics.contains(&topic)
            && said
                .get(headers::HANDLER)
                .is_none_or(|handler| declared.handlers.contains(handler));
        if !ours {
            tracing::warn!(
                target: "eventkit::dlq",
                {
                messaging.destination.name = message.topic(),
                messaging.destination.partition.id = message.partition(),
                messaging.kafka.offset = message.offset(),
                },
                "not replayed: the dead letter names no topic and handler of this App"
            );
            return None;
        }
        let handler = said.get(headers::HANDLER).map_or("*", String::as_str);
        let count: u32 = said
            .get(headers::REPLAY_COUNT)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let replay_for = format!("{}/{handler}", self.group);
        let next = count.saturating_add(1).to_string();
        ffi::append_header(
            &list,
            headers::REPLAY_FOR.as_bytes(),
            Some(replay_for.as_bytes()),
        );
        ffi::append_header(
            &list,
            headers::REPLAY_COUNT.as_bytes(),
            Some(next.as_bytes()),
        );
        Some(Letter {
            partition: said
                .get(headers::ORIGINAL_PARTITION)
                .and_then(|n| n.parse().ok())
                .filter(|partition| *partition >= 0),
            topic,
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: list,
        })
    }

    fn send(&self, batch: &mut Vec<Letter>, report: &mut ReplayReport) -> Result<()> {
        let letters = std::mem::take(batch);
        let sends = letters.iter().map(|letter| self.send_back(letter));
        for sent in self.runtime.block_on(join_all(sends)) {
            match sent {
                Ok(()) => report.replayed += 1,
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(target: "eventkit::dlq", group = &**self.group, %error, "not replayed: the topic refuses the letter");
                    report.refused += 1;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    async fn send_back(&self, letter: &Letter) -> Result<(), KafkaError> {
        let to = |partition| RawRecord {
            topic: &letter.topic,
            partition,
            key: letter.key.as_deref(),
            payload: letter.payload.as_deref(),
            headers: letter.headers.clone(),
        };
        match self.producer.send(to(letter.partition)).await {
            // The topic was made anew with fewer partitions, or the header lies.
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition) =>
            {
                self.producer.send(to(None)).await?;
                Ok(())
            }
            sent => sent.map(|_| ()),
        }
    }

    fn commit(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.next {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }

    fn failed(&self, error: KafkaError) -> Error {
        Error::kafka(
            format!("replaying the dead letters of `{}`", self.group),
            error,
        )
    }
}
