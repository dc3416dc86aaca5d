use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use super::route::{Names, Routes, TopicRoutes};
use crate::dedup::DedupStore;
use crate::delivery::InboxStore;
use crate::handler::{AppContext, HandlerDefinition};

/// All that the deliveries of one consumer group share.
pub(crate) struct GroupContext {
    pub(crate) group: Arc<str>,
    pub(crate) routes: Routes,
    pub(crate) handlers: Vec<HandlerRuntime>,
    /// `group/name` of each handler.
    pub(crate) handler_ids: Vec<Arc<str>>,
    pub(crate) app: Arc<AppContext>,
    pub(crate) dedup: Option<DedupPlan>,
    pub(crate) inbox: Option<InboxPlan>,
    pub(crate) limits: Limits,
}

impl GroupContext {
    pub(crate) fn names(&self) -> Names<'_> {
        Names {
            group: &self.group,
            handlers: &self.handler_ids,
        }
    }
}

/// What the deliveries of one assigned partition share. Each partition has its
/// own, so that counting references meets no other processor.
pub(crate) struct PartitionContext {
    pub(crate) group: Arc<GroupContext>,
    pub(crate) topic: Arc<str>,
    pub(crate) routes: TopicRoutes,
    pub(crate) stop: Stop,
}

impl PartitionContext {
    pub(crate) fn new(group: Arc<GroupContext>, topic: &str, stop: Stop) -> Self {
        Self {
            routes: group.routes.topic(topic),
            topic: topic.into(),
            group,
            stop,
        }
    }
}

/// One handler in one running App.
pub(crate) struct HandlerRuntime {
    pub(crate) definition: HandlerDefinition,
    pub(crate) id: Arc<str>,
    /// Bounds how many deliveries run at once, where the handler asks for it.
    pub(crate) permits: Option<Semaphore>,
    pub(crate) counts: Counts,
}

impl HandlerRuntime {
    pub(crate) fn new(group: &str, definition: &HandlerDefinition) -> Self {
        Self {
            id: format!("{group}/{}", definition.name).into(),
            definition: *definition,
            permits: definition.policy.concurrency.map(Semaphore::new),
            counts: Counts::default(),
        }
    }
}

/// How often what happened, since the App started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) handled: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// The dedup store and how it is used.
pub(crate) struct DedupPlan {
    pub(crate) store: Arc<dyn DedupStore>,
    /// How long a claim holds without being renewed.
    pub(crate) lease: Duration,
    /// Handle events unclaimed while the store is away, at the risk of duplicates.
    pub(crate) fail_open: bool,
    pub(crate) outage: Outage,
}

/// The database that handlers with `inbox` take effect in.
pub(crate) struct InboxPlan {
    pub(crate) store: Arc<dyn InboxStore>,
    pub(crate) outage: Outage,
}

/// Bounds of what is held in memory, of one partition unless it says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Deliveries that run, or wait for their next attempt, at once.
    pub(crate) in_flight: usize,
    /// Records held before the partition is paused at the client.
    pub(crate) buffered: usize,
    /// Bytes that all partitions of the group share.
    pub(crate) buffered_bytes: usize,
    /// Records between the oldest unsettled one and the newest.
    pub(crate) uncommitted: usize,
    /// How long a partition that is being drained begins what stands before
    /// records that were begun.
    pub(crate) catch_up: Duration,
}

/// The two ways a partition's work comes to an end.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// Begin nothing new, give up waiting, finish what runs.
    pub(crate) drain: CancellationToken,
    /// Drop everything.
    pub(crate) kill: CancellationToken,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self {
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }
}
