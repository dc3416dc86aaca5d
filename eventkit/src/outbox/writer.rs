use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::row::NewRow;
use super::stats::Counters;
use super::wake::Wake;
use super::{BlockedEvent, OutboxError, OutboxStats};
use crate::database::Database;
use crate::database::Names;
use crate::event::{CrossesServices, Event, IntoEvents};
use crate::publisher::{Message, Prepared, prepared, prepared_all};

/// A table of events that are published when their transaction has committed.
///
/// `DB` is the database of the pool, `sqlx::Postgres` or `sqlx::Sqlite`. Cheap to
/// clone; a handler takes it as `State<Outbox<Postgres>>`. See the [module](super).
pub struct Outbox<DB: Database> {
    pub(crate) inner: Arc<Inner<DB>>,
}

pub(crate) struct Inner<DB: Database> {
    pub(crate) pool: Pool<DB>,
    pub(crate) names: Names,
    pub(super) sql: DB::Sql,
    pub(super) notify: bool,
    pub(crate) wake: Wake,
    pub(super) counters: Counters,
    source: Arc<str>,
    turns: Option<Arc<Semaphore>>,
}

/// Settings of an [`Outbox`] that differ from the defaults.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn f(pool: sqlx::PgPool) -> eventkit::Result<()> {
/// use eventkit::outbox::Outbox;
///
/// let outbox = Outbox::builder("shop", pool).schema("shop").table("outgoing").build()?;
/// outbox.migrate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct OutboxBuilder<DB: Database> {
    source: String,
    pool: Pool<DB>,
    schema: Option<String>,
    table: Option<String>,
    notify: bool,
}

impl<DB: Database> OutboxBuilder<DB> {
    /// The schema of the tables, in PostgreSQL. Default: the connection's search path.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The name of the table; the names of the others begin with it. Default:
    /// `eventkit_outbox`.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// No `NOTIFY` at commit: PostgreSQL takes a lock for it that all committing
    /// transactions with a `NOTIFY` share, database by database. Relays of the
    /// same process still learn of new rows at once, others by polling.
    pub fn without_notify(mut self) -> Self {
        self.notify = false;
        self
    }

    /// Makes the outbox; nothing is asked of the database yet.
    ///
    /// # Errors
    ///
    /// A name that is none, or a schema for SQLite, which has none.
    pub fn build(self) -> Result<Outbox<DB>, OutboxError> {
        if self.schema.is_some() && !DB::HAS_SCHEMAS {
            return Err(OutboxError::Setting(
                "SQLite has no schemas; give each service a file, or its table a name".into(),
            ));
        }
        let names = Names::new("outbox", self.schema, self.table).map_err(OutboxError::Setting)?;
        let sql = DB::sql(&names);
        Ok(Outbox::with(
            self.source.into(),
            self.pool,
            sql,
            names,
            self.notify,
        ))
    }
}

impl<DB: Database> Outbox<DB> {
    /// An outbox with settings of its own; `source` names the publishing service.
    pub fn builder(source: impl Into<String>, pool: Pool<DB>) -> OutboxBuilder<DB> {
        OutboxBuilder {
            source: source.into(),
            pool,
            schema: None,
            table: None,
            notify: true,
        }
    }

    /// An outbox in its default table; `source` names the publishing service.
    pub fn new(source: impl Into<String>, pool: Pool<DB>) -> Self {
        let names = Names::of("outbox", None);
        let sql = DB::sql(&names);
        Self::with(source.into().into(), pool, sql, names, true)
    }

    fn with(source: Arc<str>, pool: Pool<DB>, sql: DB::Sql, names: Names, notify: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                pool,
                names,
                sql,
                notify,
                wake: Wake::new(),
                counters: Counters::new(),
                source,
                turns: DB::ONE_WRITER.then(|| Arc::new(Semaphore::new(1))),
            }),
        }
    }

    /// Waits until nobody else here writes, where only one can; held until dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns = self.inner.turns.clone()?;
        turns.acquire_owned().await.ok()
    }

    /// The same, for a second at most: then the database has to say who may write.
    pub(super) async fn turn_soon(&self) -> Option<OwnedSemaphorePermit> {
        let turn = tokio::time::timeout(Duration::from_secs(1), self.turn());
        turn.await.ok().flatten()
    }

    /// Creates the tables, and the schema, where they are missing. Several
    /// processes may do so at once.
    ///
    /// Who runs migrations of their own finds the same as plain SQL files in the
    /// crate's folder `migrations`.
    ///
    /// # Errors
    ///
    /// When the database cannot be reached or does not allow it.
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        DB::create(&self.inner.pool, &self.inner.names, DB::MIGRATIONS)
            .await
            .map_err(|error| self.error("creating its tables", error))
    }

    /// Publishes one event when the transaction commits, and never when it, or
    /// the savepoint that it is made in, is rolled back. Returns the event's id.
    ///
    /// # Errors
    ///
    /// When the event cannot be encoded or the database refuses the row. With
    /// PostgreSQL the transaction is then of no more use, as after any error.
    pub async fn publish<E>(
        &self,
        transaction: &mut DB::Connection,
        event: &E,
    ) -> Result<String, OutboxError>
    where
        E: Event<Kind: CrossesServices>,
    {
        self.send(transaction, Message::new(event)).await
    }

    /// The same with headers, subject, id or correlation of its own.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn send<E>(
        &self,
        transaction: &mut DB::Connection,
        message: Message<'_, E>,
    ) -> Result<String, OutboxError>
    where
        E: Event<Kind: CrossesServices>,
    {
        let event = prepared(&message, &self.inner.source)?;
        let id = event.id().to_owned();
        self.insert(transaction, &[event]).await?;
        Ok(id)
    }

    /// Publishes events together, in order, in one round trip.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); then none of them is published.
    pub async fn publish_all(
        &self,
        transaction: &mut DB::Connection,
        events: impl IntoEvents,
    ) -> Result<Vec<String>, OutboxError> {
        let events = prepared_all(events, &self.inner.source)?;
        self.insert(transaction, &events).await?;
        Ok(events.iter().map(|event| event.id().to_owned()).collect())
    }

    /// In a transaction whose commit nobody here sees.
    async fn insert(
        &self,
        transaction: &mut DB::Connection,
        events: &[Prepared],
    ) -> Result<(), OutboxError> {
        let notify = self.is_told_of_commits();
        self.insert_rows(transaction, rows(events), notify).await?;
        if !notify {
            self.inner.wake.hint();
        }
        Ok(())
    }

    /// In a transaction of a caller who gives a hint after its commit. Where that
    /// reaches who publishes the rows, the database need not tell of them.
    pub(crate) async fn insert_before_hint(
        &self,
        transaction: &mut DB::Connection,
        events: &[Prepared],
    ) -> Result<(), OutboxError> {
        let rows = rows(events);
        let reaches = || self.inner.wake.reaches(rows.iter().map(|row| row.bucket));
        let notify = self.is_told_of_commits() && !reaches();
        self.insert_rows(transaction, rows, notify).await
    }

    async fn insert_rows(
        &self,
        transaction: &mut DB::Connection,
        rows: Vec<NewRow>,
        notify: bool,
    ) -> Result<(), OutboxError> {
        DB::insert(transaction, &self.inner.sql, rows, notify)
            .await
            .map_err(|error| self.error("inserting events", error))
    }

    /// Whether the database wakes relays at commit. Otherwise a hint is given
    /// before the commit, which nobody sees from here.
    pub(super) fn is_told_of_commits(&self) -> bool {
        DB::NOTIFIES && self.inner.notify
    }

    /// How far behind publishing is. It counts rows, so it is not for every second.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn stats(&self) -> Result<OutboxStats, OutboxError> {
        let Inner {
            pool,
            sql,
            counters,
            ..
        } = &*self.inner;
        let backlog = DB::backlog(pool, sql)
            .await
            .map_err(|error| self.error("counting its rows", error))?;
        Ok(OutboxStats {
            backlog: backlog.rows,
            oldest: backlog.oldest,
            blocked: backlog.blocked,
            published: counters.published(),
            rate: counters.rate(),
        })
    }

    /// The events that the broker refuses for good, each at the head of its key.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn blocked(&self) -> Result<Vec<BlockedEvent>, OutboxError> {
        DB::blocked(&self.inner.pool, &self.inner.sql)
            .await
            .map_err(|error| self.error("listing blocked events", error))
    }

    /// Lets a blocked event be tried again, when the reason is gone; `false` when
    /// no such event is blocked.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn retry(&self, id: i64) -> Result<bool, OutboxError> {
        Ok(self.unblock(Some(id)).await? > 0)
    }

    /// Lets all blocked events be tried again; returns their number.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn retry_all(&self) -> Result<u64, OutboxError> {
        self.unblock(None).await
    }

    async fn unblock(&self, id: Option<i64>) -> Result<u64, OutboxError> {
        let unblocked = DB::retry(&self.inner.pool, &self.inner.sql, id)
            .await
            .map_err(|error| self.error("unblocking events", error))?;
        self.inner.wake.hint();
        Ok(unblocked)
    }

    /// Takes a blocked event out of the way, so that its key goes on without it:
    /// it moves to the table `eventkit_outbox_aside`, from which nothing is
    /// deleted. `false` when no such event is blocked.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn set_aside(&self, id: i64) -> Result<bool, OutboxError> {
        let moved = DB::set_aside(&self.inner.pool, &self.inner.sql, id)
            .await
            .map_err(|error| self.error("setting an event aside", error))?;
        self.inner.wake.hint();
        Ok(moved > 0)
    }

    pub(super) fn error(&self, doing: &'static str, error: sqlx::Error) -> OutboxError {
        OutboxError::database(self.inner.names.table(), doing, error)
    }
}

fn rows(events: &[Prepared]) -> Vec<NewRow> {
    events
        .iter()
        .map(|event| NewRow::new(event, &event.creation_span()))
        .collect()
}

impl<DB: Database> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<DB: Database> std::fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("source", &self.inner.source)
            .field("table", &self.inner.names.table())
            .finish_non_exhaustive()
    }
}
