use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use crate::kafka::{log, log_error};

/// What the group coordinator asks for.
pub(super) enum Rebalance {
    Assign(TopicPartitionList),
    /// `lost`: somebody else may own the partitions already.
    Revoke {
        partitions: Vec<(String, i32)>,
        lost: bool,
    },
}

/// Turns librdkafka's callbacks into values and log lines.
pub(super) struct SourceContext {
    group: Arc<str>,
    rebalances: mpsc::Sender<Rebalance>,
    leaving: AtomicBool,
}

impl SourceContext {
    pub(super) fn new(group: Arc<str>) -> (Self, mpsc::Receiver<Rebalance>) {
        let (rebalances, receiver) = mpsc::channel();
        (
            Self {
                group,
                rebalances,
                leaving: AtomicBool::new(false),
            },
            receiver,
        )
    }

    /// From now on partitions are given back at once: the source is closing.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for (topic, statistics) in &statistics.topics {
            for (partition, statistics) in &statistics.partitions {
                if *partition >= 0 && statistics.consumer_lag >= 0 {
                    tracing::debug!(
                        target: "eventkit::lag",
                        {
                        messaging.consumer.group.name = &*self.group,
                        messaging.destination.name = topic,
                        messaging.destination.partition.id = partition,
                        lag = statistics.consumer_lag,
                        },
                        "consumer lag"
                    );
                }
            }
        }
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigns = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.leaving.load(Ordering::Acquire) {
            // Closing waits for an answer, whichever it was; a terminating
            // client takes an assignment as its refusal.
            let _ = if assigns {
                assign(consumer, partitions)
            } else {
                unassign(consumer, &names(partitions))
            };
            return;
        }
        let rebalance = if assigns {
            Rebalance::Assign(partitions.clone())
        } else {
            Rebalance::Revoke {
                partitions: names(partitions),
                lost: consumer.assignment_lost(),
            }
        };
        // The receiver lives as long as the consumer that calls us.
        let _ = self.rebalances.send(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        use rdkafka::error::RDKafkaErrorCode::NoOffset;
        if let Err(error) = result
            && error.rdkafka_error_code() != Some(NoOffset)
        {
            tracing::warn!(
                target: "eventkit::consumer",
                group = &*self.group,
                %error,
                "offsets were not committed; the events behind them may be delivered again"
            );
        }
    }
}

fn names(partitions: &TopicPartitionList) -> Vec<(String, i32)> {
    partitions
        .elements()
        .iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect()
}

/// Tells librdkafka that the partitions are ours, in the words of the group's protocol.
pub(super) fn assign(
    consumer: &BaseConsumer<SourceContext>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

/// Assigns partitions anew that are ours already, at other positions.
pub(super) fn reassign(
    consumer: &BaseConsumer<SourceContext>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => {
            consumer.incremental_unassign(partitions)?;
            consumer.incremental_assign(partitions)
        }
        _ => consumer.assign(partitions),
    }
}

/// Tells librdkafka that the partitions are given back.
pub(super) fn unassign(
    consumer: &BaseConsumer<SourceContext>,
    partitions: &[(String, i32)],
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for (topic, partition) in partitions {
                list.add_partition(topic, *partition);
            }
            consumer.incremental_unassign(&list)
        }
        _ => consumer.unassign(),
    }
}
