use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::context::SourceContext;
use crate::ffi::{FetchQueue, Fetched};

/// Records taken in a row before the partitions are served.
const BATCH: usize = 1_000;

/// Where the records of all assigned partitions arrive, apart from everything
/// else that a consumer is told.
pub(super) struct Fetcher(FetchQueue);

impl Fetcher {
    pub(super) fn new(consumer: &BaseConsumer<SourceContext>) -> Self {
        Self(FetchQueue::new(consumer.client(), BATCH))
    }

    /// Assigns partitions whose records are to arrive here.
    pub(super) fn assign(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        partitions: &TopicPartitionList,
        assign: impl FnOnce(&BaseConsumer<SourceContext>, &TopicPartitionList) -> KafkaResult<()>,
    ) -> KafkaResult<()> {
        // Before, so that no record goes elsewhere; and after, since librdkafka
        // forgets it with an unassign that it may have done only now.
        self.lead(consumer, partitions);
        assign(consumer, partitions)?;
        self.lead(consumer, partitions);
        Ok(())
    }

    /// Waits for a record, then takes all that are there, up to a batch.
    pub(super) fn poll(&mut self, timeout: Duration, take: impl FnMut(Fetched)) {
        self.0.poll(timeout, take);
    }

    fn lead(&self, consumer: &BaseConsumer<SourceContext>, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            self.0
                .lead(consumer.client(), partition.topic(), partition.partition());
        }
    }
}
