use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};

/// Hands librdkafka's logs and errors to `tracing`.
#[derive(Debug, Clone)]
pub(crate) struct LoggedContext;

impl ClientContext for LoggedContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for LoggedContext {}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    // Says only that the property is experimental; what it covers we rely on, and test.
    if facility == "CONFWARN" && message.contains("enable.gapless.guarantee") {
        return;
    }
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
            tracing::error!(target: "eventkit::librdkafka", facility, "{message}");
        }
        Level::Warning => tracing::warn!(target: "eventkit::librdkafka", facility, "{message}"),
        Level::Notice | Level::Info => {
            tracing::info!(target: "eventkit::librdkafka", facility, "{message}");
        }
        Level::Debug => tracing::debug!(target: "eventkit::librdkafka", facility, "{message}"),
    }
}

pub(crate) fn log_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "eventkit::librdkafka", %error, "{reason}");
}
