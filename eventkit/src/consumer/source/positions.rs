//! Where newly assigned partitions begin.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::context::SourceContext;
use crate::app::StartFrom;

/// Longest wait for an answer; without one the source goes on and asks again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A partition and where it begins.
pub(super) struct Start {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) at: Offset,
    /// The first offset that the group has not seen, where that is known.
    pub(super) expected: Option<i64>,
    /// Whether `expected` must be committed although nothing was handled yet.
    pub(super) pin: bool,
}

pub(super) enum Unresolved {
    Later(KafkaError),
    NoPosition { topic: String, partition: i32 },
}

pub(super) fn resolve(
    consumer: &BaseConsumer<SourceContext>,
    wanted: &TopicPartitionList,
    start_from: StartFrom,
    embedded: bool,
) -> Result<Vec<Start>, Unresolved> {
    if wanted.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = consumer
        .committed_offsets(wanted.clone(), PATIENCE)
        .map_err(Unresolved::Later)?;
    committed
        .elements()
        .iter()
        .map(|element| {
            element.error().map_err(Unresolved::Later)?;
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            if let Offset::Offset(next) = element.offset() {
                let (at, expected) = (Offset::Offset(next), Some(next));
                return Ok(Start {
                    topic,
                    partition,
                    at,
                    expected,
                    pin: false,
                });
            }
            match start_from {
                // Nothing is deleted there on purpose: a log that begins later
                // has lost records to the broker's limits, which is then reported.
                StartFrom::Earliest if embedded => {
                    let (at, expected) = (Offset::Offset(0), Some(0));
                    Ok(Start {
                        topic,
                        partition,
                        at,
                        expected,
                        pin: false,
                    })
                }
                StartFrom::Earliest => {
                    let at = Offset::Beginning;
                    Ok(Start {
                        topic,
                        partition,
                        at,
                        expected: None,
                        pin: false,
                    })
                }
                // A number, not "the end": nothing published from now on is
                // missed, also after a restart once the number is committed.
                StartFrom::Latest => {
                    let (_, end) = consumer
                        .fetch_watermarks(&topic, partition, PATIENCE)
                        .map_err(Unresolved::Later)?;
                    let (at, expected) = (Offset::Offset(end), Some(end));
                    Ok(Start {
                        topic,
                        partition,
                        at,
                        expected,
                        pin: true,
                    })
                }
                StartFrom::Fail => Err(Unresolved::NoPosition { topic, partition }),
            }
        })
        .collect()
}

pub(super) fn list(starts: &[Start]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(starts.len());
    for start in starts {
        // Only an offset outside i64's legal range is refused, and these are not.
        let _ = list.add_partition_offset(&start.topic, start.partition, start.at);
    }
    list
}

/// The start of a partition's log, where `next` is not in the log; else `None`.
pub(super) fn outside_log(
    consumer: &BaseConsumer<SourceContext>,
    topic: &str,
    partition: i32,
    next: i64,
) -> Result<Option<i64>, KafkaError> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    Ok((!(low..=high).contains(&next)).then_some(low))
}
