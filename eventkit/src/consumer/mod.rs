//! From the broker to the deliveries and back to the commit.
//!
//! One [`source`] thread per consumer group alone owns the librdkafka consumer.
//! One [`partition`] task per assigned partition keeps the order of its keys in
//! a [`scheduler`] and the state of its offsets in a [`window`]. What crosses
//! from one to the other is a batch of records, a count, an offset.
//!
//! Invariant: a partition's task never calls Kafka, and the source never calls
//! a handler.

// `tests/loom` has another one in this place.
use std::sync::atomic;

mod group;
mod outage;
mod partition;
mod route;
mod scheduler;
mod shared;
mod source;
mod window;

pub(crate) use group::{
    DedupPlan, GroupContext, HandlerRuntime, InboxPlan, Limits, PartitionContext, Stop, count,
};
pub(crate) use outage::Outage;
#[cfg(feature = "__counts")]
pub(crate) use partition::Partition;
#[cfg(feature = "__fuzz")]
pub(crate) use route::Names;
#[cfg(any(feature = "__fuzz", feature = "__counts"))]
pub(crate) use route::Route;
pub(crate) use route::{Inbound, Routes};
#[cfg(feature = "__counts")]
pub(crate) use shared::Shared;
pub(crate) use source::{GroupHandle, SourceSettings, State, start};
#[cfg(feature = "__counts")]
pub(crate) use window::Window;
