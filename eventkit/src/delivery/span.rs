//! A delivery's span, by OpenTelemetry's messaging conventions. Without a
//! subscriber that wants it, it costs one check.

use tracing::{Span, field};

use super::Context;
use super::admit::Known;
use crate::dlq::{DeadLetter, Failure};
use crate::telemetry::propagation;

pub(super) struct DeliverySpan(Option<Span>);

impl DeliverySpan {
    pub(super) fn new(context: &Context<'_>) -> Self {
        if !tracing::enabled!(target: "eventkit::delivery", tracing::Level::ERROR) {
            return Self(None);
        }
        let record = context.delivery.record();
        let attributes = context.delivery.attributes();
        // Not of this level for its weight: a filter that keeps any log line
        // of a handler keeps the span too, and with it the correlation id.
        let span = tracing::error_span!(
            target: "eventkit::delivery",
            "process",
            otel.name = format_args!("process {}", record.topic),
            otel.kind = "consumer",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            error.type = field::Empty,
            messaging.system = "kafka",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = &*record.topic,
            messaging.destination.partition.id = record.partition,
            messaging.kafka.offset = record.offset,
            messaging.consumer.group.name = &*context.group.group,
            messaging.message.id = &*attributes.id(),
            messaging.message.conversation_id = &*attributes.correlation_id(),
            cloudevents.event_type = attributes.event_type().unwrap_or_default(),
            correlation_id = &*attributes.correlation_id(),
            eventkit.handler = context.handler.definition.name,
            eventkit.outcome = field::Empty,
            eventkit.dead_letter_topic = field::Empty,
        );
        if span.is_disabled() {
            return Self(None);
        }
        if let Some((traceparent, tracestate)) = attributes.trace_context() {
            propagation::set_parent(&span, traceparent, tracestate);
        }
        Self(Some(span))
    }

    pub(super) fn tracing(&self) -> Option<&Span> {
        self.0.as_ref()
    }

    pub(super) fn duplicate(&self, known: Known) {
        let outcome = match known {
            Known::Done => "duplicate",
            Known::Dead => "duplicate of a dead letter",
        };
        if let Some(span) = &self.0 {
            span.record("eventkit.outcome", outcome);
        }
        tracing::info!(target: "eventkit::delivery", outcome, "duplicate skipped");
    }

    pub(super) fn dead_letter(&self, letter: &DeadLetter<'_>, failure: &Failure) {
        if let Some(span) = &self.0 {
            span.record("eventkit.outcome", "dead_lettered");
            span.record("eventkit.dead_letter_topic", letter.topic());
            span.record("error.type", failure.kind());
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", failure.message());
        }
    }
}
