//! When what is done is committed under the protocol of KIP-848: now and then, one
//! commit at a time.
//!
//! librdkafka sends a commit again that got no answer, and by its own timer sends
//! the next one meanwhile: when the group's coordinator dies, the older can come to
//! the new one last, and take the group back. It still commits by itself when
//! partitions are given back, which waits for what is under way here.
//!
//! Under the classic protocol its timer serves. It knows, as nobody outside does,
//! when a commit would stand in line behind a rebalance that waits for others.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::context::SourceContext;
use crate::ffi::CommitQueue;

/// After so long without an outcome there will be none.
const LOST: Duration = Duration::from_secs(120);

pub(super) struct Commits {
    queue: CommitQueue,
    /// Zero: librdkafka alone commits.
    interval: Duration,
    begun: Option<Instant>,
    under_way: bool,
    /// Offsets were stored since the last commit was begun, or it failed.
    due: bool,
}

impl Commits {
    pub(super) fn new(consumer: &BaseConsumer<SourceContext>, interval: Duration) -> Self {
        Self {
            queue: CommitQueue::new(consumer.client()),
            interval,
            begun: None,
            under_way: false,
            due: false,
        }
    }

    /// Offsets were stored.
    pub(super) fn stored(&mut self) {
        self.due = true;
    }

    /// Begins a commit where it is time for one.
    pub(super) fn proceed(&mut self, consumer: &BaseConsumer<SourceContext>, group: &str) {
        let now = Instant::now();
        let recent = |begun: Instant| now.duration_since(begun) < self.interval;
        if !self.due
            || self.interval.is_zero()
            || self.begun.is_some_and(recent)
            || self.are_under_way(group)
        {
            return;
        }
        self.begun = Some(now);
        match self.queue.commit_stored(consumer.client()) {
            Ok(()) => (self.under_way, self.due) = (true, false),
            Err(error) => report(group, error),
        }
    }

    /// Whether one has begun that has no outcome yet.
    pub(super) fn are_under_way(&mut self, group: &str) -> bool {
        while let Some(outcome) = self.queue.outcome() {
            self.under_way = false;
            // The next one has newer offsets, so this one is not tried again.
            if let Err(error) = outcome
                && error != RDKafkaErrorCode::NoOffset
            {
                self.due = true;
                report(group, error);
            }
        }
        if self.begun.is_some_and(|begun| begun.elapsed() > LOST) {
            self.under_way = false;
        }
        self.under_way
    }
}

fn report(group: &str, error: RDKafkaErrorCode) {
    tracing::warn!(
        target: "eventkit::consumer",
        group,
        %error,
        "offsets were not committed; unless a later commit succeeds, the events behind them are delivered again"
    );
}
