//! Offsets of one partition whose records are handled out of order.

use std::collections::VecDeque;
use std::sync::Mutex;

use anyhow::Result;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

#[derive(Default)]
struct Window {
    /// Offset and whether it is handled, from the oldest unhandled one on.
    records: VecDeque<(i64, bool)>,
    /// How many have left the window.
    left: usize,
    next: Option<i64>,
}

impl Window {
    fn receive(&mut self, offset: i64) -> usize {
        self.records.push_back((offset, false));
        self.left + self.records.len() - 1
    }

    fn handled(&mut self, place: usize) {
        self.records[place - self.left].1 = true;
        while let Some((offset, true)) = self.records.front() {
            self.next = Some(offset + 1);
            self.records.pop_front();
            self.left += 1;
        }
    }
}

/// The windows of a topic.
pub struct Windows {
    topic: String,
    windows: Vec<Mutex<Window>>,
}

/// A record's place in them.
pub struct Place {
    partition: i32,
    place: usize,
}

impl Windows {
    pub fn new(topic: &str, partitions: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            windows: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn receive(&self, partition: i32, offset: i64) -> Place {
        let place = self.window(partition).receive(offset);
        Place { partition, place }
    }

    pub fn handled(&self, place: &Place) {
        self.window(place.partition).handled(place.place);
    }

    /// Hands what is handled without a gap to librdkafka, which commits it every second.
    pub fn store<C: ConsumerContext>(&self, consumer: &impl Consumer<C>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.windows.len() as i32 {
            if let Some(next) = self.window(partition).next.take() {
                list.add_partition_offset(&self.topic, partition, Offset::Offset(next))?;
            }
        }
        if list.count() > 0 {
            consumer.store_offsets(&list)?;
        }
        Ok(())
    }

    /// Stores and commits the rest.
    pub fn commit<C: ConsumerContext>(&self, consumer: &impl Consumer<C>) -> Result<()> {
        self.store(consumer)?;
        Ok(consumer.commit_consumer_state(CommitMode::Sync)?)
    }

    fn window(&self, partition: i32) -> std::sync::MutexGuard<'_, Window> {
        self.windows[partition as usize]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_offset_stops_before_the_oldest_unhandled() {
        let mut window = Window::default();
        let places: Vec<_> = [5, 6, 9].map(|offset| window.receive(offset)).into();
        window.handled(places[1]);
        assert_eq!(window.next, None);
        window.handled(places[0]);
        assert_eq!(window.next, Some(7));
        window.handled(places[2]);
        assert_eq!(window.next, Some(10));
    }
}
