use std::time::{Duration, SystemTime};

use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;

use crate::consumer::{GroupContext, HandlerRuntime, Inbound};
use crate::event::{Record, headers, wire};
use crate::ffi::append_header;
use crate::handler::{FailureKind, HandlerError};
use crate::publisher::RawRecord;

/// Longest error message that a dead letter carries, in bytes.
const MAX_MESSAGE: usize = 1024;

/// The topic of a group's dead letters, unless the handler names another.
pub(crate) fn default_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dlq")
}

/// Why and when a delivery failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: &'static str,
    message: String,
    attempts: u32,
    first: SystemTime,
    last: SystemTime,
}

impl Failure {
    pub(crate) fn now(error: &HandlerError, attempts: u32) -> Self {
        let now = SystemTime::now();
        Self {
            kind: kind(error),
            message: bounded(&error.text()),
            attempts,
            first: now,
            last: now,
        }
    }

    /// The same delivery failed once more.
    pub(crate) fn again(self, error: &HandlerError, attempts: u32) -> Self {
        Self {
            first: self.first,
            ..Self::now(error, attempts)
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

fn kind(error: &HandlerError) -> &'static str {
    match error.kind() {
        FailureKind::Error => "exhausted",
        FailureKind::Rejected => "rejected",
        FailureKind::Undecodable => "undecodable",
        FailureKind::Timeout => "timeout",
        FailureKind::Panic => "panic",
    }
}

/// At most [`MAX_MESSAGE`] bytes, cut between characters, on one line.
fn bounded(text: &str) -> String {
    let mut text = text.replace(char::is_control, " ");
    if text.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE - 3)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// Logs an error about a dead letter, with where it comes from and goes to.
macro_rules! report {
    ($letter:ident, { $($more:tt)* }, $($text:tt)+) => {
        tracing::error!(
            target: "eventkit::delivery",
            {
                messaging.consumer.group.name = $letter.group,
                handler = $letter.handler,
                messaging.destination.name = &*$letter.record.topic,
                messaging.destination.partition.id = $letter.record.partition,
                messaging.kafka.offset = $letter.record.offset,
                dead_letter_topic = $letter.topic,
                $($more)*
            },
            $($text)+
        )
    };
}

/// A message on its way to the dead-letter topic.
pub(crate) struct DeadLetter<'a> {
    topic: String,
    group: &'a str,
    handler: Option<&'static str>,
    record: &'a Record,
    own: Vec<(&'static str, String)>,
}

impl<'a> DeadLetter<'a> {
    pub(crate) fn new(
        group: &'a GroupContext,
        inbound: &'a Inbound,
        handler: Option<&HandlerRuntime>,
        failure: &Failure,
    ) -> Self {
        let record = &inbound.record;
        let definition = handler.map(|handler| &handler.definition);
        let topic = definition
            .and_then(|definition| definition.policy.dead_letter_topic)
            .map_or_else(|| default_topic(&record.topic, &group.group), str::to_owned);
        let mut own = vec![
            (headers::ORIGINAL_TOPIC, record.topic.to_string()),
            (headers::ORIGINAL_PARTITION, record.partition.to_string()),
            (headers::ORIGINAL_OFFSET, record.offset.to_string()),
            (headers::GROUP, group.group.to_string()),
            (headers::ERROR_KIND, failure.kind.to_owned()),
            (headers::ERROR_MESSAGE, failure.message.clone()),
            (headers::ATTEMPTS, failure.attempts.to_string()),
            (headers::FIRST_FAILURE, wire::format_time(failure.first)),
            (headers::LAST_FAILURE, wire::format_time(failure.last)),
            (headers::REPLAY_COUNT, inbound.round.to_string()),
        ];
        if let Some(timestamp) = record.timestamp() {
            own.push((headers::ORIGINAL_TIMESTAMP, timestamp.to_string()));
        }
        if let Some(definition) = definition {
            own.push((headers::HANDLER, definition.name.to_owned()));
        }
        Self {
            topic,
            group: &group.group,
            handler: definition.map(|definition| definition.name),
            record,
            own,
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The record to write. `cut`: of the original headers only those that say
    /// what the event is, since with all of them it was too large.
    pub(crate) fn record(&self, cut: bool) -> RawRecord<'_> {
        let record = self.record;
        let list = OwnedHeaders::new_with_capacity(32);
        for (name, value) in record.each_header() {
            // What an earlier replay added is written anew below.
            let own = headers::is_own(name);
            if !own && (!cut || is_vital(name, value)) {
                append_header(&list, name, value);
            }
        }
        if cut {
            append_header(&list, headers::HEADERS_CUT.as_bytes(), Some(b"true"));
        }
        for (name, value) in &self.own {
            append_header(&list, name.as_bytes(), Some(value.as_bytes()));
        }
        RawRecord {
            topic: &self.topic,
            partition: None,
            key: record.key(),
            payload: record.payload(),
            headers: list,
        }
    }

    pub(crate) fn report(&self, failure: &Failure) {
        report!(
            self,
            { attempts = failure.attempts, error.type = failure.kind },
            "dead-lettered: {}",
            failure.message
        );
    }

    pub(crate) fn report_unwritten(&self, error: &KafkaError, wait: Duration) {
        report!(
            self,
            { wait_ms = wait.as_millis() as u64, %error },
            "the dead letter cannot be written; its key waits, nothing is dropped"
        );
    }
}

/// Small CloudEvents and trace headers.
fn is_vital(name: &[u8], value: Option<&[u8]>) -> bool {
    let known = name.starts_with(b"ce_")
        || name == headers::CONTENT_TYPE.as_bytes()
        || name == headers::TRACEPARENT.as_bytes();
    known && name.len() + value.map_or(0, <[u8]>::len) <= 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_on_one_line() {
        let long = bounded(&"ä\n".repeat(2000));
        assert!(long.len() <= MAX_MESSAGE);
        assert!(!long.contains('\n'));
        assert_eq!(bounded("short"), "short");
    }
}
