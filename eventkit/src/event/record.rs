use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Headers;
use crate::ffi::Fetched;

/// What a record occupies beside its key and payload, about: librdkafka's and
/// our own book-keeping, and the headers.
const OVERHEAD: usize = 768;

/// One record as it came from the broker, byte for byte.
///
/// It stays where librdkafka put it and is read from there. A clone is a copy
/// of its own, which may outlive the consumer.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    content: Content,
}

enum Content {
    Fetched(Fetched),
    Copied(Copied),
}

/// What a partition is sent, and makes a record of when its turn comes.
pub(crate) trait Received {
    fn into_record(self, topic: Arc<str>) -> Record;
}

impl Received for Fetched {
    fn into_record(mut self, topic: Arc<str>) -> Record {
        self.read_headers();
        Record {
            topic,
            partition: self.partition(),
            offset: self.offset(),
            content: Content::Fetched(self),
        }
    }
}

#[cfg(feature = "__counts")]
impl Received for Record {
    fn into_record(self, topic: Arc<str>) -> Record {
        Self { topic, ..self }
    }
}

impl Record {
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Fetched(message) => message.key(),
            Content::Copied(copied) => copied.key.as_ref().map(|span| copied.slice(span)),
        }
    }

    pub(crate) fn payload(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Fetched(message) => message.payload(),
            Content::Copied(copied) => copied.payload.as_ref().map(|span| copied.slice(span)),
        }
    }

    /// Milliseconds since the epoch, as the broker reports them.
    pub(crate) fn timestamp(&self) -> Option<i64> {
        match &self.content {
            Content::Fetched(message) => message.timestamp(),
            Content::Copied(copied) => copied.timestamp,
        }
    }

    /// Its headers, in order, with repeated names and null values.
    pub(crate) fn each_header(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        (0..).map_while(|index| match &self.content {
            Content::Fetched(message) => message.header(index),
            Content::Copied(copied) => copied.header(index),
        })
    }

    /// The first header of this name; a null value counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.each_header()
            .find(|(header, _)| *header == name.as_bytes())
            .and_then(|(_, value)| value)
    }

    pub(crate) fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(crate) fn key_bytes(&self) -> Option<Bytes> {
        self.key().map(Bytes::copy_from_slice)
    }

    pub(crate) fn payload_bytes(&self) -> Option<Bytes> {
        self.payload().map(Bytes::copy_from_slice)
    }

    /// All headers as a value of their own.
    pub(crate) fn headers(&self) -> Headers {
        let copied = self.copied();
        copied
            .headers
            .iter()
            .map(|header| {
                (
                    copied.share(&header.name),
                    header.value.as_ref().map(|span| copied.share(span)),
                )
            })
            .collect()
    }

    /// What the record occupies in memory, about.
    pub(crate) fn size(&self) -> usize {
        size(self.key(), self.payload())
    }

    fn copied(&self) -> Copied {
        if let Content::Copied(copied) = &self.content {
            return copied.clone();
        }
        let mut copy = RecordBuilder::with_capacity(self.size(), 12);
        copy.key(self.key());
        copy.payload(self.payload());
        for (name, value) in self.each_header() {
            copy.header(name, value);
        }
        copy.copied(self.timestamp())
    }
}

/// What a message occupies in memory, about.
pub(crate) fn size_of_message(message: &Fetched) -> usize {
    size(message.key(), message.payload())
}

fn size(key: Option<&[u8]>, payload: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + OVERHEAD
}

impl Clone for Record {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            content: Content::Copied(self.copied()),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fetched(_) => "Fetched",
            Self::Copied(_) => "Copied",
        })
    }
}

/// A record in one allocation for its data and one for the places of its headers.
#[derive(Clone)]
struct Copied {
    timestamp: Option<i64>,
    data: Bytes,
    key: Option<Span>,
    payload: Option<Span>,
    headers: Arc<[HeaderSpan]>,
}

type Span = Range<u32>;

struct HeaderSpan {
    name: Span,
    value: Option<Span>,
}

impl Copied {
    fn header(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let header = self.headers.get(index)?;
        let value = header.value.as_ref().map(|span| self.slice(span));
        Some((self.slice(&header.name), value))
    }

    fn slice(&self, span: &Span) -> &[u8] {
        &self.data[span.start as usize..span.end as usize]
    }

    fn share(&self, span: &Span) -> Bytes {
        self.data.slice(span.start as usize..span.end as usize)
    }
}

/// Lays the parts of a record into one buffer.
struct RecordBuilder {
    data: Vec<u8>,
    key: Option<Span>,
    payload: Option<Span>,
    headers: Vec<HeaderSpan>,
}

impl RecordBuilder {
    fn with_capacity(bytes: usize, headers: usize) -> Self {
        Self {
            data: Vec::with_capacity(bytes),
            key: None,
            payload: None,
            headers: Vec::with_capacity(headers),
        }
    }

    fn key(&mut self, key: Option<&[u8]>) {
        self.key = key.map(|bytes| self.append(bytes));
    }

    fn payload(&mut self, payload: Option<&[u8]>) {
        self.payload = payload.map(|bytes| self.append(bytes));
    }

    fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = self.append(name);
        let value = value.map(|bytes| self.append(bytes));
        self.headers.push(HeaderSpan { name, value });
    }

    fn copied(self, timestamp: Option<i64>) -> Copied {
        Copied {
            timestamp,
            data: self.data.into(),
            key: self.key,
            payload: self.payload,
            headers: self.headers.into(),
        }
    }

    // A Kafka record is bounded by an i32 length, so u32 positions hold it.
    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        start..self.data.len() as u32
    }
}

#[cfg(any(test, feature = "__fuzz", feature = "__counts"))]
impl Record {
    /// A record that never saw a broker.
    pub(crate) fn for_test(
        topic: &str,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Self {
        let mut builder = RecordBuilder::with_capacity(0, 0);
        builder.payload(payload);
        builder.key(key);
        for (name, value) in headers {
            builder.header(name, *value);
        }
        Self {
            topic: topic.into(),
            partition: 3,
            offset: 42,
            content: Content::Copied(builder.copied(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type RawHeader = (Vec<u8>, Option<Vec<u8>>);

    fn raw_headers() -> impl Strategy<Value = Vec<RawHeader>> {
        let name = prop_oneof![
            Just(b"x".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..12)
        ];
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        proptest::collection::vec((name, value), 0..20)
    }

    proptest! {
        #[test]
        fn gives_back_the_bytes_it_was_built_from(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            payload in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            headers in raw_headers(),
        ) {
            let given: Vec<(&[u8], Option<&[u8]>)> =
                headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let record = Record::for_test("orders", key.as_deref(), payload.as_deref(), &given);

            prop_assert_eq!(record.key(), key.as_deref());
            prop_assert_eq!(record.payload(), payload.as_deref());
            let read: Vec<RawHeader> = record
                .headers()
                .iter()
                .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(read, headers);
        }
    }
}
