//! Whatever a producer sends ends in a handled event, a skip or a dead letter
//! with its bytes intact; nothing is lost, and what follows is handled.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Log, Raw, app, broker, consume, produce, started, stats, until};
use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Note.v1", topic = "notes")]
struct Note {
    text: String,
}

#[derive(Clone, Default)]
struct Notes(Log<Metadata>);

#[handler(event = "Note.v1", retry(attempts = 1))]
async fn note(
    note: Envelope<Note>,
    headers: Headers,
    State(notes): State<Notes>,
) -> anyhow::Result<()> {
    anyhow::ensure!(note.event.text != "fail", "asked to fail");
    assert!(headers.iter().count() == headers.len());
    notes.0.push(note.metadata);
    Ok(())
}

const GOOD: &str = r#"{"text":"good"}"#;

/// Sends the records and a good one behind them; returns what was handled and
/// the dead letters.
async fn send(records: Vec<Raw>, letters: usize) -> (Vec<Metadata>, Vec<Raw>) {
    let broker = broker(&["notes"]);
    let notes = Notes::default();
    let running = started(
        app("bad", &broker)
            .handlers(handlers![note])
            .state(notes.clone()),
    )
    .await;
    let good = Raw::of_type("Note.v1", GOOD).header("ce_id", "the last");
    produce(&broker, "notes", records.into_iter().chain([good])).await;
    until("the good one behind", || {
        notes.0.all().iter().any(|seen| seen.id == "the last")
    })
    .await;
    let letters = consume(&broker, "notes.bad.dlq", letters).await;
    running.shutdown().await.unwrap();
    let mut handled = notes.0.all();
    handled.pop();
    (handled, letters)
}

async fn becomes_a_dead_letter(raw: Raw, kind: &str) -> Raw {
    let (handled, letters) = send(vec![raw.clone()], 1).await;
    assert!(handled.is_empty(), "handled: {handled:?}");
    assert_eq!(
        letters[0].clone().original(),
        raw,
        "its bytes are those that came"
    );
    assert_eq!(letters[0].get("eventkit-error-kind").as_deref(), Some(kind));
    letters[0].clone()
}

async fn is_handled(raw: Raw) -> Metadata {
    let (mut handled, _) = send(vec![raw], 0).await;
    assert_eq!(handled.len(), 1);
    handled.remove(0)
}

macro_rules! dead_letters {
    ($($name:ident: $payload:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let letter = becomes_a_dead_letter(Raw::of_type("Note.v1", $payload), "undecodable").await;
            let message = letter.get("eventkit-error-message").unwrap();
            assert!(!message.contains("canary"), "payload in the message: {message}");
        }
    )*};
}

dead_letters! {
    empty_payload: "";
    invalid_utf8: b"{\"text\":\"\xff\xfe canary\"}".to_vec();
    truncated_json: "{\"text\":\"canary";
    hundred_thousand_levels_of_nesting: "[".repeat(100_000);
    nesting_inside_a_field: format!("{{\"text\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    a_value_of_the_wrong_type: r#"{"text":{"canary":1}}"#;
    a_missing_field: r#"{"canary":"x"}"#;
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_in_a_field_that_nobody_asked_for_is_passed_over() {
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    is_handled(Raw::of_type(
        "Note.v1",
        format!(r#"{{"text":"x","more":{open}1{close}}}"#),
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstone() {
    let raw = Raw {
        payload: None,
        ..Raw::of_type("Note.v1", "")
    }
    .key("k");
    becomes_a_dead_letter(raw, "undecodable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_type_and_no_default() {
    let letter = becomes_a_dead_letter(Raw::new(GOOD).header("x", "y"), "undecodable").await;
    assert_eq!(letter.get("eventkit-handler"), None);
    assert_eq!(letter.get("eventkit-group").as_deref(), Some("bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_keys_survive_the_dead_letter() {
    let mut raw = Raw::of_type("Note.v1", r#"{"text":"fail"}"#)
        .header("Repeated", "1")
        .header("Repeated", "2")
        .header("binary", [0, 255, 10].as_slice())
        .header("empty", "")
        .header("eventkit-of-another-make", "kept")
        .key([0xff, 0, b'\n'].as_slice());
    raw.headers.push(("null".into(), None));
    becomes_a_dead_letter(raw.clone(), "exhausted").await;
    for key in [None, Some(Vec::new()), Some(vec![7; 1_000_000])] {
        becomes_a_dead_letter(Raw { key, ..raw.clone() }, "exhausted").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_headers() {
    let mut raw = Raw::of_type("Note.v1", r#"{"text":"fail"}"#);
    raw.headers
        .extend((0..10_000).map(|n| (format!("h{n}"), Some(vec![b'x'; n % 20]))));
    becomes_a_dead_letter(raw.clone(), "exhausted").await;
    raw.payload = Some(GOOD.into());
    is_handled(raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payload_whose_handler_fails() {
    let raw = Raw::of_type(
        "Note.v1",
        format!(r#"{{"text":"fail","pad":"{}"}}"#, "x".repeat(999_000)),
    );
    becomes_a_dead_letter(raw, "exhausted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_and_versions_are_skipped() {
    let records =
        ["Note.v2", "Other.v1", "", "note.v1"].map(|named| Raw::of_type(named, "anything"));
    let (handled, _) = send(records.to_vec(), 0).await;
    assert!(handled.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_attributes_count_as_absent() {
    let metadata = is_handled(
        Raw::of_type("Note.v1", GOOD)
            .header("ce_id", "")
            .header("ce_time", "yesterday")
            .header("ce_source", b"\xff".as_slice())
            .header("ce_correlationid", "a\nforged line")
            .header("traceparent", "00-not-a-trace-01"),
    )
    .await;
    assert_eq!(metadata.id, "notes/0/0");
    assert_eq!(metadata.source, "kafka:notes");
    assert_eq!(metadata.correlation_id, "notes/0/0");
    assert_eq!(metadata.traceparent, None);
    assert_eq!(metadata.time, metadata.timestamp);
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_mode_is_read() {
    let document = r#"{"specversion":"1.0","id":"7","source":"shop","type":"Note.v1","correlationid":"flow","data":{"text":"structured"}}"#;
    let raw = Raw::new(document).header(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    );
    let metadata = is_handled(raw).await;
    assert_eq!(
        (metadata.id.as_str(), metadata.source.as_str()),
        ("7", "shop")
    );
    assert_eq!(metadata.correlation_id, "flow");
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_mode_carries_trace_context_and_bytes() {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    // {"text":"structured"}
    let data = "eyJ0ZXh0Ijoic3RydWN0dXJlZCJ9";
    let document = format!(
        r#"{{"type":"Note.v1","traceparent":"{trace}","tracestate":"a=1","data_base64":"{data}"}}"#
    );
    let raw = Raw::new(document.clone()).header("content-type", "application/cloudevents+json");
    let metadata = is_handled(raw.clone()).await;
    assert_eq!(metadata.traceparent.as_deref(), Some(trace));
    assert_eq!(metadata.tracestate.as_deref(), Some("a=1"));
    // Headers stand over it, as a pair.
    let other = trace.replace("b7ad", "c7ad");
    let metadata = is_handled(raw.header("traceparent", other.clone())).await;
    assert_eq!(metadata.traceparent, Some(other));
    assert_eq!(metadata.tracestate, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_structured_event() {
    let raw = Raw::new("{\"specversion\":").header("content-type", "application/cloudevents+json");
    becomes_a_dead_letter(raw, "undecodable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_marker_for_somebody_else_is_skipped() {
    let raw = Raw::of_type("Note.v1", GOOD).header("eventkit-replay-for", "other/handler");
    let (handled, _) = send(vec![raw], 0).await;
    assert!(handled.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_type_reads_producers_that_send_none() {
    let broker = broker(&["notes"]);
    let notes = Notes::default();
    let service = app("foreign", &broker).default_type("notes", "Note.v1");
    let running = started(service.handlers(handlers![note]).state(notes.clone())).await;
    produce(&broker, "notes", [Raw::new(GOOD).header("tenant", "acme")]).await;
    until("it is handled", || stats(&running, "note").handled == 1).await;
    assert_eq!(notes.0.all()[0].event_type, "Note.v1");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_dead_letter_is_not_replayed() {
    let broker = broker(&["notes"]);
    let running = started(
        app("bad", &broker)
            .handlers(handlers![note])
            .state(Notes::default()),
    )
    .await;
    let forged = |topic: &str, group: &str, handler: &str| {
        Raw::new(GOOD)
            .header("eventkit-original-topic", topic)
            .header("eventkit-group", group)
            .header("eventkit-handler", handler)
    };
    let letters = [
        forged("payments", "bad", "note"),
        forged("notes", "other", "note"),
        forged("notes", "bad", "nobody"),
        Raw::new(GOOD),
    ];
    produce(&broker, "notes.bad.dlq", letters).await;
    let report = eventkit::dlq::replay(&running).await.unwrap();
    assert_eq!((report.replayed, report.refused), (0, 4));
    running.shutdown().await.unwrap();
}
