use std::sync::Arc;

use super::{Event, EventKind, Kind};
use crate::error::EncodeError;

/// Events on their way out, encoded, in the order in which they were given.
#[derive(Default)]
pub struct Outgoing {
    pub(crate) events: Vec<OutgoingEvent>,
    way: Option<Box<dyn Way>>,
    /// How many went this way.
    gone: usize,
}

/// Where events go as soon as they are encoded, rather than wait for the others.
pub(crate) trait Way: Send + Sync {
    fn take(&mut self, event: OutgoingEvent);
}

/// One encoded event, before the publisher gives it id, time and correlation.
#[derive(Debug, Clone)]
pub(crate) struct OutgoingEvent {
    pub(crate) event_type: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) source: Option<&'static str>,
    pub(crate) key: Option<Arc<[u8]>>,
    pub(crate) payload: Vec<u8>,
}

impl Outgoing {
    /// Encodes an event and adds it.
    ///
    /// # Errors
    ///
    /// When the event cannot be written as JSON (a map with keys that are not
    /// text, say), or is a domain event.
    pub fn push<E: Event>(&mut self, event: &E) -> Result<(), EncodeError> {
        let event = OutgoingEvent::encode(event)?;
        match &mut self.way {
            Some(way) => {
                way.take(event);
                self.gone += 1;
            }
            None => self.events.push(event),
        }
        Ok(())
    }

    /// How many events were added.
    pub fn len(&self) -> usize {
        self.gone + self.events.len()
    }

    /// Whether none were added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that go this way at once.
    pub(crate) fn by(way: impl Way + 'static) -> Self {
        Self {
            way: Some(Box::new(way)),
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("events", &self.events)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

impl OutgoingEvent {
    pub(crate) fn encode<E: Event>(event: &E) -> Result<Self, EncodeError> {
        if E::Kind::KIND == Kind::Domain {
            return Err(EncodeError::domain(E::TYPE));
        }
        // Most events fit; serde's own beginning of 128 bytes is moved twice.
        let mut payload = Vec::with_capacity(512);
        serde_json::to_writer(&mut payload, event)
            .map_err(|error| EncodeError::json(E::TYPE, &error))?;
        Ok(Self {
            event_type: E::TYPE,
            topic: E::TOPIC,
            source: E::SOURCE,
            key: event.key().map(|key| Arc::from(&*key)),
            payload,
        })
    }
}

/// What a handler may return, beside nothing: an event, an enum of events that
/// derives [`Event`](macro@crate::Event), and `Option`, `Vec` and tuples of these.
///
/// `#[derive(Event)]` implements it for integration events, commands and sets.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be published",
    label = "not something that can be published",
    note = "what can: an event, an enum of events, `()`, and `Option`, `Vec` or a tuple of these",
    note = "a domain event stays inside its service and is not published"
)]
pub trait IntoEvents {
    /// Encodes the events, in order, into `out`.
    ///
    /// # Errors
    ///
    /// When an event cannot be encoded; those before it stay in `out`.
    fn into_events(self, out: &mut Outgoing) -> Result<(), EncodeError>;
}

impl IntoEvents for () {
    fn into_events(self, _: &mut Outgoing) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl<T: IntoEvents> IntoEvents for Option<T> {
    fn into_events(self, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.map_or(Ok(()), |events| events.into_events(out))
    }
}

impl<T: IntoEvents> IntoEvents for Vec<T> {
    fn into_events(self, out: &mut Outgoing) -> Result<(), EncodeError> {
        self.into_iter()
            .try_for_each(|events| events.into_events(out))
    }
}

impl<T: IntoEvents> IntoEvents for Box<T> {
    fn into_events(self, out: &mut Outgoing) -> Result<(), EncodeError> {
        (*self).into_events(out)
    }
}

macro_rules! tuples {
    ($(($($t:ident),+))*) => {$(
        impl<$($t: IntoEvents),+> IntoEvents for ($($t,)+) {
            #[allow(non_snake_case)]
            fn into_events(self, out: &mut Outgoing) -> Result<(), EncodeError> {
                let ($($t,)+) = self;
                $($t.into_events(out)?;)+
                Ok(())
            }
        }
    )*};
}
tuples! { (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }
