//! From a record's headers to an event's attributes: reading is tolerant, and
//! what is malformed counts as absent.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use super::record::Record;
use super::structured::Structured;
use super::{Metadata, headers};

/// Longest attribute that is taken over from a header; longer ones count as absent.
const MAX_ATTRIBUTE: usize = 1024;

/// A borrowed view of a record's CloudEvents attributes, read on demand.
pub(crate) struct Attributes<'a> {
    record: &'a Record,
    structured: Option<&'a Structured>,
    default_type: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(
        record: &'a Record,
        structured: Option<&'a Structured>,
        default_type: Option<&'a str>,
    ) -> Self {
        Self {
            record,
            structured,
            default_type,
        }
    }

    pub(crate) fn event_type(&self) -> Option<&'a str> {
        self.attribute(headers::TYPE).or(self.default_type)
    }

    pub(crate) fn id(&self) -> Cow<'a, str> {
        self.attribute(headers::ID).map_or_else(
            || {
                let Record {
                    topic,
                    partition,
                    offset,
                    ..
                } = self.record;
                Cow::Owned(format!("{topic}/{partition}/{offset}"))
            },
            Cow::Borrowed,
        )
    }

    pub(crate) fn source(&self) -> Cow<'a, str> {
        self.attribute(headers::SOURCE).map_or_else(
            || Cow::Owned(format!("kafka:{}", self.record.topic)),
            Cow::Borrowed,
        )
    }

    pub(crate) fn correlation_id(&self) -> Cow<'a, str> {
        self.attribute(headers::CORRELATION_ID)
            .map_or_else(|| self.id(), Cow::Borrowed)
    }

    pub(crate) fn traceparent(&self) -> Option<&'a str> {
        self.trace_context().map(|(traceparent, _)| traceparent)
    }

    /// A well-formed `traceparent` and the `tracestate` that stands beside it.
    pub(crate) fn trace_context(&self) -> Option<(&'a str, Option<&'a str>)> {
        let header = |name| self.record.header_str(name);
        let attribute = |name| self.structured.and_then(|event| event.attribute(name));
        let named = |read: &dyn Fn(&'static str) -> Option<&'a str>| {
            let traceparent = read(headers::TRACEPARENT).filter(|value| is_traceparent(value))?;
            Some((traceparent, read(headers::TRACESTATE)))
        };
        named(&header).or_else(|| named(&attribute))
    }

    pub(crate) fn metadata(&self, attempt: u32) -> Metadata {
        let timestamp = self.record.timestamp().and_then(from_millis);
        let (traceparent, tracestate) = self.trace_context().unzip();
        Metadata {
            id: self.id().into_owned(),
            event_type: self.event_type().unwrap_or_default().to_owned(),
            source: self.source().into_owned(),
            time: self
                .attribute(headers::TIME)
                .and_then(parse_time)
                .or(timestamp),
            subject: self.attribute(headers::SUBJECT).map(str::to_owned),
            correlation_id: self.correlation_id().into_owned(),
            causation_id: self.attribute(headers::CAUSATION_ID).map(str::to_owned),
            traceparent: traceparent.map(str::to_owned),
            tracestate: tracestate.flatten().map(str::to_owned),
            topic: self.record.topic.clone(),
            partition: self.record.partition,
            offset: self.record.offset,
            timestamp,
            key: self.record.key_bytes(),
            attempt,
        }
    }

    fn attribute(&self, header: &str) -> Option<&'a str> {
        self.record
            .header_str(header)
            .or_else(|| {
                self.structured
                    .and_then(|event| event.attribute(header.strip_prefix("ce_")?))
            })
            .filter(|value| is_clean(value))
    }
}

/// No control characters (they would let a producer write lines into logs),
/// not empty, not endless.
pub(crate) fn is_clean(value: &str) -> bool {
    !value.is_empty() && value.len() <= MAX_ATTRIBUTE && !value.chars().any(char::is_control)
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`, lower case,
/// neither id all zeros. A later version may be longer.
pub(crate) fn is_traceparent(value: &str) -> bool {
    let bytes = value.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
    };
    let zeros = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == b'0');
    bytes.len() >= 55
        && value.is_ascii()
        && bytes[2] == b'-'
        && bytes[35] == b'-'
        && bytes[52] == b'-'
        && hex(0..2)
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && !zeros(3..35)
        && !zeros(36..52)
        && &bytes[..2] != b"ff"
        && (bytes.len() == 55 || (&bytes[..2] != b"00" && bytes[55] == b'-'))
}

pub(crate) fn from_millis(millis: i64) -> Option<SystemTime> {
    u64::try_from(millis)
        .ok()
        .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
}

pub(crate) fn parse_time(value: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = value.parse().ok()?;
    SystemTime::try_from(time).ok()
}

pub(crate) fn format_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| format!("{time:.3}"))
        .unwrap_or_default()
}

/// The time now. Events that are published together share the work of writing
/// it down.
pub(crate) fn now() -> String {
    thread_local! {
        static LAST: RefCell<(u128, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let millis = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    LAST.with_borrow_mut(|(of, text)| {
        if *of != millis || text.is_empty() {
            (*of, *text) = (millis, format_time(now));
        }
        text.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn takes_a_traceparent_only_when_well_formed() {
        assert!(is_traceparent(GOOD));
        assert!(is_traceparent(&format!("01{}-extra", &GOOD[2..])));
        for bad in [
            "",
            "00-zz",
            &GOOD[..54],
            &format!("{GOOD}-extra"),
            &GOOD.to_uppercase(),
            &format!("ff{}", &GOOD[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }

    #[test]
    fn attributes_with_line_breaks_or_escapes_count_as_absent() {
        assert!(is_clean("order-1"));
        assert!(!is_clean("a\nb"));
        assert!(!is_clean("a\u{1b}[31m"));
        assert!(!is_clean(""));
        assert!(!is_clean(&"x".repeat(2000)));
    }

    #[test]
    fn time_survives_the_wire() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(format_time(time), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse_time(&format_time(time)), Some(time));
        assert_eq!(parse_time("2023-11-15T00:13:20.123+02:00"), Some(time));
        assert_eq!(parse_time("yesterday"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(value in ".*") {
            is_traceparent(&value);
            is_clean(&value);
            parse_time(&value);
        }
    }
}
