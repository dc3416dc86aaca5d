use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::event::structured::Structured;
use crate::event::wire::Attributes;
use crate::event::{Event, Headers, Metadata, Record, headers};
use crate::handler::HandlerError;
use crate::publisher::Publisher;

/// One event on its way through one handler: what parameters are made from.
///
/// Cheap to clone. It outlives neither retries nor the partition: a later
/// attempt is a new `Delivery`.
#[derive(Clone)]
pub struct Delivery {
    inner: Arc<Inner>,
}

struct Inner {
    record: Arc<Record>,
    /// The record's payload taken apart, where it is a structured CloudEvent.
    structured: Option<Arc<Structured>>,
    default_type: Option<Arc<str>>,
    handler: Arc<str>,
    attempt: u32,
    app: Arc<AppContext>,
    cancel: CancellationToken,
    /// How many events the handler published by itself, to number the next one.
    published: AtomicU32,
    metadata: OnceLock<Metadata>,
}

/// What all handlers of an App share.
pub(crate) struct AppContext {
    pub(crate) states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) publisher: Publisher,
}

impl Delivery {
    pub(crate) fn new(
        record: Arc<Record>,
        structured: Option<Arc<Structured>>,
        default_type: Option<Arc<str>>,
        handler: Arc<str>,
        attempt: u32,
        app: Arc<AppContext>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                record,
                structured,
                default_type,
                handler,
                attempt,
                app,
                cancel,
                published: AtomicU32::new(0),
                metadata: OnceLock::new(),
            }),
        }
    }

    /// Decodes the event from the payload.
    ///
    /// # Errors
    ///
    /// When the payload is not JSON of this type; the delivery then goes to the
    /// dead-letter topic as undecodable, with its bytes intact.
    pub fn event<E: Event>(&self) -> Result<E, HandlerError> {
        let payload = match &self.inner.structured {
            Some(event) => event.data(),
            None => self.inner.record.payload().ok_or_else(|| {
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

    /// The event's attributes.
    pub fn metadata(&self) -> &Metadata {
        self.inner
            .metadata
            .get_or_init(|| self.attributes().metadata(self.inner.attempt))
    }

    /// The record's headers, in order, as they came.
    pub fn headers(&self) -> Headers {
        self.inner.record.headers()
    }

    /// The record's payload, as it came; `None` for a tombstone.
    pub fn payload(&self) -> Option<Bytes> {
        self.inner.record.payload_bytes()
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// Group and name of the handler, as `group/name`.
    pub fn handler(&self) -> &str {
        &self.inner.handler
    }

    /// A state that was given to the App.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.inner
            .app
            .states
            .get(&TypeId::of::<T>())
            .and_then(|state| state.downcast_ref::<T>())
            .cloned()
    }

    /// The App's publisher.
    pub fn publisher(&self) -> Publisher {
        self.inner.app.publisher.clone()
    }

    /// Cancelled when the handler should come to an end: the App shuts down,
    /// the partition is moving away, or the dedup claim was lost.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.inner.cancel.clone()
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::new(
            &self.inner.record,
            self.inner.structured.as_deref(),
            self.inner.default_type.as_deref(),
        )
    }

    /// The number of the next event that the handler publishes by itself.
    pub(crate) fn next_published(&self) -> u32 {
        self.inner.published.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn correlation_id(&self) -> Cow<'_, str> {
        self.attributes().correlation_id()
    }

    /// The W3C trace headers as they came, for publishing without a tracing set-up.
    pub(crate) fn trace_headers(&self) -> Headers {
        let mut kept = self.inner.record.headers();
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

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let record = &self.inner.record;
        f.debug_struct("Delivery")
            .field("handler", &self.inner.handler)
            .field("topic", &record.topic)
            .field("partition", &record.partition)
            .field("offset", &record.offset)
            .field("attempt", &self.inner.attempt)
            .finish_non_exhaustive()
    }
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
