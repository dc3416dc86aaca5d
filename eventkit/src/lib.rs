//! Consumer microservices on Kafka: annotate async functions, and everything
//! between the broker and the function, and between the function and the next
//! broker write, is done.
//!
//! ```no_run
//! use eventkit::prelude::*;
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
//! struct OrderPlaced {
//!     order_id: u64,
//! }
//!
//! #[handler(event = "OrderPlaced.v1", retry(attempts = 5, backoff = "100ms..10s"), dedup(ttl = "7d"))]
//! async fn reserve_stock(order: OrderPlaced) -> anyhow::Result<()> {
//!     println!("reserving for order {}", order.order_id);
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> eventkit::Result<()> {
//!     App::new("inventory").run().await
//! }
//! ```
//!
//! # What is promised
//!
//! - A message is acknowledged only after its handler succeeded and what it
//!   returned was acknowledged by the broker, or it stands in the dead-letter
//!   topic, or it was proven a duplicate.
//! - Events with one key are handled in order, through retries too; keys do
//!   not wait for one another.
//! - With `dedup`, a repeated event has one effect, unless the process dies, or
//!   the handler is cut off at a shutdown or rebalance, between the effect and
//!   the mark; then it may have two.
//! - One correlation id and one trace run from the first event to the last.
//!
//! # Where to look
//!
//! [`Event`](macro@Event) and [`handler`] are the macros, [`App`] runs a
//! service, [`Publisher`] publishes, [`dedup`] and [`dlq`] say what happens to
//! repeated and failed events, [`embedded`] is a broker for trying out,
//! `outbox` publishes what a database transaction commits, `inbox` takes effect in one.
//!
//! # Features
//!
//! - `redis` (default): dedup over Redis.
//! - `postgres`, `sqlite`: the transactional outbox and inbox, on `sqlx`; these need Rust 1.94.
//! - `telemetry`: OpenTelemetry traces over Kafka headers, OTLP export.
//! - `tls`: TLS and SASL towards Kafka, by the system's OpenSSL.

// Lets the macros' output, which says `::eventkit`, work in our own tests.
extern crate self as eventkit;

mod app;
mod consumer;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod database;
pub mod dedup;
mod delivery;
pub mod dlq;
pub mod embedded;
mod error;
mod event;
mod ffi;
mod handler;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod inbox;
mod kafka;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod outbox;
pub mod prelude;
mod publisher;
pub mod telemetry;

pub use app::{App, HandlerStats, Running, Settings, StartFrom};
pub use error::{BoxError, EncodeError, Error, Problems, PublishError, Result};
pub use event::{
    Command, CrossesServices, Domain, Envelope, Event, EventKey, EventKind, Headers, Integration,
    IntoEvents, Kind, Metadata, Outgoing,
};
pub use eventkit_macros::{Event, handler};
pub use handler::{
    Attempt, CancellationToken, Delivery, FromDelivery, HandlerDefinition, HandlerError,
    IntoOutcome, Jitter, Order, Outcome, Requirements, Retry, State,
};
pub use publisher::{Message, Published, Publisher, PublisherBuilder, Publishing};

#[cfg(feature = "__counts")]
#[doc(hidden)]
pub mod __counts;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod __fuzz;
#[cfg(any(feature = "__fuzz", feature = "__counts"))]
mod __offline;

/// What generated code calls. Not part of the API; changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::event::checks::*;
    pub use crate::event::cloned::*;
    pub use crate::handler::{
        __MISWRITTEN as MISWRITTEN, __blocking as blocking, __dedup_key as dedup_key,
        __define as define, __spawned as spawned, Call, Dedup, Linked, Policy, Registered,
        Transaction,
    };
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub use crate::inbox::__tx as tx;
    pub use inventory;
}
