use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::error::{Error, Result};

/// Logs to the terminal and, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, traces
/// over OTLP (gRPC): one line at the start of `main`.
///
/// `RUST_LOG` filters the logs, `info` by default; traces are not filtered by
/// it. The endpoint is taken from the environment as the OpenTelemetry
/// specification says, and so are `OTEL_TRACES_SAMPLER` and its argument.
///
/// Keep the returned [`Telemetry`] until the end: dropping it sends the spans
/// that are still waiting.
///
/// ```no_run
/// # async fn f() -> eventkit::Result<()> {
/// let _telemetry = eventkit::telemetry::init("inventory")?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the exporter cannot be made, or the program already has a `tracing`
/// subscriber.
pub fn init(service_name: &str) -> Result<Telemetry> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new("info"))
        .map_err(|error| Error::Telemetry(error.to_string()))?;
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let provider = match std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Ok(endpoint) if !endpoint.is_empty() => Some(provider(service_name, &endpoint)?),
        _ => None,
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("eventkit"))
            .with_filter(EnvFilter::new(
                "info,opentelemetry=off,h2=off,tonic=off,hyper=off",
            ))
    });
    tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init()
        .map_err(|error| Error::Telemetry(error.to_string()))?;
    Ok(Telemetry { provider })
}

fn provider(service_name: &str, endpoint: &str) -> Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| Error::Telemetry(format!("exporter to {endpoint}: {error}")))?;
    let resource = Resource::builder()
        .with_service_name(service_name.to_owned())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// The running set-up; sends the remaining spans when dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the export of traces"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the remaining spans now, within `timeout`.
    ///
    /// # Errors
    ///
    /// When the collector does not take them in time.
    pub fn shutdown(mut self, timeout: Duration) -> Result<()> {
        self.provider.take().map_or(Ok(()), |provider| {
            provider
                .shutdown_with_timeout(timeout)
                .map_err(|error| Error::Telemetry(error.to_string()))
        })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(Duration::from_secs(5))
        {
            tracing::warn!(%error, "spans were not sent");
        }
    }
}
