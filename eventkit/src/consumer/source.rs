//! The thread that alone owns a group's librdkafka consumer: it polls, assigns
//! and revokes, pauses and resumes, stores offsets.
//!
//! Rebalances arrive as values and are carried out between two polls, so that
//! handlers of partitions that stay go on while those that leave are drained;
//! librdkafka fetches again when the drain is over. Nothing here waits for a
//! handler or, without a deadline, for a broker.

mod assignment;
mod backoff;
mod commits;
mod context;
mod fetched;
mod positions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use tokio::runtime;
use tokio::sync::watch;

use self::assignment::Assignment;
use self::backoff::Backoff;
use self::commits::Commits;
use self::context::{Rebalance, SourceContext};
use self::fetched::Fetcher;
use super::group::GroupContext;
use crate::app::StartFrom;
use crate::error::{Error, Result};
use crate::kafka::{Connection, Role};

/// Longest wait for a record while nothing else is to be done. A rebalance is
/// not a record and waits for the end of it.
const IDLE_POLL: Duration = Duration::from_millis(20);
/// A pause in fetching, for handlers to catch up.
const NAP: Duration = Duration::from_millis(1);
/// The same while a partition drains, is paused, or waits to be assigned.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// How often progress is handed to librdkafka.
const STORE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a commit that is under way may take when partitions are given back:
/// the last one follows it.
const LAST_COMMIT: Duration = Duration::from_secs(1);
/// How long handlers that were cut off may take to let go of their messages.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

const COMMIT_INTERVAL: &str = "auto.commit.interval.ms";

const DEFAULTS: &[(&str, &str)] = &[
    // Offsets are stored by us when settled, and committed by librdkafka; but see
    // `commits`.
    ("enable.auto.offset.store", "false"),
    ("enable.auto.commit", "true"),
    (COMMIT_INTERVAL, "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    // With the default of 1,000 a full queue stops fetching for a whole second.
    ("fetch.queue.backoff.ms", "5"),
    // Wait for a fuller fetch only as long as nobody notices.
    ("fetch.wait.max.ms", "100"),
    // What is fetched ahead is thrown away by a pause; 16 MiB keep a fast
    // consumer busy and a slow one small.
    ("queued.max.messages.kbytes", "16384"),
    // What one answer may hold, compressed: all of it is taken apart at once,
    // whatever is queued already. 50 MiB by default, where 64 partitions of records
    // that compress well take half a gigabyte.
    ("fetch.max.bytes", "2621440"),
    // New partitions of a topic are found within half a minute, not five.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("statistics.interval.ms", "5000"),
];

const EMBEDDED_DEFAULTS: &[(&str, &str)] = &[
    // The mock cluster keeps a group waiting for nearly a session's length when
    // its last member has left and another one comes.
    ("session.timeout.ms", "2000"),
    ("heartbeat.interval.ms", "300"),
];

pub(crate) struct SourceSettings {
    pub(crate) connection: Connection,
    pub(crate) start_from: StartFrom,
    /// How long a revoked partition's running handlers may take.
    pub(crate) drain_timeout: Duration,
    /// Whether the broker is an embedded one.
    pub(crate) embedded: bool,
}

/// A running consumer group of this process.
pub(crate) struct GroupHandle {
    pub(crate) group: Arc<str>,
    stop: Arc<AtomicU8>,
    pub(crate) state: watch::Receiver<State>,
}

/// How far a group has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Joining,
    /// Has its partitions and their start positions.
    Ready,
    /// Cannot go on.
    Failed(String),
    /// Left the group; how many deliveries were not finished.
    Ended {
        unfinished: usize,
    },
}

const RUN: u8 = 0;
const DRAIN: u8 = 1;
const KILL: u8 = 2;

impl GroupHandle {
    /// Fetch no more, let running handlers finish, commit, leave the group.
    pub(crate) fn drain(&self) {
        self.stop.fetch_max(DRAIN, Ordering::Release);
    }

    /// Drop what still runs, commit, leave the group.
    pub(crate) fn kill(&self) {
        self.stop.fetch_max(KILL, Ordering::Release);
    }
}

/// Starts the group's thread. It ends by itself when the handle says so.
pub(crate) fn start(group: Arc<GroupContext>, settings: SourceSettings) -> Result<GroupHandle> {
    let defaults = if settings.embedded {
        [DEFAULTS, EMBEDDED_DEFAULTS].concat()
    } else {
        DEFAULTS.to_vec()
    };
    let mut config = settings.connection.client(Role::Consumer, &defaults);
    let mut commit_interval = Duration::ZERO;
    if config.get("group.protocol") == Some("consumer") {
        // The broker assigns under this protocol, and the client must not say how.
        config.remove("partition.assignment.strategy");
        // What is no number is for librdkafka to refuse.
        if let Some(Ok(ms)) = config.get(COMMIT_INTERVAL).map(str::parse) {
            commit_interval = Duration::from_millis(ms);
            config.set(COMMIT_INTERVAL, "0");
        }
    }
    config
        .set("group.id", &*group.group)
        // Tells us, so that what was deleted unread can be counted.
        .set("auto.offset.reset", "error");
    let (context, rebalances) = SourceContext::new(group.group.clone());
    let consumer: BaseConsumer<SourceContext> =
        config.create_with_context(context).map_err(|error| {
            Error::kafka(format!("creating the consumer of `{}`", group.group), error)
        })?;
    let topics: Vec<&str> = group.routes.topics().map(|topic| &**topic).collect();
    consumer
        .subscribe(&topics)
        .map_err(|error| Error::kafka(format!("subscribing `{}`", group.group), error))?;

    let stop = Arc::new(AtomicU8::new(RUN));
    let (state, watched) = watch::channel(State::Joining);
    let name = group.group.clone();
    let source = Source {
        fetched: Fetcher::new(&consumer),
        commits: Commits::new(&consumer, commit_interval),
        assignment: Assignment::new(group.clone(), runtime::Handle::current()),
        consumer,
        group,
        settings,
        rebalances,
        pending: None,
        stored_at: Instant::now(),
        stop: stop.clone(),
        state,
    };
    std::thread::Builder::new()
        .name(format!("eventkit-{name}"))
        .spawn(move || source.run())
        .map_err(|error| Error::Group {
            group: name.to_string(),
            reason: error.to_string(),
        })?;
    Ok(GroupHandle {
        group: name,
        stop,
        state: watched,
    })
}

struct Source {
    // In this order they are dropped: messages before their queue before their client.
    assignment: Assignment,
    fetched: Fetcher,
    commits: Commits,
    consumer: BaseConsumer<SourceContext>,
    group: Arc<GroupContext>,
    settings: SourceSettings,
    rebalances: std::sync::mpsc::Receiver<Rebalance>,
    /// The rebalance being carried out.
    pending: Option<Pending>,
    stored_at: Instant,
    stop: Arc<AtomicU8>,
    state: watch::Sender<State>,
}

enum Pending {
    Assign {
        wanted: TopicPartitionList,
        /// The start positions may be asked for.
        ask: Backoff,
    },
    Revoke {
        partitions: Vec<(String, i32)>,
        deadline: Instant,
    },
}

/// How the main loop ended.
enum End {
    Stopped,
    Failed(String),
}

impl Source {
    fn run(mut self) {
        let end = loop {
            if self.stop.load(Ordering::Acquire) != RUN {
                break End::Stopped;
            }
            if let Err(reason) = self.poll() {
                break End::Failed(reason);
            }
            if let Err(reason) = self.rebalance() {
                break End::Failed(reason);
            }
            if let Some(name) = self.assignment.died() {
                break End::Failed(format!("the task of {name} panicked; restart the process"));
            }
            if self.pending.is_none() {
                self.assignment
                    .recover_positions(&self.consumer, &self.fetched);
            }
            self.assignment.throttle(&self.consumer);
            self.store_offsets();
        };
        self.close(end);
    }

    /// Takes a batch of records and hands each partition its share.
    fn poll(&mut self) -> Result<(), String> {
        let busy = self.pending.is_some() || self.assignment.wants_attention();
        let mut timeout = if busy { BUSY_POLL } else { IDLE_POLL };
        if self.assignment.is_crowded() {
            std::thread::sleep(NAP);
            timeout = Duration::ZERO;
        } else if !self.assignment.is_empty() {
            let Self {
                fetched,
                assignment,
                ..
            } = self;
            let mut errors = Vec::new();
            fetched.poll(timeout, |message| match message.error() {
                None => assignment.receive(message),
                Some(code) => {
                    assignment.receive_error(&message);
                    errors.push(code);
                }
            });
            assignment.dispatch();
            for code in errors {
                self.consumer_error(KafkaError::MessageConsumption(code))?;
            }
            timeout = Duration::ZERO;
        }
        self.serve(timeout)
    }

    /// Rebalances, errors, statistics: all that is no message.
    fn serve(&mut self, mut timeout: Duration) -> Result<(), String> {
        while let Some(event) = self.consumer.poll(timeout) {
            match event {
                // Left where it is, so that nothing is passed over.
                Ok(message) => {
                    return Err(format!(
                        "a record of `{}` partition {} came by another way than its partition's: \
                         restart the process",
                        message.topic(),
                        message.partition()
                    ));
                }
                Err(error) => self.consumer_error(error)?,
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    /// An error that ends the group is handed on; the others are dealt with here.
    fn consumer_error(&mut self, error: KafkaError) -> Result<(), String> {
        let group = &*self.group.group;
        match error {
            // The older process learns of it, or under KIP-848 the newer one.
            KafkaError::MessageConsumptionFatal(
                RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId,
            ) => Err(
                "another process has the same `group.instance.id`: give each process its own"
                    .into(),
            ),
            KafkaError::MessageConsumptionFatal(code) => Err(code.to_string()),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)
                if self.settings.start_from == StartFrom::Fail =>
            {
                Err(
                    "its position is no longer in the topic, and `start_from` is `fail`: \
                     set the group's offsets, or choose `earliest` or `latest`"
                        .into(),
                )
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                self.assignment.position_lost();
                Ok(())
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded) => {
                tracing::warn!(target: "eventkit::consumer", group, "the process stood still longer than `max.poll.interval.ms` and lost its partitions");
                Ok(())
            }
            error => {
                tracing::warn!(target: "eventkit::consumer", group, %error, "consumer error");
                Ok(())
            }
        }
    }

    /// Carries out one step of what the group coordinator asked for.
    fn rebalance(&mut self) -> Result<(), String> {
        if self.pending.is_none()
            && let Ok(rebalance) = self.rebalances.try_recv()
        {
            self.pending = self.begin(rebalance);
        }
        match self.pending.take() {
            None => Ok(()),
            Some(Pending::Assign { wanted, ask }) if ask.is_due(Instant::now()) => {
                self.assign(wanted, ask)
            }
            Some(waits @ Pending::Assign { .. }) => {
                self.pending = Some(waits);
                Ok(())
            }
            Some(Pending::Revoke {
                partitions,
                deadline,
            }) => {
                let now = Instant::now();
                let ended = self.assignment.have_ended(&partitions);
                if now >= deadline || (ended && !self.commits.are_under_way(&self.group.group)) {
                    self.unassign(&partitions);
                    return Ok(());
                }
                let deadline = match ended {
                    true => deadline.min(now + LAST_COMMIT),
                    false => deadline,
                };
                self.pending = Some(Pending::Revoke {
                    partitions,
                    deadline,
                });
                Ok(())
            }
        }
    }

    fn begin(&mut self, rebalance: Rebalance) -> Option<Pending> {
        match rebalance {
            Rebalance::Assign(wanted) => Some(Pending::Assign {
                wanted,
                ask: Backoff::new(),
            }),
            Rebalance::Revoke {
                partitions,
                lost: true,
            } => {
                tracing::warn!(target: "eventkit::consumer", group = &*self.group.group, partitions = partitions.len(), "assignment lost");
                self.assignment.kill(&partitions);
                Some(Pending::Revoke {
                    partitions,
                    deadline: Instant::now(),
                })
            }
            Rebalance::Revoke {
                partitions,
                lost: false,
            } => {
                self.assignment.drain(&self.consumer, &partitions);
                let deadline = Instant::now() + self.settings.drain_timeout;
                Some(Pending::Revoke {
                    partitions,
                    deadline,
                })
            }
        }
    }

    fn assign(&mut self, wanted: TopicPartitionList, ask: Backoff) -> Result<(), String> {
        let starts = positions::resolve(
            &self.consumer,
            &wanted,
            self.settings.start_from,
            self.settings.embedded,
        );
        let starts = match starts {
            Ok(starts) => starts,
            Err(positions::Unresolved::Later(error)) => {
                tracing::warn!(target: "eventkit::consumer", group = &*self.group.group, %error, "start positions not known yet, trying again");
                let ask = ask.longer(Instant::now());
                self.pending = Some(Pending::Assign { wanted, ask });
                return Ok(());
            }
            Err(positions::Unresolved::NoPosition { topic, partition }) => {
                return Err(format!(
                    "no committed offset for `{topic}` partition {partition}, and `start_from` is `fail`: \
                     set the group's offsets, or choose `earliest` or `latest`"
                ));
            }
        };
        let list = positions::list(&starts);
        if let Err(error) = self.fetched.assign(&self.consumer, &list, context::assign) {
            // The group has moved on meanwhile, and will assign anew.
            tracing::warn!(target: "eventkit::consumer", group = &*self.group.group, %error, "assigning partitions");
            return Ok(());
        }
        // librdkafka keeps a partition's pause while others own it, and the last
        // drain paused it.
        let _ = self.consumer.resume(&list);
        self.assignment.add(starts);
        self.state.send_if_modified(|state| {
            let joined = *state == State::Joining;
            if joined {
                *state = State::Ready;
            }
            joined
        });
        Ok(())
    }

    fn unassign(&mut self, partitions: &[(String, i32)]) {
        self.assignment.kill(partitions);
        self.assignment.store_offsets(&self.consumer);
        if let Err(error) = context::unassign(&self.consumer, partitions) {
            tracing::warn!(target: "eventkit::consumer", group = &*self.group.group, %error, "revoking partitions");
        }
        self.assignment.remove(partitions);
    }

    fn store_offsets(&mut self) {
        if self.stored_at.elapsed() >= STORE_INTERVAL {
            if self.assignment.store_offsets(&self.consumer) {
                self.commits.stored();
            }
            self.stored_at = Instant::now();
            self.commits.proceed(&self.consumer, &self.group.group);
        }
    }

    /// Drains, stores, and leaves the group. librdkafka commits what is stored
    /// when the consumer is closed.
    fn close(mut self, end: End) {
        let all = self.assignment.partitions();
        self.assignment.drain(&self.consumer, &all);
        // The App keeps the deadline: it raises DRAIN to KILL when time is up.
        while !self.assignment.have_ended(&all)
            && self.stop.load(Ordering::Acquire) != KILL
            && !matches!(end, End::Failed(_))
        {
            // Keeps the membership alive; nothing is handed out any more.
            let _ = self.consumer.poll(BUSY_POLL);
            self.store_offsets();
        }
        let unfinished = self.assignment.unfinished();
        self.assignment.kill(&all);
        self.assignment.store_offsets(&self.consumer);
        let deadline = Instant::now() + LAST_COMMIT;
        while self.commits.are_under_way(&self.group.group) && Instant::now() < deadline {
            let _ = self.consumer.poll(BUSY_POLL);
        }
        self.answer_outstanding();
        let deadline = Instant::now() + LAST_MESSAGES;
        while !self.assignment.holds_no_messages() && Instant::now() < deadline {
            std::thread::sleep(NAP);
        }
        let freed = self.assignment.holds_no_messages();
        let Self {
            consumer,
            fetched,
            assignment,
            commits,
            state,
            group,
            ..
        } = self;
        drop(assignment);
        drop(fetched);
        drop(commits);
        consumer.context().leave();
        if freed {
            drop(consumer);
        } else {
            tracing::warn!(target: "eventkit::consumer", group = &*group.group, "a handler blocks its thread and cannot be stopped; the group is left, the client's memory is not freed");
            leave_alive(consumer);
        }
        tracing::debug!(target: "eventkit::consumer", group = &*group.group, "left the group");
        state.send_replace(match end {
            End::Stopped => State::Ended { unfinished },
            End::Failed(reason) => State::Failed(reason),
        });
    }
}

/// Leaves the group and keeps the client: somebody still holds a message of it.
fn leave_alive(consumer: BaseConsumer<SourceContext>) {
    if consumer.close_queue().is_ok() {
        while !consumer.closed() {
            let _ = consumer.poll(BUSY_POLL);
        }
    }
    std::mem::forget(consumer);
}

impl Source {
    /// librdkafka closes only after each rebalance was answered.
    fn answer_outstanding(&mut self) {
        let pending = self.pending.take();
        let queued = self.rebalances.try_iter().map(|rebalance| match rebalance {
            Rebalance::Assign(wanted) => Pending::Assign {
                wanted,
                ask: Backoff::new(),
            },
            Rebalance::Revoke { partitions, .. } => Pending::Revoke {
                partitions,
                deadline: Instant::now(),
            },
        });
        for outstanding in pending.into_iter().chain(queued) {
            let _ = match outstanding {
                Pending::Assign { wanted, .. } => context::assign(&self.consumer, &wanted),
                Pending::Revoke { partitions, .. } => {
                    context::unassign(&self.consumer, &partitions)
                }
            };
        }
    }
}
