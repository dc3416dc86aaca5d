//! From the table to the broker.
//!
//! A relay is a few tasks: one that keeps its leases ([`leases`]), lanes that each
//! read, send and remove the rows of a part of the leased buckets ([`lane`]), one
//! that listens for commits, and one that cleans and reports ([`care`]).

mod care;
mod client;
mod lane;
mod leases;
mod sender;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Pool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Outbox, OutboxError};
use crate::app::Signals;
use crate::database::Database;
use crate::embedded::EmbeddedBroker;
use crate::error::{Error, Result};
use crate::kafka::Connection;
use lane::Lane;
pub(super) use leases::Leases;
use sender::Sender;

/// How long a relay that shuts down waits for acknowledgements; what is not
/// acknowledged by then is left to the next one.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// How long a task waits after an error before it tries again, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Publishes what stands in an outbox. See the [module](super).
///
/// In a process of its own:
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn f(pool: sqlx::PgPool) -> eventkit::Result<()> {
/// use eventkit::outbox::{Outbox, Relay};
///
/// let outbox = Outbox::new("shop", pool);
/// Relay::new(&outbox).bootstrap_servers("kafka-1:9092").run().await
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a relay does nothing until it is started or given to an App"]
pub struct Relay<DB: Database> {
    outbox: Outbox<DB>,
    connection: Connection,
    settings: RelaySettings,
}

#[derive(Debug, Clone)]
struct RelaySettings {
    lease: Duration,
    batch: usize,
    poll: Duration,
    keep_sent: Option<Duration>,
}

impl<DB: Database> Relay<DB> {
    /// A relay of this outbox, not yet started.
    pub fn new(outbox: &Outbox<DB>) -> Self {
        Self {
            outbox: outbox.clone(),
            connection: Connection::to("localhost:9092"),
            settings: RelaySettings {
                lease: Duration::from_secs(10),
                batch: 2000,
                poll: Duration::from_millis(250),
                keep_sent: None,
            },
        }
    }

    /// Where Kafka is, as `host:port,…`. Default: `localhost:9092`. In an App the
    /// App's settings stand.
    pub fn bootstrap_servers(mut self, servers: impl Into<String>) -> Self {
        self.connection.bootstrap_servers = servers.into();
        self
    }

    /// The embedded broker instead of Kafka.
    pub fn broker(self, broker: &EmbeddedBroker) -> Self {
        self.bootstrap_servers(broker.bootstrap_servers())
    }

    /// A librdkafka property, such as `security.protocol`.
    pub fn kafka(mut self, property: impl Into<String>, value: impl Into<String>) -> Self {
        let properties = &mut self.connection.properties;
        properties.insert(property.into(), value.into());
        self
    }

    /// For how long buckets are leased: how long the events of a relay that died
    /// wait until another one takes over. Shorter leases are renewed more often,
    /// and a database that does not answer for that long stops publishing.
    /// Default: 10 s; at least 500 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(Duration::from_millis(500));
        self
    }

    /// How many rows are read, sent and removed at once. Default: 2000.
    pub fn batch(mut self, rows: usize) -> Self {
        self.settings.batch = rows.clamp(1, 10_000);
        self
    }

    /// How often to look for rows when nothing says that there are some.
    /// Default: 250 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// Keeps published rows for a time, in the table `eventkit_outbox_sent`.
    /// Default: they are deleted.
    pub fn keep_sent(mut self, time: Duration) -> Self {
        self.settings.keep_sent = Some(time);
        self
    }

    /// Starts the relay; it connects, and waits for what is away, in the background.
    ///
    /// # Errors
    ///
    /// A librdkafka property that is unknown, malformed, or would break a guarantee.
    pub fn start(self) -> Result<RunningRelay> {
        let Self {
            outbox,
            connection,
            settings,
        } = self;
        connection.validate()?;
        let senders = (0..DB::LANES)
            .map(|_| Sender::new(connection.clone()))
            .collect::<Result<Vec<_>>>()?;
        let leases = Arc::new(Leases::new(DB::LANES));
        outbox.inner.wake.add_relay(&leases);
        let shared = Arc::new(Shared {
            // One connection for each lane, the leases, the listener, the care.
            pool: DB::relay_pool(&outbox.inner.pool, DB::LANES as u32 + 3),
            leases,
            id: Uuid::now_v7().to_string(),
            stop: CancellationToken::new(),
            outbox,
            settings,
        });
        let mut tasks = JoinSet::new();
        for (number, sender) in senders.into_iter().enumerate() {
            tasks.spawn(Lane::new(number, shared.clone(), sender).run());
        }
        tasks.spawn(care::listen(shared.clone()));
        tasks.spawn(care::care(shared.clone()));
        // The leases are kept until the lanes have come to their end.
        let stop = shared.stop.clone();
        let task = tokio::spawn(leases::keep(shared, tasks));
        Ok(RunningRelay {
            stop,
            task: Some(task),
        })
    }

    /// Runs the relay until SIGTERM or SIGINT, then shuts it down as
    /// [`RunningRelay::shutdown`] does.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn run(self) -> Result<()> {
        let mut signals = Signals::listen()?;
        self.run_until(async move { signals.next().await }).await
    }

    /// Runs the relay until the future is done, then shuts it down.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<()> {
        let running = self.start()?;
        end.await;
        running.shutdown().await
    }
}

impl<DB: Database> From<Outbox<DB>> for Relay<DB> {
    fn from(outbox: Outbox<DB>) -> Self {
        Self::new(&outbox)
    }
}

/// What the tasks of a relay share.
struct Shared<DB: Database> {
    id: String,
    outbox: Outbox<DB>,
    pool: Pool<DB>,
    settings: RelaySettings,
    leases: Arc<Leases>,
    stop: CancellationToken,
}

impl<DB: Database> Shared<DB> {
    fn table(&self) -> &str {
        self.outbox.inner.names.table()
    }

    /// Resolves when the relay has to stop and had its time for what is on its way.
    async fn patience_ended(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(SHUTDOWN_PATIENCE).await;
    }
}

/// A relay at work. Dropping it tells it to stop but does not wait for it.
#[derive(Debug)]
#[must_use = "dropping it stops the relay"]
pub struct RunningRelay {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl RunningRelay {
    /// Ends the relay in order: read no more, wait for the acknowledgements of what
    /// was sent, for three seconds at most, and give back the leases, so that
    /// another relay takes over at once.
    ///
    /// # Errors
    ///
    /// When one of its tasks has panicked.
    pub async fn shutdown(mut self) -> Result<()> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => task
                .await
                .map_err(|_| Error::Unfinished("a relay's task has panicked".into())),
            None => Ok(()),
        }
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A relay whose database an App need not know.
pub(crate) trait AppRelay: Send {
    /// Whether its tables are there.
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), OutboxError>> + Send + '_>>;

    fn start(self: Box<Self>, connection: Connection) -> Result<RunningRelay>;
}

impl<DB: Database> AppRelay for Relay<DB> {
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), OutboxError>> + Send + '_>> {
        Box::pin(async { self.outbox.blocked().await.map(drop) })
    }

    fn start(mut self: Box<Self>, connection: Connection) -> Result<RunningRelay> {
        self.connection = connection;
        Relay::start(*self)
    }
}
