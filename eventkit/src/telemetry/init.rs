use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider,
};
use tracing_subscriber::filter::{FilterExt, LevelFilter, dynamic_filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
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
        .with_filter(asked_each_time(filter));
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

/// The same filter, whose answers nobody keeps for later. Where they are kept, a
/// library that asks by `log` whether it should log, and then does not, as `sqlx` does
/// for each statement, leaves that answer behind for the next event or span of the
/// thread, which is lost.
fn asked_each_time<S>(filter: EnvFilter) -> impl Filter<S>
where
    EnvFilter: Filter<S>,
{
    // Without a limit of its own, which would let everything be asked for.
    let any = dynamic_filter_fn(|_, _| true).with_max_level_hint(LevelFilter::TRACE);
    FilterExt::<S>::and(filter, any)
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
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource)
        .build())
}

/// A consumer that catches up ends tens of thousands of spans a second; the
/// usual queue of 2,048 would drop most of them. `OTEL_BSP_…` stands over this.
fn batches() -> BatchConfig {
    let given = |name| std::env::var_os(name).is_some();
    let mut config = BatchConfigBuilder::default();
    if !given("OTEL_BSP_MAX_QUEUE_SIZE") {
        config = config.with_max_queue_size(65_536);
    }
    if !given("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
        config = config.with_max_export_batch_size(4_096);
    }
    if !given("OTEL_BSP_SCHEDULE_DELAY") {
        config = config.with_scheduled_delay(Duration::from_secs(1));
    }
    config.build()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::callsite::Callsite as _;
    use tracing::{Event, Level, Metadata, Subscriber};
    use tracing_subscriber::layer::Context;

    use super::*;

    #[derive(Clone, Default)]
    struct Count(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What `log::log_enabled!` does.
    fn ask(metadata: &Metadata<'_>) {
        tracing::dispatcher::get_default(|dispatch| dispatch.enabled(metadata));
    }

    #[test]
    fn an_event_after_a_question_is_logged() {
        let (logs, traces) = (Count::default(), Count::default());
        let filter = asked_each_time(EnvFilter::new("info,eventkit=debug"));
        let limit = Filter::<tracing_subscriber::Registry>::max_level_hint(&filter);
        assert_eq!(limit, Some(LevelFilter::DEBUG));
        let subscriber = tracing_subscriber::registry()
            .with(logs.clone().with_filter(filter))
            .with(traces.clone().with_filter(EnvFilter::new("info")));
        let sqlx = tracing::callsite! {
            name: "a statement",
            kind: tracing::metadata::Kind::EVENT,
            target: "sqlx::query",
            level: Level::DEBUG,
            fields:
        };
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                ask(sqlx.metadata());
                tracing::info!("after it");
            }
        });
        assert_eq!(logs.0.load(Ordering::Relaxed), 3);
        assert_eq!(traces.0.load(Ordering::Relaxed), 3);
    }
}
