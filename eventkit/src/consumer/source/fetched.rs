use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::context::SourceContext;
use crate::event::record::size_of_message;
use crate::ffi::{FetchQueue, Fetched};

/// Records taken in a row before the partitions are served.
const BATCH: usize = 1_000;
/// And about how many bytes: what is taken is held, even if its partition is to
/// be paused next.
const BATCH_BYTES: usize = 1 << 20;

/// Where the records of all assigned partitions arrive, apart from everything
/// else that a consumer is told.
pub(super) struct Fetcher {
    queue: FetchQueue,
    /// How many of the records that come now make a batch.
    batch: usize,
}

impl Fetcher {
    pub(super) fn new(consumer: &BaseConsumer<SourceContext>) -> Self {
        Self {
            queue: FetchQueue::new(consumer.client(), BATCH),
            batch: BATCH,
        }
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
    pub(super) fn poll(&mut self, timeout: Duration, mut take: impl FnMut(Fetched)) {
        let mut bytes = 0;
        let taken = self.queue.poll(timeout, self.batch, |message| {
            bytes += size_of_message(&message);
            take(message);
        });
        if let Some(size) = bytes.checked_div(taken) {
            self.batch = (BATCH_BYTES / size.max(1)).clamp(1, BATCH);
        }
    }

    fn lead(&self, consumer: &BaseConsumer<SourceContext>, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            self.queue
                .lead(consumer.client(), partition.topic(), partition.partition());
        }
    }
}
