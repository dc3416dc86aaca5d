//! Errors of the library as a whole; a handler's own are in [`HandlerError`](crate::HandlerError).

use std::fmt;

use rdkafka::error::KafkaError;

use crate::kafka::is_secret;

/// What lies below an error of ours, without its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A `Result` with eventkit's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong outside a handler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing, malformed or refused.
    #[error("settings: {0}")]
    Settings(String),
    /// The start-up checks found something wrong; all of it is listed.
    #[error("{0}")]
    Startup(Problems),
    /// Kafka refused something, or could not be reached.
    #[error("kafka: {doing}")]
    Kafka {
        /// What was being done, with topic or address.
        doing: String,
        /// What librdkafka says.
        #[source]
        source: BoxError,
    },
    /// An event could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The dedup store could not be reached or answered with an error.
    #[error(transparent)]
    Dedup(#[from] crate::dedup::DedupError),
    /// An outbox's database could not be reached or answered with an error.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[error(transparent)]
    Outbox(#[from] crate::outbox::OutboxError),
    /// The embedded broker was asked for more than it keeps.
    #[error("embedded broker: {0}")]
    Embedded(String),
    /// Not everything was finished at shutdown. What was not is delivered again.
    #[error("shutdown: {0}")]
    Unfinished(String),
    /// A consumer group cannot go on.
    #[error("group `{group}`: {reason}")]
    Group {
        /// The consumer group.
        group: String,
        /// What happened and what to do.
        reason: String,
    },
    /// Traces and logs could not be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
}

impl Error {
    pub(crate) fn kafka(doing: impl Into<String>, source: KafkaError) -> Self {
        // librdkafka's own text quotes the value, which may be a secret.
        let source = match source {
            KafkaError::ClientConfig(_, _, name, _) if is_secret(&name) => {
                format!("property `{name}` is refused").into()
            }
            KafkaError::ClientConfig(_, why, name, _) => format!("property `{name}`: {why}").into(),
            other => other.into(),
        };
        Error::Kafka {
            doing: doing.into(),
            source,
        }
    }
}

/// Everything that the start-up checks found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub(crate) app: String,
    pub(crate) found: Vec<String>,
}

impl Problems {
    /// One text per problem.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(String::as_str)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.found.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "`{}` cannot start, {count} {noun}:", self.app)?;
        self.found
            .iter()
            .try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

/// An event could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("event `{event_type}` cannot be encoded: {reason}")]
pub struct EncodeError {
    event_type: &'static str,
    reason: String,
}

impl EncodeError {
    pub(crate) fn json(event_type: &'static str, error: &serde_json::Error) -> Self {
        Self {
            event_type,
            reason: error.to_string(),
        }
    }

    pub(crate) fn domain(event_type: &'static str) -> Self {
        let reason = "a domain event stays inside its service and is not published".into();
        Self { event_type, reason }
    }
}

/// An event was not published, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event cannot be written in its format; trying again changes nothing.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The broker refuses the record for good; trying again changes nothing.
    #[error("`{event_type}` to topic `{topic}` is refused: {source}")]
    Refused {
        /// The event's type.
        event_type: String,
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: BoxError,
    },
    /// No acknowledgement within the delivery timeout. The record may still
    /// have been written, so a repetition may be a duplicate.
    #[error("`{event_type}` to topic `{topic}` was not acknowledged: {source}")]
    Unacknowledged {
        /// The event's type.
        event_type: String,
        /// The topic.
        topic: String,
        /// What librdkafka says.
        source: BoxError,
    },
}

impl PublishError {
    /// Whether the same event may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, PublishError::Unacknowledged { .. })
    }
}

/// An error and its sources on one line, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = source.source();
    }
    text
}
