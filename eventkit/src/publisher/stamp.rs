//! From an encoded event to a record: id, time, correlation, causation, trace.

use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use tracing::Span;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::producer::{RawRecord, is_refusal};
use crate::error::PublishError;
use crate::event::{Headers, OutgoingEvent, headers, id, wire};
use crate::ffi::append_header;
use crate::handler::Delivery;
use crate::telemetry::propagation;

/// What an event gets from where it is published.
#[derive(Debug)]
pub(super) struct Stamp {
    pub(super) id: Uuid,
    pub(super) correlation_id: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) extra: Headers,
    causation_id: Option<String>,
    /// Trace headers of the delivery, passed on where no span has a context.
    trace: Headers,
}

impl Stamp {
    /// For an event that a handler returned.
    pub(super) fn returned(delivery: &Delivery, position: usize) -> Self {
        Self::caused(delivery, &format!("returned/{position}"))
    }

    /// For an event that is published by a call, in a handler or outside.
    pub(super) fn explicit(delivery: Option<&Delivery>, event_type: &str) -> Self {
        match delivery {
            Some(delivery) => {
                let number = delivery.next_published();
                Self::caused(delivery, &format!("published/{number}/{event_type}"))
            }
            None => Self {
                id: id::fresh(),
                correlation_id: None,
                subject: None,
                extra: Headers::new(),
                causation_id: None,
                trace: Headers::new(),
            },
        }
    }

    fn caused(delivery: &Delivery, position: &str) -> Self {
        let attributes = delivery.attributes();
        let cause = attributes.id();
        Self {
            id: id::derived(&attributes.source(), &cause, delivery.handler(), position),
            correlation_id: Some(delivery.correlation_id().into_owned()),
            subject: None,
            extra: Headers::new(),
            causation_id: Some(cause.into_owned()),
            trace: delivery.trace_headers(),
        }
    }
}

/// The span of an event on its way to the broker. A relay does not know the
/// correlation id: the span below which it sends has it.
pub(crate) fn send_span(
    topic: &str,
    event_type: &str,
    id: &str,
    correlation_id: Option<&str>,
    size: usize,
) -> Span {
    tracing::info_span!(
        "send",
        otel.name = format_args!("send {topic}"),
        otel.kind = "producer",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        error.type = tracing::field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.destination.partition.id = tracing::field::Empty,
        messaging.kafka.offset = tracing::field::Empty,
        messaging.message.id = id,
        messaging.message.conversation_id = correlation_id,
        messaging.message.body.size = size,
        cloudevents.event_type = event_type,
    )
}

/// An event that can be sent as often as it takes, always the same.
#[derive(Debug)]
pub(crate) struct Prepared {
    event: OutgoingEvent,
    stamp: Stamp,
    id: IdText,
    /// Where it differs from the id.
    correlation_id: Option<String>,
    source: Arc<str>,
    time: String,
}

/// A UUID as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdText([u8; Hyphenated::LENGTH]);

impl IdText {
    fn of(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Prepared {
    pub(super) fn new(event: OutgoingEvent, mut stamp: Stamp, service: &Arc<str>) -> Self {
        Self {
            correlation_id: stamp.correlation_id.take(),
            source: event.source.map_or_else(|| service.clone(), Arc::from),
            time: wire::now(),
            id: IdText::of(stamp.id),
            event,
            stamp,
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_str()
    }

    fn correlation_id(&self) -> &str {
        self.correlation_id.as_deref().unwrap_or(self.id())
    }

    /// What is told of it once it is sent.
    pub(super) fn name(&self) -> Name {
        Name {
            id: self.id,
            event_type: self.event.event_type,
            topic: self.event.topic,
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn topic(&self) -> &'static str {
        self.event.topic
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn event_type(&self) -> &'static str {
        self.event.event_type
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.event.payload
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.event.key.as_deref()
    }

    /// The span of an event that is stored now and sent by somebody else later.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn creation_span(&self) -> Span {
        tracing::info_span!(
            "create",
            otel.name = format_args!("create {}", self.event.topic),
            otel.kind = "producer",
            messaging.system = "kafka",
            messaging.operation.name = "create",
            messaging.operation.type = "create",
            messaging.destination.name = self.event.topic,
            messaging.message.id = self.id(),
            messaging.message.conversation_id = self.correlation_id(),
            messaging.message.body.size = self.event.payload.len(),
            cloudevents.event_type = self.event.event_type,
        )
    }

    pub(super) fn span(&self) -> Span {
        send_span(
            self.event.topic,
            self.event.event_type,
            self.id(),
            Some(self.correlation_id()),
            self.event.payload.len(),
        )
    }

    pub(super) fn record(&self, span: &Span) -> RawRecord<'_> {
        let list = OwnedHeaders::new_with_capacity(12);
        self.each_header(span, |name, value| append_header(&list, name, value));
        RawRecord {
            topic: self.event.topic,
            partition: None,
            key: self.key(),
            payload: Some(&self.event.payload),
            headers: list,
        }
    }

    /// Visits the headers in the order in which they are written; `span` is the
    /// one that consumers see as their cause.
    pub(crate) fn each_header(&self, span: &Span, mut visit: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut put = |name: &str, value: &str| visit(name.as_bytes(), Some(value.as_bytes()));
        put(headers::SPEC_VERSION, "1.0");
        put(headers::ID, self.id());
        put(headers::TYPE, self.event.event_type);
        put(headers::SOURCE, &self.source);
        put(headers::TIME, &self.time);
        if let Some(subject) = self.subject() {
            put(headers::SUBJECT, subject);
        }
        put(headers::CONTENT_TYPE, headers::JSON);
        put(headers::CORRELATION_ID, self.correlation_id());
        if let Some(cause) = &self.stamp.causation_id {
            put(headers::CAUSATION_ID, cause);
        }
        let traced = propagation::inject(span, put);
        for (name, value) in self.stamp.trace.iter() {
            if !traced || name == headers::BAGGAGE.as_bytes() {
                visit(name, value);
            }
        }
        for (name, value) in self.stamp.extra.iter() {
            visit(name, value);
        }
    }

    fn subject(&self) -> Option<&str> {
        self.stamp
            .subject
            .as_deref()
            .or_else(|| std::str::from_utf8(self.key()?).ok())
            .filter(|subject| wire::is_clean(subject))
    }
}

/// Which event it is, without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) id: IdText,
    pub(super) event_type: &'static str,
    pub(super) topic: &'static str,
}

impl Name {
    pub(super) fn error(&self, source: KafkaError) -> PublishError {
        let event_type = self.event_type.to_owned();
        let topic = self.topic.to_owned();
        let refused = is_refusal(&source);
        let source = source.into();
        if refused {
            PublishError::Refused {
                event_type,
                topic,
                source,
            }
        } else {
            PublishError::Unacknowledged {
                event_type,
                topic,
                source,
            }
        }
    }
}
