use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// One `tracing` event, its fields as `name=value`.
#[derive(Debug, Clone)]
pub struct Logged {
    pub target: String,
    pub message: String,
    pub fields: String,
}

/// Everything that eventkit logs in this process, also from its own threads.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    seen: Arc<Mutex<Vec<Logged>>>,
}

impl Logs {
    /// Captures from now on; all tests of a program share one capture, so look
    /// for names of your own.
    pub fn capture() -> Self {
        static LOGS: OnceLock<Logs> = OnceLock::new();
        LOGS.get_or_init(|| {
            let logs = Logs::default();
            let filter = tracing_subscriber::filter::Targets::new()
                .with_target("eventkit", tracing::Level::INFO);
            // One filter for all: one of the layer's own would lose the event that
            // comes after a question of `sqlx` whether it should log.
            // Only a test's own subscriber could stand there already.
            tracing_subscriber::registry()
                .with(filter)
                .with(logs.clone())
                .init();
            logs
        })
        .clone()
    }

    /// What has this text in its message or fields.
    pub fn with(&self, text: &str) -> Vec<Logged> {
        let seen = self.seen.lock().expect("no panic while it is held");
        seen.iter()
            .filter(|logged| logged.message.contains(text) || logged.fields.contains(text))
            .cloned()
            .collect()
    }
}

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.seen
            .lock()
            .expect("no panic while it is held")
            .push(Logged {
                target: event.metadata().target().to_owned(),
                message: text.message,
                fields: text.fields,
            });
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, "{name}={value:?} "),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.fields, "{}={value} ", field.name());
    }
}
