//! What reads bytes from outside, for the fuzz targets in `tests/fuzz`: each
//! function takes any bytes and panics where a promise is broken.
//!
//! The bytes are a record as text: a line for its key, lines `name: value` for
//! its headers (without colon: a null value), an empty line, its payload. A
//! record without an empty line has a null payload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::__offline;
use crate::app::GroupTopology;
use crate::consumer::{GroupContext, Inbound, Names, PartitionContext, Route, Routes, Stop};
use crate::dlq::{DeadLetter, Failure, Story};
use crate::event::wire::{Attributes, is_clean, is_traceparent};
use crate::event::{Event, Record, headers};
use crate::ffi;
use crate::handler::{Delivery, HandlerError, Shared};

const TOPIC: &str = "orders";
const GROUP: &str = "group";

type Header = (Vec<u8>, Option<Vec<u8>>);

/// Attributes are read from any headers, and what is malformed counts as absent.
pub fn attributes(bytes: &[u8]) {
    let record = record(bytes);
    let metadata = Attributes::new(&record, None, None).metadata(1);
    assert!(is_clean(&metadata.id) && is_clean(&metadata.source));
    assert!(is_clean(&metadata.correlation_id));
    let optional = [&metadata.subject, &metadata.causation_id];
    assert!(optional.into_iter().flatten().all(|text| is_clean(text)));
    let traceparent = metadata.traceparent.as_deref();
    assert!(traceparent.is_none_or(is_traceparent));
    assert!(traceparent.is_some() || metadata.tracestate.is_none());
    let typed = Attributes::new(&record, None, Some("Any.v1"));
    assert!(typed.event_type().is_some_and(is_clean));
}

/// Any record is decoded, or refused with a reason; and an event is the same in
/// binary mode, in structured mode, and in structured mode as bytes.
pub fn envelope<E: Event + PartialEq + Debug>(bytes: &[u8]) {
    let record = record(bytes);
    let as_it_is = decode::<E>(record.clone());
    let Some(payload) = record.payload() else {
        return;
    };
    if let Some(Err(reason)) = as_it_is {
        assert!(!reason.is_empty() && !reason.contains('\n'));
    }
    let binary = decode::<E>(of_type(E::TYPE, payload))
        .expect("it has a handler")
        .ok();
    let bytes = BASE64_STANDARD.encode(payload);
    let of_bytes = decode::<E>(structured(E::TYPE, &format!(r#""data_base64":"{bytes}""#)));
    assert_eq!(of_bytes.expect("it has a handler").ok(), binary);
    if let Ok(json) = serde_json::from_slice::<&RawValue>(payload) {
        let of_json = decode::<E>(structured(E::TYPE, &format!(r#""data":{json}"#)));
        assert_eq!(of_json.expect("it has a handler").ok(), binary);
    }
}

/// A dead letter keeps any record byte for byte, and leads it back to where it
/// was; a record that somebody else wrote leads nowhere else.
pub fn dead_letter(bytes: &[u8]) {
    let record = record(bytes);
    let declared = GroupTopology {
        topics: BTreeSet::from([TOPIC.to_owned()]),
        handlers: BTreeSet::new(),
        dead_letter_topics: BTreeMap::new(),
    };
    // As a letter that somebody else wrote.
    let mut story = Story::default();
    for (name, value) in &listed(&record) {
        story.read(name, value.as_deref());
    }
    if let Some(way) = story.way_back(GROUP, &declared) {
        assert_eq!(way.topic, TOPIC);
    }
    // As a record that a handler failed on.
    let text = String::from_utf8_lossy(bytes).into_owned();
    let failure = Failure::now(&HandlerError::retry(text), 3);
    let inbound = Inbound {
        record,
        structured: None,
        round: bytes.len() as u32,
    };
    let letter = DeadLetter::new(&CONTEXT, &inbound, None, &failure);
    let record = &inbound.record;
    let mut original = listed(record);
    original.retain(|(name, _)| !headers::is_own(name));
    for cut in [false, true] {
        let written = letter.record(cut);
        assert_eq!(written.key, record.key());
        assert_eq!(written.payload, record.payload());
        let mut story = Story::default();
        ffi::for_each_own_header(&written.headers, |name, value| {
            if name == headers::ERROR_MESSAGE.as_bytes() {
                let message = std::str::from_utf8(value.expect("a message")).expect("text");
                assert!(message.len() <= 1024 && !message.contains(char::is_control));
            }
            story.read(name, value);
        });
        let way = story.way_back(GROUP, &declared).expect("it is ours");
        assert_eq!((way.topic.as_str(), way.partition), (TOPIC, Some(3)));
        let mut back: Vec<Header> = Vec::new();
        ffi::for_each_own_header(&way.headers, |name, value| {
            back.push((name.to_vec(), value.map(<[u8]>::to_vec)));
        });
        let ours = back.split_off(back.len() - 2);
        assert_eq!(ours[0].1.as_deref(), Some(&b"group/*"[..]));
        let round = (bytes.len() + 1).to_string().into_bytes();
        assert_eq!(ours[1].1, Some(round));
        if cut {
            assert!(back.iter().all(|header| original.contains(header)));
        } else {
            assert_eq!(back, original);
        }
    }
}

fn record(bytes: &[u8]) -> Record {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, payload) = match end {
        Some(end) => (&bytes[..end], Some(&bytes[end + 2..])),
        None => (bytes, None),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let key = lines.next().filter(|key| !key.is_empty());
    let headers: Vec<(&[u8], Option<&[u8]>)> = lines
        .map(|line| {
            let colon = line.windows(2).position(|pair| pair == b": ");
            let name = &line[..colon.unwrap_or(line.len())];
            // librdkafka's names end at a null byte.
            let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
            (name, colon.map(|colon| &line[colon + 2..]))
        })
        .collect();
    Record::for_test(TOPIC, key, payload, &headers)
}

fn of_type(event_type: &str, payload: &[u8]) -> Record {
    let head = format!("key\nce_type: {event_type}\n\n");
    record(&[head.as_bytes(), payload].concat())
}

fn structured(event_type: &str, data: &str) -> Record {
    let mode = headers::STRUCTURED_JSON;
    record(format!("key\ncontent-type: {mode}\n\n{{\"type\":\"{event_type}\",{data}}}").as_bytes())
}

fn listed(record: &Record) -> Vec<Header> {
    record
        .each_header()
        .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
        .collect()
}

/// What the record's handler would get, or why it gets nothing; `None` when no
/// handler takes it.
fn decode<E: Event>(record: Record) -> Option<Result<E, String>> {
    let mut routes = Routes::default();
    routes.add(&TOPIC.into(), E::TYPE, 0);
    let names = Names {
        group: GROUP,
        handlers: &["group/handler".into()],
    };
    match routes.topic(TOPIC).route(record, &names) {
        Route::Skip => None,
        Route::Undecodable { reason, .. } => Some(Err(reason)),
        Route::Handlers { inbound, .. } => {
            let context = PartitionContext::new(CONTEXT.clone(), TOPIC, Stop::new());
            let delivery = Delivery::new(Arc::new(context), Shared::Alone(inbound), 0);
            delivery.metadata();
            Some(delivery.event().map_err(|error| error.text()))
        }
    }
}

static CONTEXT: LazyLock<Arc<GroupContext>> = LazyLock::new(|| __offline::group(GROUP, &[]));
