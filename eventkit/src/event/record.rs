use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Headers;

/// One record as it came from the broker, byte for byte, in one allocation for
/// its data and one for the positions of its headers.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the epoch, as the broker reports them.
    pub(crate) timestamp: Option<i64>,
    data: Bytes,
    key: Option<Span>,
    payload: Option<Span>,
    headers: Box<[HeaderSpan]>,
}

type Span = Range<u32>;

#[derive(Debug, Clone)]
struct HeaderSpan {
    name: Span,
    value: Option<Span>,
}

impl Record {
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|span| self.slice(span))
    }

    pub(crate) fn payload(&self) -> Option<&[u8]> {
        self.payload.as_ref().map(|span| self.slice(span))
    }

    pub(crate) fn key_bytes(&self) -> Option<Bytes> {
        self.key.as_ref().map(|span| self.share(span))
    }

    pub(crate) fn payload_bytes(&self) -> Option<Bytes> {
        self.payload.as_ref().map(|span| self.share(span))
    }

    /// The first header of this name; a null value counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|header| self.slice(&header.name) == name.as_bytes())
            .and_then(|header| header.value.as_ref())
            .map(|span| self.slice(span))
    }

    pub(crate) fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers, in order, with repeated names and null values.
    pub(crate) fn headers(&self) -> Headers {
        self.headers
            .iter()
            .map(|header| {
                (
                    self.share(&header.name),
                    header.value.as_ref().map(|span| self.share(span)),
                )
            })
            .collect()
    }

    /// What the record occupies in memory, about.
    pub(crate) fn size(&self) -> usize {
        self.data.len() + size_of_val(&*self.headers) + size_of::<Self>()
    }

    fn slice(&self, span: &Span) -> &[u8] {
        &self.data[span.start as usize..span.end as usize]
    }

    fn share(&self, span: &Span) -> Bytes {
        self.data.slice(span.start as usize..span.end as usize)
    }
}

/// Lays the parts of a record into one buffer.
pub(crate) struct RecordBuilder {
    data: Vec<u8>,
    key: Option<Span>,
    payload: Option<Span>,
    headers: Vec<HeaderSpan>,
}

impl RecordBuilder {
    pub(crate) fn with_capacity(bytes: usize, headers: usize) -> Self {
        Self {
            data: Vec::with_capacity(bytes),
            key: None,
            payload: None,
            headers: Vec::with_capacity(headers),
        }
    }

    pub(crate) fn key(&mut self, key: Option<&[u8]>) {
        self.key = key.map(|bytes| self.append(bytes));
    }

    pub(crate) fn payload(&mut self, payload: Option<&[u8]>) {
        self.payload = payload.map(|bytes| self.append(bytes));
    }

    pub(crate) fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let name = self.append(name);
        let value = value.map(|bytes| self.append(bytes));
        self.headers.push(HeaderSpan { name, value });
    }

    pub(crate) fn build(
        self,
        topic: Arc<str>,
        partition: i32,
        offset: i64,
        timestamp: Option<i64>,
    ) -> Record {
        Record {
            topic,
            partition,
            offset,
            timestamp,
            data: self.data.into(),
            key: self.key,
            payload: self.payload,
            headers: self.headers.into_boxed_slice(),
        }
    }

    // A Kafka record is bounded by an i32 length, so u32 positions hold it.
    fn append(&mut self, bytes: &[u8]) -> Span {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        start..self.data.len() as u32
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
            let mut builder = RecordBuilder::with_capacity(0, 0);
            builder.payload(payload.as_deref());
            builder.key(key.as_deref());
            for (name, value) in &headers {
                builder.header(name, value.as_deref());
            }
            let record = builder.build("orders".into(), 3, 42, None);

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
