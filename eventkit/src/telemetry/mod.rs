//! Traces and logs: W3C trace context over Kafka headers, and a one-line set-up
//! with an OTLP exporter.
//!
//! The spans are those of `tracing`, named and attributed by OpenTelemetry's
//! messaging conventions: `send orders` for each published event, `process
//! orders` for each delivery. Users with a subscriber of their own need nothing
//! from here but `tracing_opentelemetry`'s layer.

#[cfg(feature = "telemetry")]
mod init;
pub(crate) mod propagation;

#[cfg(feature = "telemetry")]
pub use init::{Telemetry, init};
