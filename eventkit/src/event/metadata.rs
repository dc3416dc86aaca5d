use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

/// What is known of an event beside its content.
///
/// Attributes are those of CloudEvents 1.0. A producer that sends none of them
/// still gets an `id` (made of topic, partition and offset, so stable over
/// redelivery) and a `source` (`kafka:` and the topic).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metadata {
    /// Unique within its source. Of eventkit's own making: a UUID.
    pub id: String,
    /// The name of the event's type, with its version.
    pub event_type: String,
    /// Who said it.
    pub source: String,
    /// When it happened, if the producer said so, else the record's timestamp.
    pub time: Option<SystemTime>,
    /// What it is about; eventkit's producers put the key here.
    pub subject: Option<String>,
    /// One id for a whole flow, from the first event to the last reaction. The
    /// event's own id where the producer gave none.
    pub correlation_id: String,
    /// The id of the event whose handling published this one.
    pub causation_id: Option<String>,
    /// W3C trace context of the publisher, if it is well formed.
    pub traceparent: Option<String>,
    /// W3C `tracestate`, only beside a `traceparent`.
    pub tracestate: Option<String>,
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// The record's timestamp.
    pub timestamp: Option<SystemTime>,
    /// The record's key; `None` for a null key.
    pub key: Option<Bytes>,
    /// Which attempt at handling it this is, from 1.
    pub attempt: u32,
}
