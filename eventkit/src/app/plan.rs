//! From an App to what will run: its groups, their topics, their stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::running::Running;
use super::{App, Broker, Settings, checks, topics};
use crate::consumer::{
    self, DedupPlan, GroupContext, HandlerRuntime, InboxPlan, Limits, Outage, Routes,
    SourceSettings,
};
use crate::dedup::{DedupStore, MemoryDedup};
use crate::dlq::default_topic;
use crate::embedded::EmbeddedBroker;
use crate::error::{Error, Problems, Result};
use crate::event::Kind;
use crate::handler::{AppContext, HandlerDefinition};
use crate::kafka::Connection;
use crate::publisher::{Producer, Publisher};

/// A shorter one would hardly outlive the round trip that renews it.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Which topics, groups and handlers an App has declared.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) connection: Connection,
    pub(crate) groups: BTreeMap<Arc<str>, GroupTopology>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupTopology {
    pub(crate) topics: BTreeSet<String>,
    pub(crate) handlers: BTreeSet<String>,
    /// Each with the topics whose letters it takes.
    pub(crate) dead_letter_topics: BTreeMap<String, BTreeSet<String>>,
}

/// An App with its settings read, before anything was connected.
pub(super) struct Plan {
    pub(super) app: App,
    pub(super) settings: Settings,
    pub(super) handlers: Vec<HandlerDefinition>,
    pub(super) broker: Option<EmbeddedBroker>,
    pub(super) dedup: Option<Arc<dyn DedupStore>>,
    pub(super) topology: Topology,
}

impl Plan {
    pub(super) fn make(mut app: App) -> Result<Self> {
        let mut settings = match app.settings.take() {
            Some(settings) => settings,
            None => Settings::load()?,
        };
        for change in std::mem::take(&mut app.overrides) {
            change(&mut settings);
        }
        let broker = match app.broker.take() {
            None => None,
            Some(Broker::Own) => Some(EmbeddedBroker::start()?),
            Some(Broker::Given(broker)) => Some(broker),
        };
        if let Some(broker) = &broker {
            broker
                .bootstrap_servers()
                .clone_into(&mut settings.bootstrap_servers);
        }
        let connection = settings.connection();
        connection.validate()?;
        let handlers = app.handler_definitions();
        let topology = topology(&app.name, &handlers, connection);
        let dedup = dedup_store(&mut app, &settings, broker.is_some())?;
        Ok(Self {
            app,
            settings,
            handlers,
            broker,
            dedup,
            topology,
        })
    }

    /// Makes every start-up check and reports all that is wrong at once.
    pub(super) async fn check(self) -> Result<Checked> {
        let mut found = checks::declarations(&self);
        found.extend(topics::check(&self).await);
        if let Some(store) = &self.dedup
            && self.uses_dedup()
        {
            match store.check().await {
                Ok(warnings) => {
                    for warning in warnings {
                        tracing::warn!(target: "eventkit::dedup", store = store.describe(), "{warning}");
                    }
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        let patience = self.settings.startup_timeout;
        if let Some(inbox) = &self.app.inbox {
            match tokio::time::timeout(patience, inbox.check()).await {
                Ok(problems) => found.extend(problems),
                Err(_) => found.push(format!(
                    "the inbox's database does not answer within {patience:?}"
                )),
            }
        }
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        for relay in &self.app.relays {
            match tokio::time::timeout(patience, relay.check()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => found.push(crate::error::chain(&error)),
                Err(_) => found.push(format!(
                    "an outbox's database does not answer within {patience:?}"
                )),
            }
        }
        if found.is_empty() {
            Ok(Checked(self))
        } else {
            Err(Error::Startup(Problems {
                app: self.app.name,
                found,
            }))
        }
    }

    pub(super) fn uses_dedup(&self) -> bool {
        self.handlers
            .iter()
            .any(|handler| handler.policy.dedup.is_some())
    }
}

fn group_of<'a>(app: &'a str, handler: &'a HandlerDefinition) -> &'a str {
    handler.policy.group.unwrap_or(app)
}

fn topology(app: &str, handlers: &[HandlerDefinition], connection: Connection) -> Topology {
    let mut groups: BTreeMap<Arc<str>, GroupTopology> = BTreeMap::new();
    // A domain event has no topic; the checks say so.
    for handler in handlers
        .iter()
        .filter(|handler| handler.kind != Kind::Domain)
    {
        let group = group_of(app, handler);
        let declared = groups.entry(group.into()).or_default();
        declared.topics.insert(handler.topic.to_owned());
        declared.handlers.insert(handler.name.to_owned());
        // What nobody can decode goes to the default topic, whatever a handler names.
        let default = default_topic(handler.topic, group);
        let named = handler.policy.dead_letter_topic.map(str::to_owned);
        for letters in std::iter::once(default).chain(named) {
            let sources = declared.dead_letter_topics.entry(letters).or_default();
            sources.insert(handler.topic.to_owned());
        }
    }
    Topology { connection, groups }
}

fn dedup_store(
    app: &mut App,
    settings: &Settings,
    embedded: bool,
) -> Result<Option<Arc<dyn DedupStore>>> {
    if let Some(store) = app.dedup.take() {
        return Ok(Some(store));
    }
    if let Some(url) = &settings.redis_url {
        return redis(url).map(Some);
    }
    Ok(embedded.then(|| Arc::new(MemoryDedup::new()) as Arc<dyn DedupStore>))
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<Arc<dyn DedupStore>> {
    Ok(Arc::new(crate::dedup::RedisDedup::lazy(url)))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str) -> Result<Arc<dyn DedupStore>> {
    Err(Error::Settings(
        "`redis_url` is set, but eventkit was built without its feature `redis`".into(),
    ))
}

/// A plan whose checks have passed.
pub(super) struct Checked(Plan);

impl Checked {
    pub(super) fn start(self) -> Result<Running> {
        let Plan {
            app,
            settings,
            handlers,
            broker,
            dedup,
            topology,
        } = self.0;
        let producer = Producer::new(&topology.connection)?;
        let publisher = Publisher::new(producer, app.name.clone());
        let context = Arc::new(AppContext {
            states: app.states,
            publisher: publisher.clone(),
        });
        let mut contexts = Vec::new();
        for group in topology.groups.keys() {
            let members: Vec<HandlerDefinition> = handlers
                .iter()
                .filter(|handler| group_of(&app.name, handler) == &**group)
                .copied()
                .collect();
            let runtimes: Vec<HandlerRuntime> = members
                .iter()
                .map(|member| HandlerRuntime::new(group, member))
                .collect();
            contexts.push(Arc::new(GroupContext {
                group: group.clone(),
                routes: routes(&members, &app.default_types),
                handler_ids: runtimes.iter().map(|runtime| runtime.id.clone()).collect(),
                handlers: runtimes,
                app: context.clone(),
                dedup: dedup.as_ref().map(|store| DedupPlan {
                    store: store.clone(),
                    lease: settings.dedup_lease.max(SHORTEST_LEASE),
                    fail_open: settings.dedup_fail_open,
                    outage: Outage::default(),
                }),
                inbox: app.inbox.as_ref().map(|store| InboxPlan {
                    store: store.clone(),
                    outage: Outage::default(),
                }),
                limits: Limits {
                    in_flight: settings.max_in_flight.max(1),
                    buffered: settings.max_buffered.max(2),
                    buffered_bytes: settings.max_buffered_bytes.max(2),
                    uncommitted: settings.max_uncommitted.max(2),
                    // The other half is for what was begun last.
                    catch_up: settings.drain_timeout.min(settings.shutdown_timeout) / 2,
                },
            }));
        }
        let store = dedup.as_ref().map(|store| store.describe());
        for context in &contexts {
            announce(&app.name, context, store.as_deref());
        }
        let handles = contexts
            .iter()
            .map(|context| {
                let source = SourceSettings {
                    connection: topology.connection.clone(),
                    start_from: settings.start_from,
                    drain_timeout: settings.drain_timeout,
                    embedded: broker.is_some(),
                };
                consumer::start(context.clone(), source)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut running = Running::new(
            app.name, topology, publisher, contexts, handles, broker, &settings,
        );
        if let Some(inbox) = app.inbox {
            running.clean(inbox);
        }
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        for relay in app.relays {
            running.relay(relay)?;
        }
        Ok(running)
    }
}

fn routes(handlers: &[HandlerDefinition], default_types: &BTreeMap<String, String>) -> Routes {
    let mut routes = Routes::default();
    let mut topics: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    for (index, handler) in handlers.iter().enumerate() {
        let topic = topics
            .entry(handler.topic)
            .or_insert_with(|| handler.topic.into());
        routes.add(topic, handler.event_type, index as u32);
    }
    for (topic, event_type) in default_types {
        routes.set_default_type(topic, event_type);
    }
    routes
}

/// One line for each handler: what it will do.
fn announce(app: &str, group: &GroupContext, store: Option<&str>) {
    for handler in &group.handlers {
        let HandlerDefinition {
            name,
            event_type,
            topic,
            policy,
            ..
        } = &handler.definition;
        let retry = policy.retry;
        let dedup = match (&group.inbox, policy.dedup, store) {
            (Some(inbox), ..) if handler.definition.inbox => {
                format!("by the inbox `{}`", inbox.store.describe())
            }
            (_, Some(dedup), Some(store)) => {
                format!("{} in {store}", humantime::format_duration(dedup.ttl))
            }
            _ => "none".to_owned(),
        };
        tracing::info!(
            target: "eventkit::app",
            app,
            "{name}: {event_type} from `{topic}`, group {}, order {}, {} attempts {:?}..{:?} apart, dedup {dedup}, dead letters to `{}`",
            group.group,
            policy.order,
            retry.attempts,
            retry.min,
            retry.max,
            policy.dead_letter_topic.map_or_else(|| default_topic(topic, &group.group), str::to_owned),
        );
    }
}
