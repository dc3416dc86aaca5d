//! The partitions that this member owns, and how full each of them is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::context::{self, SourceContext};
use super::fetched::Fetcher;
use super::positions::{self, Start};
use crate::consumer::group::{GroupContext, PartitionContext, Stop};
use crate::consumer::partition::Partition;
use crate::consumer::shared::Shared;
use crate::event::record::size_of_message;
use crate::ffi::Fetched;

/// What a partition holds, as a share of what it may hold: so much is enough
/// where no other has too little, and so little is too little.
const ENOUGH: f64 = 0.5;
const STARVING: f64 = 0.05;
/// So much is left when a paused partition fetches again.
const RESUME: f64 = 0.25;
/// Between two pauses of one partition.
const BETWEEN_PAUSES: Duration = Duration::from_secs(1);
/// However many partitions share the memory, each may hold this much.
const SMALLEST_SHARE: usize = 256 << 10;

/// How long nothing was received before librdkafka is asked for its position:
/// until then that may be one of an earlier assignment.
const QUIET: Duration = Duration::from_secs(1);

/// Between two recoveries of lost positions.
const RECOVER_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Assignment {
    group: Arc<GroupContext>,
    runtime: runtime::Handle,
    owned: Vec<Owned>,
    by_name: HashMap<(Arc<str>, i32), usize>,
    /// Partition of the last message, by librdkafka's topic handle: messages
    /// come in runs.
    last: Option<(usize, i32, usize)>,
    positions_lost: bool,
    recovered_at: Option<Instant>,
    crowded: bool,
    /// Partitions that were given back before their tasks had ended.
    strays: Vec<Arc<Shared>>,
}

struct Owned {
    topic: Arc<str>,
    partition: i32,
    shared: Arc<Shared>,
    stop: Stop,
    inbox: UnboundedSender<Vec<Fetched>>,
    batch: Vec<Fetched>,
    batch_bytes: usize,
    stored: Option<i64>,
    /// The offset behind the last received record, or the start position.
    next: Option<i64>,
    /// Behind what is in the log though it is no record: markers of
    /// transactions, and records of aborted ones.
    behind: Option<i64>,
    /// When librdkafka may be asked for its position; never after an error,
    /// which it counts as a record.
    quiet_at: Option<Instant>,
    paused: bool,
    /// The last time that it was paused.
    paused_at: Option<Instant>,
    draining: bool,
}

impl Assignment {
    pub(super) fn new(group: Arc<GroupContext>, runtime: runtime::Handle) -> Self {
        Self {
            group,
            runtime,
            owned: Vec::new(),
            by_name: HashMap::new(),
            last: None,
            positions_lost: false,
            recovered_at: None,
            crowded: false,
            strays: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, starts: Vec<Start>) {
        for start in starts {
            tracing::info!(
                target: "eventkit::consumer",
                {
                messaging.consumer.group.name = &*self.group.group,
                messaging.destination.name = start.topic,
                messaging.destination.partition.id = start.partition,
                start = ?start.at,
                },
                "partition assigned"
            );
            let shared = Arc::new(Shared::new(start.expected.filter(|_| start.pin)));
            let stop = Stop::new();
            let (inbox, receiver) = unbounded_channel();
            let context = PartitionContext::new(self.group.clone(), &start.topic, stop.clone());
            self.runtime
                .spawn(Partition::run(Arc::new(context), shared.clone(), receiver));
            self.owned.push(Owned {
                topic: start.topic.into(),
                partition: start.partition,
                shared,
                stop,
                inbox,
                batch: Vec::new(),
                batch_bytes: 0,
                stored: None,
                next: start.expected,
                behind: None,
                quiet_at: Some(Instant::now() + QUIET),
                paused: false,
                paused_at: None,
                draining: false,
            });
        }
        self.index();
    }

    pub(super) fn remove(&mut self, partitions: &[(String, i32)]) {
        let strays = &mut self.strays;
        strays.retain(|stray| !stray.has_ended());
        self.owned.retain(|owned| {
            let leaves = partitions.iter().any(|name| owned.is(name));
            if leaves {
                strays.extend((!owned.shared.has_ended()).then(|| owned.shared.clone()));
                tracing::info!(
                    target: "eventkit::consumer",
                    {
                    messaging.consumer.group.name = &*self.group.group,
                    messaging.destination.name = &*owned.topic,
                    messaging.destination.partition.id = owned.partition,
                    },
                    "partition revoked"
                );
            }
            !leaves
        });
        self.index();
    }

    /// Puts a message into its partition's batch.
    pub(super) fn receive(&mut self, message: Fetched) {
        let Some(index) = self.find(&message) else {
            return;
        };
        let owned = &mut self.owned[index];
        // What comes after the decision to give the partition back is for its
        // next owner.
        if owned.draining {
            return;
        }
        owned.next = Some(message.offset() + 1);
        owned.batch_bytes += size_of_message(&message);
        owned.batch.push(message);
    }

    /// Notes that a partition's messages were not only records: librdkafka counts
    /// an error as one, and would go on behind a record too many after a pause.
    pub(super) fn receive_error(&mut self, message: &Fetched) {
        if let Some(index) = self.find(message) {
            self.owned[index].quiet_at = None;
            self.positions_lost = true;
        }
    }

    pub(super) fn dispatch(&mut self) {
        let mut quiet_at = None;
        for owned in &mut self.owned {
            if !owned.batch.is_empty() {
                let quiet_at = quiet_at.get_or_insert_with(|| Instant::now() + QUIET);
                owned.quiet_at = owned.quiet_at.map(|_| *quiet_at);
                owned
                    .shared
                    .received(owned.batch.len(), std::mem::take(&mut owned.batch_bytes));
                // A partition whose task is gone is being revoked.
                let _ = owned.inbox.send(std::mem::take(&mut owned.batch));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Whether it is better to fetch nothing for a moment.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// Whether a partition waits for its pause or its drain to end.
    pub(super) fn wants_attention(&self) -> bool {
        self.owned
            .iter()
            .any(|owned| owned.paused || owned.draining)
    }

    /// Keeps what is held in memory within its limits.
    ///
    /// To pause a partition throws away what librdkafka has fetched ahead for it.
    /// So where all partitions have work, a full one only means to fetch nothing
    /// for a moment, for none of them. One that goes on filling while others
    /// have nothing to do is paused, once a second at most.
    pub(super) fn throttle(&mut self, consumer: &BaseConsumer<SourceContext>) {
        let limits = self.group.limits;
        let share = limits.buffered_bytes / self.owned.len().max(1);
        let bytes = share.max(SMALLEST_SHARE.min(limits.buffered_bytes));
        let held = |owned: &Owned| {
            let records = owned.shared.buffered() as f64 / limits.buffered as f64;
            let bytes = owned.shared.buffered_bytes() as f64 / bytes as f64;
            records.max(bytes)
        };
        let flows = |owned: &&Owned| !owned.draining && !owned.paused;
        let starving = self
            .owned
            .iter()
            .filter(flows)
            .any(|owned| held(owned) < STARVING);
        self.crowded = false;
        for owned in self.owned.iter_mut().filter(|owned| !owned.draining) {
            let held = held(owned);
            let uncommitted = owned.shared.window() as f64 / limits.uncommitted as f64;
            if owned.paused {
                if held <= RESUME && uncommitted <= ENOUGH {
                    owned.change_flow(consumer, &self.group, false);
                }
                continue;
            }
            let rested = owned
                .paused_at
                .is_none_or(|at| at.elapsed() >= BETWEEN_PAUSES);
            // What one stuck key leaves uncommitted does not go by waiting.
            let full = uncommitted >= 1.0 || (held >= 1.0 && starving);
            if full && rested {
                owned.change_flow(consumer, &self.group, true);
            } else if full || held >= 1.0 || (held >= ENOUGH && !starving) {
                self.crowded = true;
            }
        }
    }

    /// Hands progress to librdkafka: only of partitions owned now, only forwards.
    /// `false`: there was none.
    pub(super) fn store_offsets(&mut self, consumer: &BaseConsumer<SourceContext>) -> bool {
        self.look_behind(consumer);
        let mut list = TopicPartitionList::new();
        for owned in &mut self.owned {
            let next = owned.shared.next_offset().max(owned.behind);
            if next > owned.stored
                && let Some(next) = next
                && list
                    .add_partition_offset(
                        &owned.topic,
                        owned.partition,
                        rdkafka::Offset::Offset(next),
                    )
                    .is_ok()
            {
                owned.stored = Some(next);
            }
        }
        if list.count() > 0
            && let Err(error) = consumer.store_offsets(&list)
        {
            tracing::debug!(target: "eventkit::consumer", group = &*self.group.group, %error, "storing offsets");
        }
        list.count() > 0
    }

    /// Asks how far quiet partitions were read in which everything is settled.
    /// Without this, one whose last offsets are no records would never be
    /// committed to its end.
    fn look_behind(&mut self, consumer: &BaseConsumer<SourceContext>) {
        let now = Instant::now();
        if !self.owned.iter().any(|owned| owned.is_quiet(now)) {
            return;
        }
        let Ok(positions) = consumer.position() else {
            return;
        };
        for position in positions.elements() {
            let name = Name(position.topic(), position.partition());
            let Some(index) = self.by_name.get(&name) else {
                continue;
            };
            let owned = &mut self.owned[*index];
            if owned.is_quiet(now)
                && let rdkafka::Offset::Offset(behind) = position.offset()
                && Some(behind) > owned.next
            {
                owned.behind = Some(behind);
            }
        }
        for owned in &mut self.owned {
            if owned.is_quiet(now) {
                owned.quiet_at = Some(now + QUIET);
            }
        }
    }

    /// librdkafka has stopped a partition whose position is not in its log, and
    /// does not say which.
    pub(super) fn position_lost(&mut self) {
        self.positions_lost = true;
    }

    /// Goes on with what is in the log, and says how much is not.
    ///
    /// Only between rebalances: assigning anew would answer one.
    pub(super) fn recover_positions(
        &mut self,
        consumer: &BaseConsumer<SourceContext>,
        fetcher: &Fetcher,
    ) {
        if !self.positions_lost
            || self
                .recovered_at
                .is_some_and(|at| at.elapsed() < RECOVER_PAUSE)
        {
            return;
        }
        self.positions_lost = false;
        self.recovered_at = Some(Instant::now());
        let group = &self.group;
        // librdkafka refuses to seek a partition that it has stopped, so all
        // are assigned anew, each at the position that it has reached.
        let mut list = TopicPartitionList::new();
        for owned in self.owned.iter_mut().filter(|owned| !owned.draining) {
            if let Some(next) = owned.next {
                match positions::outside_log(consumer, &owned.topic, owned.partition, next) {
                    Ok(None) => {}
                    Ok(Some(from)) => {
                        report_deleted(group, owned, next, from);
                        owned.next = Some(from);
                        if from < next {
                            owned.stored = None;
                        }
                    }
                    Err(error) => {
                        self.positions_lost = true;
                        owned.report_standstill(group, &error);
                    }
                }
            }
            let at = owned
                .next
                .map_or(rdkafka::Offset::Beginning, rdkafka::Offset::Offset);
            let _ = list.add_partition_offset(&owned.topic, owned.partition, at);
            owned.paused = false;
            owned.behind = None;
            owned.quiet_at = Some(Instant::now() + QUIET);
        }
        // A pause outlives an assignment in librdkafka.
        let moved = fetcher
            .assign(consumer, &list, context::reassign)
            .and_then(|()| consumer.resume(&list));
        if let Err(error) = moved {
            self.positions_lost = true;
            for owned in &self.owned {
                owned.report_standstill(&self.group, &error);
            }
        }
    }

    /// A partition whose task has ended though nobody told it to.
    pub(super) fn died(&self) -> Option<String> {
        self.owned
            .iter()
            .find(|owned| !owned.draining && owned.shared.has_ended())
            .map(|owned| format!("`{}` partition {}", owned.topic, owned.partition))
    }

    /// Begin nothing new in these partitions, and fetch no more for them.
    pub(super) fn drain(
        &mut self,
        consumer: &BaseConsumer<SourceContext>,
        partitions: &[(String, i32)],
    ) {
        let mut list = TopicPartitionList::new();
        for owned in self.named_mut(partitions) {
            owned.draining = true;
            owned.batch.clear();
            owned.stop.drain.cancel();
            list.add_partition(&owned.topic, owned.partition);
        }
        if list.count() > 0 {
            let _ = consumer.pause(&list);
        }
    }

    /// Drop what still runs in these partitions.
    pub(super) fn kill(&mut self, partitions: &[(String, i32)]) {
        for owned in self.named_mut(partitions) {
            owned.draining = true;
            owned.stop.drain.cancel();
            owned.stop.kill.cancel();
        }
    }

    pub(super) fn have_ended(&self, partitions: &[(String, i32)]) -> bool {
        self.owned
            .iter()
            .filter(|owned| partitions.iter().any(|name| owned.is(name)))
            .all(|owned| owned.shared.has_ended())
    }

    /// Whether all tasks, of this assignment and earlier ones, have let go of
    /// their messages.
    pub(super) fn holds_no_messages(&self) -> bool {
        let shared = self.owned.iter().map(|owned| &owned.shared);
        shared.chain(&self.strays).all(|shared| shared.has_ended())
    }

    /// Records of partitions that are still at work.
    pub(super) fn unfinished(&self) -> usize {
        self.owned
            .iter()
            .filter(|owned| !owned.shared.has_ended())
            .map(|owned| owned.shared.buffered())
            .sum()
    }

    pub(super) fn partitions(&self) -> Vec<(String, i32)> {
        self.owned
            .iter()
            .map(|owned| (owned.topic.to_string(), owned.partition))
            .collect()
    }

    fn named_mut(&mut self, partitions: &[(String, i32)]) -> impl Iterator<Item = &mut Owned> {
        self.owned
            .iter_mut()
            .filter(move |owned| partitions.iter().any(|name| owned.is(name)))
    }

    fn find(&mut self, message: &Fetched) -> Option<usize> {
        let handle = message.topic_handle();
        let partition = message.partition();
        if let Some((topic, last, index)) = self.last
            && (topic, last) == (handle, partition)
        {
            return Some(index);
        }
        let index = *self.by_name.get(&Name(message.topic(), partition))?;
        self.last = Some((handle, partition, index));
        Some(index)
    }

    fn index(&mut self) {
        self.last = None;
        self.by_name = self
            .owned
            .iter()
            .enumerate()
            .map(|(index, owned)| ((owned.topic.clone(), owned.partition), index))
            .collect();
    }
}

/// Looks up `(Arc<str>, i32)` by a borrowed name.
#[derive(Hash)]
struct Name<'a>(&'a str, i32);

impl hashbrown::Equivalent<(Arc<str>, i32)> for Name<'_> {
    fn equivalent(&self, key: &(Arc<str>, i32)) -> bool {
        (self.0, self.1) == (&*key.0, key.1)
    }
}

impl Owned {
    fn report_standstill(&self, group: &GroupContext, error: &rdkafka::error::KafkaError) {
        tracing::error!(
            target: "eventkit::consumer",
            {
                messaging.consumer.group.name = &*group.group,
                messaging.destination.name = &*self.topic,
                messaging.destination.partition.id = self.partition,
                %error,
            },
            "the partition may stand still: a position is not in its log and cannot be moved; trying again"
        );
    }

    fn is(&self, (topic, partition): &(String, i32)) -> bool {
        (&*self.topic, self.partition) == (topic.as_str(), *partition)
    }

    /// Whether nothing was received for a while and nothing is unsettled. While
    /// it drains, records are passed over.
    fn is_quiet(&self, now: Instant) -> bool {
        !self.draining && self.quiet_at.is_some_and(|at| at <= now) && self.shared.buffered() == 0
    }

    fn change_flow(
        &mut self,
        consumer: &BaseConsumer<SourceContext>,
        group: &GroupContext,
        pause: bool,
    ) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, self.partition);
        let changed = if pause {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        };
        if let Err(error) = changed {
            tracing::warn!(target: "eventkit::consumer", group = &*group.group, %error, pause, "changing a partition's flow");
            return;
        }
        self.paused = pause;
        if pause {
            self.paused_at = Some(Instant::now());
        }
        tracing::info!(
            target: "eventkit::consumer",
            {
            messaging.consumer.group.name = &*group.group,
            messaging.destination.name = &*self.topic,
            messaging.destination.partition.id = self.partition,
            buffered = self.shared.buffered(),
            buffered_bytes = self.shared.buffered_bytes(),
            },
            "partition {}",
            if pause { "paused" } else { "resumed" }
        );
    }
}

fn report_deleted(group: &GroupContext, owned: &Owned, next: i64, from: i64) {
    // Negative where the topic was made anew and is shorter than it was.
    let deleted = (from - next).max(0);
    tracing::error!(
        target: "eventkit::consumer",
        {
            messaging.consumer.group.name = &*group.group,
            messaging.destination.name = &*owned.topic,
            messaging.destination.partition.id = owned.partition,
            position = next,
            resumed_at = from,
            deleted,
        },
        "{deleted} records were deleted by the broker before this group read them"
    );
}
