//! The App: a service's handlers, its settings, its start and its end.

mod checks;
mod configs;
mod letters;
mod plan;
mod retention;
mod running;
mod settings;
mod topics;

pub(crate) use plan::{GroupTopology, Topology};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use running::Signals;
pub use running::{HandlerStats, Running};
pub use settings::{Settings, StartFrom};

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::dedup::DedupStore;
use crate::delivery::InboxStore;
use crate::embedded::EmbeddedBroker;
use crate::error::{Error, Result};
use crate::handler::{HandlerDefinition, linked};

/// A service: its handlers and what they need. See the [crate's front page](crate).
///
/// Settings come from the file `eventkit.toml` (or the one that
/// `EVENTKIT_CONFIG` names), over it from the environment (`EVENTKIT_…`), over
/// that from the calls made here; see [`Settings`].
#[must_use = "an App does nothing until it is run or started"]
pub struct App {
    name: String,
    handlers: Option<Vec<HandlerDefinition>>,
    states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    dedup: Option<Arc<dyn DedupStore>>,
    broker: Option<Broker>,
    default_types: BTreeMap<String, String>,
    settings: Option<Settings>,
    overrides: Vec<Override>,
    inbox: Option<Arc<dyn InboxStore>>,
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    relays: Vec<Box<dyn crate::outbox::AppRelay>>,
}

/// A call that stands over file and environment.
type Override = Box<dyn FnOnce(&mut Settings) + Send>;

enum Broker {
    /// Started with the App.
    Own,
    Given(EmbeddedBroker),
}

impl App {
    /// A service of this name, which is its default consumer group and the
    /// CloudEvents source of what it publishes.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            handlers: None,
            states: HashMap::new(),
            dedup: None,
            broker: None,
            default_types: BTreeMap::new(),
            settings: None,
            overrides: Vec::new(),
            inbox: None,
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            relays: Vec::new(),
        }
    }

    /// These handlers, listed with [`handlers!`](crate::handlers). Without this
    /// call the App has every handler that is linked into the program.
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = HandlerDefinition>) -> Self {
        self.handlers.get_or_insert_default().extend(handlers);
        self
    }

    /// A value for the handlers that ask for `State<T>`. One value for a type;
    /// the last one stands.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(TypeId::of::<T>(), Arc::new(state));
        self
    }

    /// Where the handlers' `dedup` is kept. Default: Redis where the setting
    /// `redis_url` is given, memory on the embedded broker.
    pub fn dedup(mut self, store: impl DedupStore) -> Self {
        self.dedup = Some(Arc::new(store));
        self
    }

    /// Publishes what stands in this outbox, as long as the App runs. Takes an
    /// [`Outbox`](crate::outbox::Outbox), or a [`Relay`](crate::outbox::Relay) with
    /// settings of its own.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub fn outbox<DB: crate::outbox::Database>(
        mut self,
        outbox: impl Into<crate::outbox::Relay<DB>>,
    ) -> Self {
        self.relays.push(Box::new(outbox.into()));
        self
    }

    /// Where the handlers with `inbox` take effect. Takes an
    /// [`Inbox`](crate::inbox::Inbox), or an [`Outbox`](crate::outbox::Outbox) beside
    /// which the inbox has its default table.
    ///
    /// What these handlers return goes into the outbox; have it published by
    /// [`outbox`](Self::outbox), or by a relay somewhere else.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub fn inbox<DB: crate::outbox::Database>(
        mut self,
        inbox: impl Into<crate::inbox::Inbox<DB>>,
    ) -> Self {
        self.inbox = Some(Arc::new(inbox.into()));
        self
    }

    /// A broker inside the process instead of Kafka; topics are created when
    /// missing. See [`embedded`](crate::embedded) for its limits.
    pub fn embedded(mut self) -> Self {
        self.broker = Some(Broker::Own);
        self
    }

    /// An embedded broker that other Apps use too.
    pub fn broker(mut self, broker: &EmbeddedBroker) -> Self {
        self.broker = Some(Broker::Given(broker.clone()));
        self
    }

    /// What a topic's records are when they do not say so themselves, for
    /// producers that send no `ce_type`. Both must be a handler's, which is
    /// checked at start.
    pub fn default_type(mut self, topic: impl Into<String>, event_type: impl Into<String>) -> Self {
        self.default_types.insert(topic.into(), event_type.into());
        self
    }

    /// These settings, instead of those of file and environment.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Where Kafka is, as `host:port,…`. Default: `localhost:9092`.
    pub fn bootstrap_servers(self, servers: impl Into<String>) -> Self {
        let servers = servers.into();
        self.set(move |settings| settings.bootstrap_servers = servers)
    }

    /// Where Redis is, as `redis://[user:password@]host:port[/db]`.
    pub fn redis_url(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.set(move |settings| settings.redis_url = Some(url))
    }

    /// Handle events without dedup while its store is away, at the risk of
    /// duplicates. Default: deliveries wait.
    pub fn dedup_fail_open(self) -> Self {
        self.set(|settings| settings.dedup_fail_open = true)
    }

    /// How long the event that a process was handling when it died waits for another
    /// attempt. A living process renews it for as long as its handler runs.
    /// Default: 30 s; at least 100 ms.
    pub fn dedup_lease(self, lease: Duration) -> Self {
        self.set(move |settings| settings.dedup_lease = lease)
    }

    /// Where a new consumer group begins. Default: [`StartFrom::Earliest`].
    pub fn start_from(self, start: StartFrom) -> Self {
        self.set(move |settings| settings.start_from = start)
    }

    /// A librdkafka property for consumers and the producer, such as
    /// `security.protocol`. One that would break a guarantee is refused at start.
    pub fn kafka(self, property: impl Into<String>, value: impl Into<String>) -> Self {
        let (property, value) = (property.into(), value.into());
        self.set(move |settings| {
            settings.kafka.insert(property, value);
        })
    }

    /// How many deliveries of one partition run, or wait for their next
    /// attempt, at once. Default: 256.
    pub fn max_in_flight(self, deliveries: usize) -> Self {
        self.set(move |settings| settings.max_in_flight = deliveries)
    }

    /// How long running handlers may take to finish at shutdown; the rest of it
    /// ends at most 4 s later. Default: 25 s.
    pub fn shutdown_timeout(self, timeout: Duration) -> Self {
        self.set(move |settings| settings.shutdown_timeout = timeout)
    }

    fn set(mut self, change: impl FnOnce(&mut Settings) + Send + 'static) -> Self {
        self.overrides.push(Box::new(change));
        self
    }

    /// Makes the start-up checks and nothing else: states, handler names,
    /// commands, default types, topics, dedup, and whether Kafka and Redis answer.
    ///
    /// # Errors
    ///
    /// [`Error::Startup`] with everything that is wrong; [`Error::Settings`]
    /// when the settings cannot be read.
    pub async fn check(self) -> Result<()> {
        plan::Plan::make(self)?.check().await.map(|_| ())
    }

    /// Starts the service and returns when its consumers run; see
    /// [`Running::ready`] for when they have their partitions.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); also when Kafka refuses a consumer.
    pub async fn start(self) -> Result<Running> {
        plan::Plan::make(self)?.check().await?.start()
    }

    /// Runs the service until SIGTERM or SIGINT, then shuts it down as
    /// [`Running::shutdown`] does. A second signal ends it at once.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`Error::Group`] when a consumer group cannot
    /// go on; [`Error::Unfinished`] when not everything was finished in time.
    /// Returned from `main`, an error is a non-zero exit code.
    pub async fn run(self) -> Result<()> {
        let mut signals = running::Signals::listen()?;
        let running = self.start().await?;
        let failed = tokio::select! {
            () = signals.next() => None,
            failed = running.failed() => Some(failed),
        };
        tracing::info!(target: "eventkit::app", "shutting down");
        let ended = tokio::select! {
            ended = running.shutdown() => ended,
            () = signals.next() => Err(Error::Unfinished("ended at once by a second signal".into())),
        };
        failed.map_or(ended, Err)
    }

    /// Runs the service until the future is done, then shuts it down.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<()> {
        let running = self.start().await?;
        let failed = tokio::select! {
            () = end => None,
            failed = running.failed() => Some(failed),
        };
        let ended = running.shutdown().await;
        failed.map_or(ended, Err)
    }

    fn handler_definitions(&self) -> Vec<HandlerDefinition> {
        self.handlers.clone().unwrap_or_else(linked)
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
