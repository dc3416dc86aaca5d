//! Every header name that eventkit reads or writes, and the header list itself.
//!
//! CloudEvents 1.0.2, Kafka protocol binding, binary content mode: attributes
//! are headers with the prefix `ce_`; `content-type` and the W3C trace headers
//! stand without it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

pub(crate) const SPEC_VERSION: &str = "ce_specversion";
pub(crate) const ID: &str = "ce_id";
pub(crate) const TYPE: &str = "ce_type";
pub(crate) const SOURCE: &str = "ce_source";
pub(crate) const TIME: &str = "ce_time";
pub(crate) const SUBJECT: &str = "ce_subject";
pub(crate) const CORRELATION_ID: &str = "ce_correlationid";
pub(crate) const CAUSATION_ID: &str = "ce_causationid";
pub(crate) const CONTENT_TYPE: &str = "content-type";
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";

pub(crate) const STRUCTURED_JSON: &str = "application/cloudevents+json";
pub(crate) const JSON: &str = "application/json";

// What eventkit adds to a record that it moves elsewhere.
pub(crate) const ORIGINAL_TOPIC: &str = "eventkit-original-topic";
pub(crate) const ORIGINAL_PARTITION: &str = "eventkit-original-partition";
pub(crate) const ORIGINAL_OFFSET: &str = "eventkit-original-offset";
pub(crate) const ORIGINAL_TIMESTAMP: &str = "eventkit-original-timestamp";
pub(crate) const GROUP: &str = "eventkit-group";
pub(crate) const HANDLER: &str = "eventkit-handler";
pub(crate) const ERROR_KIND: &str = "eventkit-error-kind";
pub(crate) const ERROR_MESSAGE: &str = "eventkit-error-message";
pub(crate) const ATTEMPTS: &str = "eventkit-attempts";
pub(crate) const FIRST_FAILURE: &str = "eventkit-first-failure-time";
pub(crate) const LAST_FAILURE: &str = "eventkit-last-failure-time";
pub(crate) const REPLAY_COUNT: &str = "eventkit-replay-count";
pub(crate) const REPLAY_FOR: &str = "eventkit-replay-for";
pub(crate) const HEADERS_CUT: &str = "eventkit-headers-cut";

/// Whether a header is one that eventkit adds to a dead letter or a replay;
/// these are written anew at each step.
pub(crate) fn is_own(name: &[u8]) -> bool {
    const OWN: [&str; 14] = [
        ORIGINAL_TOPIC,
        ORIGINAL_PARTITION,
        ORIGINAL_OFFSET,
        ORIGINAL_TIMESTAMP,
        GROUP,
        HANDLER,
        ERROR_KIND,
        ERROR_MESSAGE,
        ATTEMPTS,
        FIRST_FAILURE,
        LAST_FAILURE,
        REPLAY_COUNT,
        REPLAY_FOR,
        HEADERS_CUT,
    ];
    OWN.iter().any(|own| own.as_bytes() == name)
}

/// The headers of a record, in order: names may repeat, values may be null,
/// and neither need be UTF-8.
///
/// As a handler's parameter it gives the headers as they came, those of other
/// producers included.
///
/// ```
/// use eventkit::Headers;
///
/// let mut headers = Headers::new();
/// headers.append("tenant", "acme");
/// headers.append_null("deprecated");
/// assert_eq!(headers.get_str("tenant"), Some("acme"));
/// assert_eq!(headers.len(), 2);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(Bytes, Option<Bytes>)>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header behind the others; an existing one of the same name stays.
    pub fn append(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        self.entries
            .push((name_bytes(name.into()), Some(value.into())));
    }

    /// Adds a header whose value is null.
    pub fn append_null(&mut self, name: impl Into<Cow<'static, str>>) {
        self.entries.push((name_bytes(name.into()), None));
    }

    /// The value of the first header of this name, if it is not null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next().flatten()
    }

    /// The same as text; `None` also when it is not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all headers of this name, in order; null values are `None`.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = Option<&[u8]>> {
        self.entries
            .iter()
            .filter(move |(header, _)| header == name.as_bytes())
            .map(|(_, value)| value.as_deref())
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries
            .iter()
            .map(|(name, value)| (&**name, value.as_deref()))
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        self.entries.retain(|(name, _)| keep(name));
    }

    pub(crate) fn extend(&mut self, other: Headers) {
        self.entries.extend(other.entries);
    }
}

fn name_bytes(name: Cow<'static, str>) -> Bytes {
    match name {
        Cow::Borrowed(name) => Bytes::from_static(name.as_bytes()),
        Cow::Owned(name) => Bytes::from(name),
    }
}

impl FromIterator<(Bytes, Option<Bytes>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (Bytes, Option<Bytes>)>>(headers: I) -> Self {
        Self {
            entries: headers.into_iter().collect(),
        }
    }
}

// Values may hold secrets, so only names are shown.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name)))
            .finish()
    }
}
