use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use crate::consumer::{HandlerRuntime, Inbound, PartitionContext};
use crate::event::wire::Attributes;
use crate::event::{Event, Headers, Metadata, Record, headers};
use crate::handler::HandlerError;
use crate::publisher::Publisher;

/// One event on its way through one handler: what parameters are made from.
///
/// A clone has a copy of the record, which costs as much as the record is large.
/// It outlives neither retries nor the partition: what it says is true of the
/// attempt that it was made in.
pub struct Delivery {
    context: Arc<PartitionContext>,
    inbound: Shared,
    /// The handler's place in its group.
    handler: u32,
    attempt: u32,
    /// Cancelled when the dedup claim is lost or the partition is drained;
    /// without a claim the partition's own token serves.
    claim: Option<CancellationToken>,
    /// How many events the handler published by itself, to number the next one.
    published: AtomicU32,
    metadata: OnceLock<Box<Metadata>>,
}

/// An inbound record of one delivery, or of several.
pub(crate) enum Shared {
    Alone(Inbound),
    Among(Arc<Among>),
}

/// What several handlers' deliveries share.
pub(crate) struct Among {
    inbound: Inbound,
    /// The event, once one of them has decoded it and if it can be cloned.
    event: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Among {
    pub(crate) fn new(inbound: Inbound) -> Self {
        Self {
            inbound,
            event: OnceLock::new(),
        }
    }

    fn event<E: Event>(&self) -> Result<E, HandlerError> {
        let decoded = self.event.get().and_then(|event| event.downcast_ref::<E>());
        if let Some(event) = decoded.and_then(E::__cloned) {
            return Ok(event);
        }
        let event: E = decode(&self.inbound)?;
        if let Some(clone) = event.__cloned() {
            // Another handler's type may have come first.
            let _ = self.event.set(Box::new(clone));
        }
        Ok(event)
    }
}

impl Deref for Shared {
    type Target = Inbound;

    fn deref(&self) -> &Inbound {
        match self {
            Self::Alone(inbound) => inbound,
            Self::Among(among) => &among.inbound,
        }
    }
}

/// What all handlers of an App share.
pub(crate) struct AppContext {
    pub(crate) states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) publisher: Publisher,
}

impl Delivery {
    pub(crate) fn new(context: Arc<PartitionContext>, inbound: Shared, handler: u32) -> Self {
        Self {
            context,
            inbound,
            handler,
            attempt: 1,
            claim: None,
            published: AtomicU32::new(0),
            metadata: OnceLock::new(),
        }
    }

    /// Makes it the delivery of a later attempt.
    pub(crate) fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
        *self.published.get_mut() = 0;
        self.metadata = OnceLock::new();
    }

    /// The handler runs once more, in the same attempt.
    pub(crate) fn begin_again(&self) {
        self.published.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_claim(&mut self, claim: CancellationToken) {
        self.claim = Some(claim);
    }

    pub(crate) fn context(&self) -> &PartitionContext {
        &self.context
    }

    pub(crate) fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    pub(crate) fn record(&self) -> &Record {
        &self.inbound.record
    }

    pub(crate) fn runtime(&self) -> &HandlerRuntime {
        &self.context.group.handlers[self.handler as usize]
    }

    /// Decodes the event from the payload.
    ///
    /// # Errors
    ///
    /// When the payload is not JSON of this type; the delivery then goes to the
    /// dead-letter topic as undecodable, with its bytes intact.
    pub fn event<E: Event>(&self) -> Result<E, HandlerError> {
        match &self.inbound {
            Shared::Alone(inbound) => decode(inbound),
            Shared::Among(among) => among.event(),
        }
    }

    /// The event's attributes.
    pub fn metadata(&self) -> &Metadata {
        self.metadata
            .get_or_init(|| Box::new(self.attributes().metadata(self.attempt)))
    }

    /// The record's headers, in order, as they came.
    pub fn headers(&self) -> Headers {
        self.record().headers()
    }

    /// The record's payload, as it came; `None` for a tombstone.
    pub fn payload(&self) -> Option<Bytes> {
        self.record().payload_bytes()
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Group and name of the handler, as `group/name`.
    pub fn handler(&self) -> &str {
        &self.runtime().id
    }

    /// A state that was given to the App.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.app()
            .states
            .get(&TypeId::of::<T>())
            .and_then(|state| state.downcast_ref::<T>())
            .cloned()
    }

    /// The App's publisher.
    pub fn publisher(&self) -> Publisher {
        self.app().publisher.clone()
    }

    /// Cancelled when the handler should come to an end: the App shuts down,
    /// the partition is moving away, or the dedup claim was lost.
    pub fn cancellation_token(&self) -> CancellationToken {
        let drain = &self.context.stop.drain;
        self.claim.as_ref().unwrap_or(drain).clone()
    }

    fn app(&self) -> &AppContext {
        &self.context.group.app
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(
            self.record(),
            self.inbound.structured.as_deref(),
            self.context.routes.default_type(),
        )
    }

    /// The number of the next event that the handler publishes by itself.
    pub(crate) fn next_published(&self) -> u32 {
        self.published.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn correlation_id(&self) -> Cow<'_, str> {
        self.attributes().correlation_id()
    }

    /// The W3C trace headers as they came, for publishing without a tracing set-up.
    pub(crate) fn trace_headers(&self) -> Headers {
        let mut kept = self.record().headers();
        let traced = self.attributes().traceparent().is_some();
        kept.retain(|name| {
            traced
                && (name == headers::TRACEPARENT.as_bytes()
                    || name == headers::TRACESTATE.as_bytes())
                || name == headers::BAGGAGE.as_bytes()
        });
        kept
    }
}

impl Clone for Delivery {
    fn clone(&self) -> Self {
        Self {
            context: self.context.clone(),
            inbound: Shared::Alone(self.inbound().clone()),
            handler: self.handler,
            attempt: self.attempt,
            claim: self.claim.clone(),
            published: AtomicU32::new(self.published.load(Ordering::Relaxed)),
            metadata: self.metadata.clone(),
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let record = self.record();
        f.debug_struct("Delivery")
            .field("handler", &self.handler())
            .field("topic", &record.topic)
            .field("partition", &record.partition)
            .field("offset", &record.offset)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

fn decode<E: Event>(inbound: &Inbound) -> Result<E, HandlerError> {
    let payload = match &inbound.structured {
        Some(event) => event.data(),
        None => inbound.record.payload().ok_or_else(|| {
            HandlerError::undecodable(format!(
                "the record has a null payload (a tombstone), which is no `{}`",
                E::TYPE
            ))
        })?,
    };
    serde_json::from_slice(payload).map_err(|error| {
        HandlerError::undecodable(format!("not a `{}`: {}", E::TYPE, without_content(&error)))
    })
}

/// serde's messages quote values (`invalid type: string "…"`); the place is enough.
fn without_content(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Io => "cannot be read".to_owned(),
        Category::Syntax => "malformed JSON".to_owned(),
        Category::Eof => "the JSON ends too early".to_owned(),
        Category::Data => data_error(&error.to_string()),
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

/// Field names are the type's own words and may be told; values may not.
fn data_error(text: &str) -> String {
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .find(|start| text.starts_with(**start))
        .and_then(|start| {
            let end = text[start.len()..].find('`')? + start.len();
            Some(text[..=end].to_owned())
        });
    named.unwrap_or_else(|| "a value does not fit".to_owned())
}
