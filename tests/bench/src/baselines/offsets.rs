//! Offsets of a loop that handles one record after the other.

use anyhow::Result;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

/// Records between two stores: a store costs more than a record.
const EVERY: u32 = 1_000;

/// The last handled offset of each partition.
pub struct Offsets {
    topic: String,
    handled: Vec<Option<i64>>,
    since: u32,
}

impl Offsets {
    pub fn new(topic: &str, partitions: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            handled: vec![None; partitions as usize],
            since: 0,
        }
    }

    pub fn handled<C: ConsumerContext>(
        &mut self,
        consumer: &impl Consumer<C>,
        partition: i32,
        offset: i64,
    ) -> Result<()> {
        self.handled[partition as usize] = Some(offset);
        self.since += 1;
        if self.since == EVERY {
            self.store(consumer)
        } else {
            Ok(())
        }
    }

    /// Hands what is handled to librdkafka, which commits it every second.
    pub fn store<C: ConsumerContext>(&mut self, consumer: &impl Consumer<C>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in self.handled.iter_mut().enumerate() {
            if let Some(offset) = offset.take() {
                let next = Offset::Offset(offset + 1);
                list.add_partition_offset(&self.topic, partition as i32, next)?;
            }
        }
        self.since = 0;
        if list.count() > 0 {
            consumer.store_offsets(&list)?;
        }
        Ok(())
    }

    /// Stores and commits the rest.
    pub fn commit<C: ConsumerContext>(mut self, consumer: &impl Consumer<C>) -> Result<()> {
        self.store(consumer)?;
        Ok(consumer.commit_consumer_state(CommitMode::Sync)?)
    }
}
