use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::structured::{Structured, is_structured};
use crate::event::wire::Attributes;
use crate::event::{Record, headers};

/// Which handlers of a group take which event type of a topic.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topics: HashMap<Arc<str>, TopicRoutes>,
}

#[derive(Debug, Default)]
struct TopicRoutes {
    default_type: Option<Arc<str>>,
    events: HashMap<&'static str, EventRoute>,
}

/// An event type's handlers, by their index in the group.
#[derive(Debug, Clone)]
struct EventRoute {
    event: u32,
    handlers: Arc<[u32]>,
}

/// A record that was looked at once, for all its deliveries.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) record: Arc<Record>,
    pub(crate) structured: Option<Arc<Structured>>,
    pub(crate) default_type: Option<Arc<str>>,
    /// Which replay of the record this is; 0 for the original.
    pub(crate) round: u32,
}

/// What is to be done with a record.
pub(crate) enum Route {
    /// These handlers, each on its own.
    Handlers {
        event: u32,
        handlers: Arc<[u32]>,
        inbound: Arc<Inbound>,
    },
    /// No handler of this group takes it.
    Skip,
    /// It does not say what it is.
    Undecodable {
        inbound: Arc<Inbound>,
        reason: String,
    },
}

/// The names by which a replay addresses this group.
pub(crate) struct Names<'a> {
    pub(crate) group: &'a str,
    /// The group's handlers as `group/name`, by their index.
    pub(crate) handlers: &'a [Arc<str>],
}

impl Names<'_> {
    fn is(&self, handler: u32, named: &str) -> bool {
        *self.handlers[handler as usize] == *named
    }

    fn is_whole_group(&self, named: &str) -> bool {
        named.strip_suffix("/*") == Some(self.group)
    }
}

impl Routes {
    pub(crate) fn add(&mut self, topic: &Arc<str>, event_type: &'static str, handler: u32) {
        let numbered: usize = self.topics.values().map(|topic| topic.events.len()).sum();
        let events = &mut self.topics.entry(topic.clone()).or_default().events;
        let route = events.entry(event_type).or_insert_with(|| EventRoute {
            event: numbered as u32,
            handlers: Arc::new([]),
        });
        route.handlers = route.handlers.iter().copied().chain([handler]).collect();
    }

    pub(crate) fn set_default_type(&mut self, topic: &str, event_type: &str) {
        if let Some(routes) = self.topics.get_mut(topic) {
            routes.default_type = Some(event_type.into());
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    /// Finds a record's handlers.
    pub(crate) fn route(&self, record: Record, names: &Names<'_>) -> Route {
        let Some(topic) = self.topics.get(&*record.topic) else {
            return Route::Skip;
        };
        if is_structured(&record) {
            return topic.structured(record, names);
        }
        let named = record
            .header_str(headers::TYPE)
            .or(topic.default_type.as_deref());
        match named.map(|named| topic.events.get(named)) {
            Some(Some(route)) => {
                let route = route.clone();
                topic.handlers(&route, record, None, names)
            }
            Some(None) => Route::Skip,
            None => topic.undecodable(record, NO_TYPE, names),
        }
    }
}

const NO_TYPE: &str = "no `ce_type` header, and the topic has no default type";

impl TopicRoutes {
    fn structured(&self, record: Record, names: &Names<'_>) -> Route {
        let parsed = Structured::parse(record.payload().unwrap_or_default());
        let structured = match parsed {
            Ok(structured) => structured,
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                let reason = format!("not a structured CloudEvent, {place}");
                return self.undecodable(record, &reason, names);
            }
        };
        let event_type = Attributes::new(&record, Some(&structured), self.default_type.as_deref())
            .event_type()
            .map(|named| self.events.get(named).cloned());
        match event_type {
            Some(Some(route)) => self.handlers(&route, record, Some(Arc::new(structured)), names),
            Some(None) => Route::Skip,
            None => self.undecodable(record, NO_TYPE, names),
        }
    }

    fn handlers(
        &self,
        route: &EventRoute,
        record: Record,
        structured: Option<Arc<Structured>>,
        names: &Names<'_>,
    ) -> Route {
        let handlers = match record.header_str(headers::REPLAY_FOR) {
            None => route.handlers.clone(),
            Some(named) if names.is_whole_group(named) => route.handlers.clone(),
            Some(named) => match route
                .handlers
                .iter()
                .find(|handler| names.is(**handler, named))
            {
                Some(handler) => Arc::new([*handler]),
                None => return Route::Skip,
            },
        };
        Route::Handlers {
            event: route.event,
            handlers,
            inbound: self.inbound(record, structured),
        }
    }

    fn undecodable(&self, record: Record, reason: &str, names: &Names<'_>) -> Route {
        let replayed_for = record.header_str(headers::REPLAY_FOR);
        if replayed_for.is_some_and(|named| !names.is_whole_group(named)) {
            return Route::Skip;
        }
        Route::Undecodable {
            inbound: self.inbound(record, None),
            reason: reason.to_owned(),
        }
    }

    fn inbound(&self, record: Record, structured: Option<Arc<Structured>>) -> Arc<Inbound> {
        let replayed = record.header(headers::REPLAY_FOR).is_some();
        let round = record
            .header_str(headers::REPLAY_COUNT)
            .filter(|_| replayed)
            .and_then(|count| count.parse().ok())
            .unwrap_or(u32::from(replayed));
        Arc::new(Inbound {
            record: Arc::new(record),
            structured,
            default_type: self.default_type.clone(),
            round,
        })
    }
}
