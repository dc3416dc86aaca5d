//! The transactional outbox: events that are published if, and only if, the
//! transaction that they were written in commits. For PostgreSQL (13 or later,
//! feature `postgres`) and SQLite (feature `sqlite`), on `sqlx`.
//!
//! A service that writes to its database and then publishes loses the event when
//! it dies in between; one that publishes first tells of what never happened. An
//! [`Outbox`] writes the finished record into a table, in the same transaction,
//! and a [`Relay`] brings it from there to Kafka.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # mod example {
//! use eventkit::outbox::Outbox;
//! use eventkit::prelude::*;
//! use sqlx::PgPool;
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
//! struct OrderPlaced {
//!     order_id: i64,
//! }
//!
//! async fn place(pool: &PgPool, outbox: &Outbox<sqlx::Postgres>) -> anyhow::Result<()> {
//!     let mut tx = pool.begin().await?;
//!     sqlx::query("INSERT INTO orders (id) VALUES ($1)").bind(7_i64).execute(&mut *tx).await?;
//!     outbox.publish(&mut tx, &OrderPlaced { order_id: 7 }).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! # async fn f() -> anyhow::Result<()> {
//! let pool = PgPool::connect("postgres://localhost/shop").await?;
//! let outbox = Outbox::new("shop", pool.clone());
//! outbox.migrate().await?;
//! App::new("shop").state(outbox.clone()).outbox(outbox).run().await?;
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! # What is promised
//!
//! - Every committed event is published, at least once. A relay that dies between
//!   the broker's acknowledgement and its note of it leaves the event to be
//!   published again, with the same id: a consumer's `dedup` knows it.
//! - What was rolled back, a savepoint included, is never published.
//! - The record is made when it is written: id, correlation, causation and trace
//!   context are those of that moment, by the rules of [`Publisher`](crate::Publisher).
//! - Only writers that serialise their writes to a key have an order for that key:
//!   by a lock on its row, say, or by being the only writer. Their events are
//!   published in that order, whoever relays them and whatever fails on the way.
//!   Duplicates may follow later, the first copies are in order.
//! - A transaction that commits late is not passed by: a relay keeps no position
//!   in the table, it takes what is there. Other transactions that stay open, for
//!   hours even, hold nothing up. (They keep PostgreSQL from removing dead rows,
//!   which makes a busy outbox slower.) Nor does a restored backup, in a new
//!   cluster too; what had been published since is published again.
//!
//! # Relays
//!
//! A relay runs in the App ([`App::outbox`](crate::App::outbox)) or in a process of
//! its own ([`Relay::run`]). Several share the work: keys are spread over 64 buckets,
//! and a relay publishes those that it holds a lease on, which ends by the
//! database's clock. One that cannot renew its leases stops before they end, and
//! takes back what the broker has not got yet. Only records on their way in the
//! network can still arrive, as duplicates. A relay that dies is replaced when its
//! leases end, after ten seconds; one that is shut down, at once.
//!
//! With PostgreSQL a commit wakes the relays by `NOTIFY`, once for a transaction.
//! It takes a lock that all commits with a `NOTIFY` in that database share, which
//! can be felt from some thousand commits a second on; see
//! [`without_notify`](OutboxBuilder::without_notify). The events that a handler with
//! an [inbox](crate::inbox) returns do without it where a relay of the same process
//! publishes them. It is a hint only, polling finds the rows too, also where a
//! connection pooler swallows notifications. With SQLite relays of the same process
//! are woken, others poll.
//!
//! # When something is wrong
//!
//! - *The broker is away*: rows wait, and a warning says for how long.
//! - *The broker refuses an event for good*, because it is too large or its topic
//!   stays unknown for some ten seconds: the event, and what follows with its key in its topic, waits for
//!   an operator, and an error is logged. Other keys go on. [`Outbox::blocked`]
//!   lists such events, [`Outbox::retry`] tries one again when the reason is gone,
//!   [`Outbox::set_aside`] takes it out of the way. Nothing is dropped.
//! - *The database is away*: nothing is published until it is back.
//!
//! Published rows are deleted, or kept for a time ([`Relay::keep_sent`]) in a table
//! of their own: cleaning never touches what is unsent. [`Outbox::stats`] says how
//! many rows wait and how old the oldest is; relays log the same every half minute
//! while anything waits.

mod dialect;
mod error;
mod headers;
mod relay;
mod row;
mod stats;
mod wake;
mod writer;

pub use crate::database::Database;
pub(crate) use dialect::Dialect;
pub use error::OutboxError;
pub(crate) use relay::AppRelay;
pub use relay::{Relay, RunningRelay};
pub use stats::OutboxStats;
pub use writer::{Outbox, OutboxBuilder};

use std::time::Duration;

/// An event that the broker refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedEvent {
    /// Its number in the outbox, for [`Outbox::retry`] and [`Outbox::set_aside`].
    pub id: i64,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Why the broker refuses it.
    pub reason: String,
    /// How long it has been blocked.
    pub blocked_for: Duration,
}
