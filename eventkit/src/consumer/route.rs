use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::structured::{self, Structured};
use crate::event::wire::Attributes;
use crate::event::{Record, headers};

/// Which handlers of a group take which event type of a topic.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topics: HashMap<Arc<str>, TopicRoutes>,
}

/// The same for one topic.
#[derive(Debug, Default, Clone)]
pub(crate) struct TopicRoutes {
    default_type: Option<Arc<str>>,
    events: HashMap<&'static str, EventRoute>,
}

/// An event type's handlers, by their index in the group.
#[derive(Debug, Clone)]
struct EventRoute {
    event: u32,
    handlers: Vec<u32>,
}

/// A record that was looked at once, for all its deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Inbound {
    pub(crate) record: Record,
    pub(crate) structured: Option<Arc<Structured>>,
    /// Which replay of the record this is; 0 for the original.
    pub(crate) round: u32,
}

/// What is to be done with a record.
pub(crate) enum Route<'r> {
    /// These handlers, each on its own.
    Handlers {
        event: u32,
        handlers: &'r [u32],
        inbound: Inbound,
    },
    /// No handler of this group takes it.
    Skip,
    /// It does not say what it is.
    Undecodable { inbound: Inbound, reason: String },
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
            handlers: Vec::new(),
        });
        route.handlers.push(handler);
    }

    pub(crate) fn set_default_type(&mut self, topic: &str, event_type: &str) {
        if let Some(routes) = self.topics.get_mut(topic) {
            routes.default_type = Some(event_type.into());
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    pub(crate) fn topic(&self, topic: &str) -> TopicRoutes {
        self.topics.get(topic).cloned().unwrap_or_default()
    }
}

const NO_TYPE: &str = "no `ce_type` header, and the topic has no default type";

/// The headers that decide where a record goes, found in one pass.
#[derive(Default)]
struct Signs<'a> {
    content_type: Option<Option<&'a [u8]>>,
    event_type: Option<Option<&'a [u8]>>,
    replay_for: Option<Option<&'a [u8]>>,
    replay_count: Option<Option<&'a [u8]>>,
}

impl<'a> Signs<'a> {
    fn of(record: &'a Record) -> Self {
        let mut signs = Self::default();
        for (name, value) in record.each_header() {
            let sign = if name == headers::TYPE.as_bytes() {
                &mut signs.event_type
            } else if name == headers::CONTENT_TYPE.as_bytes() {
                &mut signs.content_type
            } else if name == headers::REPLAY_FOR.as_bytes() {
                &mut signs.replay_for
            } else if name == headers::REPLAY_COUNT.as_bytes() {
                &mut signs.replay_count
            } else {
                continue;
            };
            // Of repeated ones the first counts.
            sign.get_or_insert(value);
        }
        signs
    }

    fn text(sign: Option<Option<&'a [u8]>>) -> Option<&'a str> {
        sign.flatten()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    fn round(&self) -> u32 {
        let replayed = self.replay_for.flatten().is_some();
        Self::text(self.replay_count)
            .filter(|_| replayed)
            .and_then(|count| count.parse().ok())
            .unwrap_or(u32::from(replayed))
    }
}

/// [`Route`] before the record is moved into it.
enum Decision<'r> {
    Handlers(&'r EventRoute, &'r [u32]),
    Skip,
    Undecodable(String),
}

impl TopicRoutes {
    pub(crate) fn default_type(&self) -> Option<&str> {
        self.default_type.as_deref()
    }

    /// Finds a record's handlers.
    pub(crate) fn route(&self, record: Record, names: &Names<'_>) -> Route<'_> {
        let signs = Signs::of(&record);
        let round = signs.round();
        let is_structured =
            Signs::text(signs.content_type).is_some_and(structured::is_content_type);
        let mut structured = None;
        let decision = if is_structured {
            match Structured::parse(record.payload().unwrap_or_default()) {
                Ok(parsed) => {
                    let decision = {
                        let attributes =
                            Attributes::new(&record, Some(&parsed), self.default_type());
                        self.decide(attributes.event_type(), &signs, names)
                    };
                    structured = Some(Arc::new(parsed));
                    decision
                }
                Err(error) => {
                    let place = format!("line {} column {}", error.line(), error.column());
                    let reason = format!("not a structured CloudEvent, {place}");
                    Self::undecodable(reason, &signs, names)
                }
            }
        } else {
            let named = Signs::text(signs.event_type).or(self.default_type());
            self.decide(named, &signs, names)
        };
        let inbound = Inbound {
            record,
            structured,
            round,
        };
        match decision {
            Decision::Skip => Route::Skip,
            Decision::Undecodable(reason) => Route::Undecodable { inbound, reason },
            Decision::Handlers(route, handlers) => Route::Handlers {
                event: route.event,
                handlers,
                inbound,
            },
        }
    }

    fn decide(&self, named: Option<&str>, signs: &Signs<'_>, names: &Names<'_>) -> Decision<'_> {
        let Some(named) = named else {
            return Self::undecodable(NO_TYPE.to_owned(), signs, names);
        };
        let Some(route) = self.events.get(named) else {
            return Decision::Skip;
        };
        let all = &*route.handlers;
        match Signs::text(signs.replay_for) {
            None => Decision::Handlers(route, all),
            Some(named) if names.is_whole_group(named) => Decision::Handlers(route, all),
            Some(named) => match all.iter().position(|handler| names.is(*handler, named)) {
                Some(at) => Decision::Handlers(route, &all[at..=at]),
                None => Decision::Skip,
            },
        }
    }

    fn undecodable(reason: String, signs: &Signs<'_>, names: &Names<'_>) -> Decision<'static> {
        match Signs::text(signs.replay_for) {
            Some(named) if !names.is_whole_group(named) => Decision::Skip,
            _ => Decision::Undecodable(reason),
        }
    }
}
