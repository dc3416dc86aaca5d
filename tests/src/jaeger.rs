use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::servers::jaeger_url;

/// Jaeger's HTTP API.
pub struct Jaeger {
    address: String,
}

/// A span as Jaeger tells it.
#[derive(Debug, Clone)]
pub struct JaegerSpan {
    pub id: String,
    pub parent: Option<String>,
    pub service: String,
    pub name: String,
    pub start_us: u64,
    pub duration_us: u64,
    json: Value,
}

impl JaegerSpan {
    /// An attribute, as text.
    pub fn tag(&self, name: &str) -> Option<String> {
        field(&self.json["tags"], name)
    }

    /// The span events, each as its attributes' text.
    pub fn events(&self) -> Vec<String> {
        list(&self.json["logs"])
            .iter()
            .map(|log| log["fields"].to_string())
            .collect()
    }
}

impl Jaeger {
    /// The Jaeger of the test stack.
    pub fn new() -> Self {
        let url = jaeger_url();
        let address = url.strip_prefix("http://").unwrap_or(&url);
        Self {
            address: address.trim_end_matches('/').to_owned(),
        }
    }

    /// The spans of a trace, as far as they have arrived.
    pub fn trace(&self, id: &str) -> Vec<JaegerSpan> {
        self.get(&format!("/api/traces/{id}"))
            .map(|answer| spans(&answer))
            .unwrap_or_default()
    }

    /// The traces that a service took part in, newest first, with this tag.
    pub fn traces(&self, service: &str, tag: (&str, &str)) -> Vec<Vec<JaegerSpan>> {
        let (name, value) = tag;
        let tags = format!("%7B%22{name}%22%3A%22{value}%22%7D");
        let path = format!("/api/traces?service={service}&tags={tags}&limit=100&lookback=1h");
        self.get(&path)
            .map(|answer| list(&answer["data"]).iter().map(trace_spans).collect())
            .unwrap_or_default()
    }

    /// HTTP/1.0, so that the answer is neither chunked nor kept open.
    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let host = &self.address;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if !head.lines().next()?.contains(" 200 ") {
            return None;
        }
        serde_json::from_str(body).ok()
    }
}

impl Default for Jaeger {
    fn default() -> Self {
        Self::new()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn spans(answer: &Value) -> Vec<JaegerSpan> {
    list(&answer["data"]).iter().flat_map(trace_spans).collect()
}

fn trace_spans(trace: &Value) -> Vec<JaegerSpan> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut spans: Vec<JaegerSpan> = list(&trace["spans"])
        .iter()
        .map(|span| JaegerSpan {
            id: text(&span["spanID"]),
            parent: list(&span["references"])
                .iter()
                .find(|reference| reference["refType"] == "CHILD_OF")
                .map(|reference| text(&reference["spanID"])),
            service: text(&trace["processes"][&text(&span["processID"])]["serviceName"]),
            name: text(&span["operationName"]),
            start_us: span["startTime"].as_u64().unwrap_or_default(),
            duration_us: span["duration"].as_u64().unwrap_or_default(),
            json: span.clone(),
        })
        .collect();
    spans.sort_by_key(|span| span.start_us);
    spans
}

fn field(fields: &Value, name: &str) -> Option<String> {
    let found = list(fields).iter().find(|field| field["key"] == name)?;
    Some(match &found["value"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
