//! Trace context from and to a record's headers (W3C Trace Context).
//!
//! Without the feature `telemetry`, or without an OpenTelemetry layer, spans
//! have no context of their own; then what came in is passed on as it is.

use tracing::Span;

#[cfg(feature = "telemetry")]
mod context {
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    pub(crate) fn inject(span: &Span, mut put: impl FnMut(&str, &str)) -> bool {
        if span.is_disabled() {
            return false;
        }
        let context = span.context();
        if !context.span().span_context().is_valid() {
            return false;
        }
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
        for (name, value) in &carrier {
            if !value.is_empty() {
                put(name, value);
            }
        }
        true
    }

    pub(crate) fn set_parent(span: &Span, traceparent: &str, tracestate: Option<&str>) {
        let mut carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        if let Some(tracestate) = tracestate {
            carrier.insert("tracestate".to_owned(), tracestate.to_owned());
        }
        // Fails only where no OpenTelemetry layer is installed.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
}

#[cfg(not(feature = "telemetry"))]
mod context {
    use tracing::Span;

    pub(crate) fn inject(_: &Span, _: impl FnMut(&str, &str)) -> bool {
        false
    }

    pub(crate) fn set_parent(_: &Span, _: &str, _: Option<&str>) {}
}

/// Writes the span's trace context as headers; `false` when it has none.
pub(crate) fn inject(span: &Span, put: impl FnMut(&str, &str)) -> bool {
    context::inject(span, put)
}

/// Makes the span a child of the one that a `traceparent` names.
pub(crate) fn set_parent(span: &Span, traceparent: &str, tracestate: Option<&str>) {
    context::set_parent(span, traceparent, tracestate);
}
