//! The transactional inbox: a handler's effect, the note that its event was
//! handled, and the events that it returns commit together. For PostgreSQL (13 or
//! later, feature `postgres`) and SQLite (feature `sqlite`), on `sqlx`.
//!
//! A dedup store beside the database leaves a gap: a process that dies between the
//! effect and the mark does the effect again. With an inbox there is no between.
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # mod example {
//! use eventkit::inbox::{Inbox, Tx};
//! use eventkit::outbox::Outbox;
//! use eventkit::prelude::*;
//! use sqlx::{PgPool, Postgres};
//!
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
//! # struct OrderPlaced { order_id: i64, sku: String, quantity: i32 }
//! # #[derive(Event, Serialize, Deserialize)]
//! # #[event(type = "StockReserved.v1", topic = "stock", key = order_id)]
//! # struct StockReserved { order_id: i64 }
//! #[handler(event = "OrderPlaced.v1", inbox)]
//! async fn reserve_stock(order: OrderPlaced, Tx(tx): Tx<Postgres>) -> sqlx::Result<StockReserved> {
//!     sqlx::query("UPDATE stock SET reserved = reserved + $1 WHERE sku = $2")
//!         .bind(order.quantity)
//!         .bind(order.sku)
//!         .execute(&mut **tx)
//!         .await?;
//!     // Goes into the outbox, in the same transaction.
//!     Ok(StockReserved { order_id: order.order_id })
//! }
//!
//! # async fn f() -> anyhow::Result<()> {
//! let pool = PgPool::connect("postgres://localhost/inventory").await?;
//! let outbox = Outbox::new("inventory", pool);
//! let inbox = Inbox::new(&outbox);
//! outbox.migrate().await?;
//! inbox.migrate().await?;
//! App::new("inventory").inbox(inbox).outbox(outbox).run().await?;
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! # What is promised
//!
//! - One effect for an event, always: however often it is delivered, by however
//!   many processes, whichever of them dies at whatever moment. An event is known
//!   by its source and id, for each handler of each consumer group. Of two
//!   deliveries at once, one waits for the other's end and then is a duplicate.
//! - It holds for what is done through [`Tx`]. Mail that is sent, a publisher that
//!   is called, a second database: these are outside, and are done again when the
//!   handler is.
//! - What the handler returns is published if, and only if, the effect is
//!   committed. To publish more, or earlier, take the [`Outbox`] as `State` and
//!   give it the transaction.
//! - An error, a panic or a timeout rolls everything back; then come the handler's
//!   retries and its dead letter as for any handler. A dead letter leaves no row,
//!   so its replay is handled.
//! - A handler that swallows a database's error and returns success has not
//!   succeeded: PostgreSQL rolls such a transaction back, and the delivery fails.
//!   (Make a savepoint, `tx.begin()`, for what may fail.)
//!
//! A handler must not end the transaction by itself, and as the transaction is
//! open while it runs, should be done soon. Deliveries take their connections from
//! the outbox's pool, at most all but one of them at once; in SQLite, which has one
//! writer at a time, they and the outbox's relay take turns.
//!
//! # When something is wrong
//!
//! - *A serialization failure, a deadlock* (`40001`, `40P01`), *a busy SQLite*: the
//!   handler runs again at once, after a pause of milliseconds, and it does not
//!   count as an attempt, as long as the handler lets the `sqlx::Error` through, as
//!   it is or as the source of an error of its own.
//! - *The database is away*, or a standby that takes no writes: deliveries wait,
//!   and nothing counts as an attempt. Partitions pause when they are full.
//! - *A process that was cut off from the database* in mid-transaction holds its
//!   locks until the database notices; let PostgreSQL's
//!   `idle_in_transaction_session_timeout` and `tcp_keepalives_idle` be short.
//!
//! # How long rows are kept
//!
//! For 14 days, unless [`Inbox::keep`] says otherwise; then they are deleted in
//! batches. An event whose row is gone is handled again if it is delivered again.
//! So rows must be kept for longer than the topic keeps its records (`retention.ms`,
//! by default 7 days), from which a group that is reset or that lost its offsets
//! reads them again. At start a warning tells where it is shorter. The time that
//! letters wait in a dead-letter topic does not count: a dead letter has no row.
//!
//! # One transaction for each delivery
//!
//! Deliveries of different keys do not share a commit. The databases that matter
//! write the commits of concurrent transactions to disk together by themselves; a
//! shared transaction would have its handlers run one after the other on its one
//! connection, hold each one's locks until the last is done, and be lost as a whole
//! by one handler's deadlock, from which savepoints do not protect.

mod dialect;
mod error;
mod store;
mod tx;

pub(crate) use dialect::Dialect;
pub use error::InboxError;
pub use tx::{__tx, Tx};

pub use crate::database::Database;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::database::Names;
use crate::outbox::Outbox;
use dialect::Statements;

/// A table of the events that were handled, in the database of an outbox.
///
/// `DB` is the database of its pool, `sqlx::Postgres` or `sqlx::Sqlite`. Give it to
/// [`App::inbox`](crate::App::inbox). See the [module](self).
#[must_use = "an inbox does nothing until it is given to an App"]
pub struct Inbox<DB: Database> {
    outbox: Outbox<DB>,
    names: Names,
    statements: Statements,
    keep: Option<Duration>,
    /// Deliveries wait for their turn here, for as long as it takes, and not in
    /// the pool, which loses patience.
    writers: Arc<Semaphore>,
}

impl<DB: Database> Inbox<DB> {
    /// An inbox in its default table, `eventkit_inbox`, beside the outbox's: in its
    /// schema, over its pool.
    pub fn new(outbox: &Outbox<DB>) -> Self {
        let names = Names::of("inbox", outbox.inner.names.schema().map(str::to_owned));
        Self::with(outbox.clone(), names)
    }

    fn with(outbox: Outbox<DB>, names: Names) -> Self {
        Self {
            statements: DB::statements(&names),
            writers: Arc::new(Semaphore::new(DB::writers(&outbox.inner.pool))),
            keep: Some(Duration::from_secs(14 * 24 * 60 * 60)),
            outbox,
            names,
        }
    }

    /// Another name for the table.
    ///
    /// # Errors
    ///
    /// A name that is none.
    pub fn table(self, table: impl Into<String>) -> Result<Self, InboxError> {
        let schema = self.names.schema().map(str::to_owned);
        let names = Names::new("inbox", schema, Some(table.into())).map_err(InboxError::Setting)?;
        Ok(Self {
            keep: self.keep,
            ..Self::with(self.outbox, names)
        })
    }

    /// For how long events are known as handled; see the [module](self) for how
    /// long that must be. Default: 14 days.
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = Some(time);
        self
    }

    /// Events are known as handled for ever; nothing is deleted.
    pub fn keep_forever(mut self) -> Self {
        self.keep = None;
        self
    }

    /// Creates the table where it is missing. Several processes may do so at once.
    ///
    /// Who runs migrations of their own finds the same as a plain SQL file in the
    /// crate's folder `migrations`.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached or does not allow it.
    pub async fn migrate(&self) -> Result<(), InboxError> {
        DB::create(&self.outbox.inner.pool, &self.names, DB::INBOX_MIGRATIONS)
            .await
            .map_err(|error| self.error("creating its table", error))
    }

    fn error(&self, doing: &'static str, error: sqlx::Error) -> InboxError {
        InboxError::database(self.names.table(), doing, error)
    }
}

impl<DB: Database> From<Outbox<DB>> for Inbox<DB> {
    fn from(outbox: Outbox<DB>) -> Self {
        Self::new(&outbox)
    }
}

impl<DB: Database> std::fmt::Debug for Inbox<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("table", &self.names.table())
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}
