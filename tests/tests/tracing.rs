//! One order is one trace, through five processes, as Jaeger tells it.

use std::process::Command;
use std::time::Duration;

use eventkit_tests::{
    Admin, Jaeger, JaegerSpan, Process, RawRecord, RawWriter, eventually, otlp_endpoint, unique,
};

/// A service's program, its spans on the way to Jaeger.
fn service(name: &str, group: &str) -> Process {
    Process::start(
        Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(["trace", name, group])
            .env("RUST_LOG", "info")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_endpoint())
            .env("OTEL_BSP_SCHEDULE_DELAY", "200"),
    )
}

struct Order {
    trace: String,
    root: String,
    correlation: String,
    record: RawRecord,
}

impl Order {
    /// A request whose trace began at somebody else's.
    fn new() -> Self {
        let id = uuid::Uuid::new_v4();
        let (trace, correlation) = (id.simple().to_string(), format!("order-{id}"));
        let root = trace[..16].to_owned();
        let record = RawRecord::of_type("OrderRequested.v1", &id.to_string())
            .key(correlation.clone())
            .payload(format!(r#"{{"order":"{correlation}"}}"#))
            .header("ce_correlationid", correlation.clone())
            .header("traceparent", format!("00-{trace}-{root}-01"));
        Self {
            trace,
            root,
            correlation,
            record,
        }
    }
}

fn find<'s>(spans: &'s [JaegerSpan], service: &str, name: &str) -> &'s JaegerSpan {
    let mut found = spans
        .iter()
        .filter(|span| (&*span.service, &*span.name) == (service, name));
    let first = found.next();
    assert!(found.next().is_none(), "{name} of {service} stands twice");
    first.unwrap_or_else(|| {
        let all: Vec<_> = spans
            .iter()
            .map(|span| (&span.service, &span.name))
            .collect();
        panic!("no {name} of {service} in {all:?}")
    })
}

#[track_caller]
fn has(span: &JaegerSpan, attribute: &str, value: &str) {
    assert_eq!(
        span.tag(attribute).as_deref(),
        Some(value),
        "{attribute} of {} {}",
        span.service,
        span.name
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_one_trace_through_five_services() {
    let admin = Admin::new();
    for topic in [
        "trace-requests",
        "trace-orders",
        "trace-stock",
        "trace-payments",
    ] {
        admin.ensure(topic, 1).await;
    }
    let run = unique("trace");
    let group = |service: &str| format!("{run}-{service}");
    let names = ["order", "inventory", "payment", "notification", "analytics"];
    let mut services = names.map(|name| service(name, &group(name)));
    for service in &mut services {
        service.says("partition assigned").await;
    }
    eventually("analytics has both topics", async || {
        let lines = services[4].lines();
        lines
            .iter()
            .filter(|line| line.contains("partition assigned"))
            .count()
            == 2
    })
    .await;

    let order = Order::new();
    RawWriter::new()
        .write("trace-requests", &order.record)
        .await;
    let jaeger = Jaeger::new();
    let mut spans = Vec::new();
    eventually("Jaeger has the whole trace", async || {
        spans = jaeger.trace(&order.trace);
        spans.len() >= 9
    })
    .await;
    assert_eq!(spans.len(), 9, "{spans:#?}");

    // Who caused what.
    let placed = find(&spans, "order", "process trace-requests");
    let orders = find(&spans, "order", "send trace-orders");
    let reserved = find(&spans, "inventory", "process trace-orders");
    let stock = find(&spans, "inventory", "send trace-stock");
    let charged = find(&spans, "payment", "process trace-stock");
    let payments = find(&spans, "payment", "send trace-payments");
    let notified = find(&spans, "notification", "process trace-payments");
    let order_counted = find(&spans, "analytics", "process trace-orders");
    let payment_counted = find(&spans, "analytics", "process trace-payments");
    assert_eq!(placed.parent.as_deref(), Some(&*order.root));
    for (child, parent) in [
        (orders, placed),
        (reserved, orders),
        (order_counted, orders),
        (stock, reserved),
        (charged, stock),
        (payments, charged),
        (notified, payments),
        (payment_counted, payments),
    ] {
        assert_eq!(
            child.parent.as_ref(),
            Some(&parent.id),
            "{} {}",
            child.service,
            child.name
        );
        assert!(child.start_us >= parent.start_us, "a cause comes first");
    }

    // What each says, by OpenTelemetry's messaging conventions.
    for span in &spans {
        let (operation, topic) = span.name.split_once(' ').expect("an operation and a topic");
        has(span, "messaging.system", "kafka");
        has(span, "messaging.operation.name", operation);
        has(span, "messaging.operation.type", operation);
        has(span, "messaging.destination.name", topic);
        has(span, "messaging.destination.partition.id", "0");
        has(
            span,
            "messaging.message.conversation_id",
            &order.correlation,
        );
        assert!(span.tag("messaging.kafka.offset").is_some(), "{span:?}");
        assert!(span.tag("messaging.message.id").is_some(), "{span:?}");
        match operation {
            "process" => {
                has(span, "span.kind", "consumer");
                has(span, "messaging.consumer.group.name", &group(&span.service));
            }
            _ => has(span, "span.kind", "producer"),
        }
    }
    assert_eq!(
        orders.tag("messaging.message.id"),
        reserved.tag("messaging.message.id")
    );
    has(reserved, "eventkit.handler", "reserve");
    has(reserved, "cloudevents.event_type", "OrderPlaced.v1");

    // What went wrong on the way.
    let retries: Vec<_> = reserved
        .events()
        .into_iter()
        .filter(|event| event.contains("will be tried again"))
        .collect();
    assert_eq!(retries.len(), 1, "{:?}", reserved.events());
    assert!(
        retries[0].contains("the stock is being counted"),
        "{retries:?}"
    );
    assert_ne!(
        reserved.tag("error").as_deref(),
        Some("true"),
        "it succeeded in the end"
    );
    let letters = format!("trace-payments.{}.dlq", group("notification"));
    has(notified, "eventkit.dead_letter_topic", &letters);
    has(notified, "eventkit.outcome", "dead_lettered");
    has(notified, "error.type", "rejected");
    has(notified, "otel.status_code", "ERROR");
    has(
        notified,
        "otel.status_description",
        "the customer has no address",
    );
    for span in spans.iter().filter(|span| span.id != notified.id) {
        assert_ne!(
            span.tag("otel.status_code").as_deref(),
            Some("ERROR"),
            "{span:?}"
        );
    }

    // The dead letter carries the trace on, and logs name the order.
    let letter = eventkit_tests::read_all(&letters).remove(0);
    let traceparent = letter.text("traceparent").expect("a trace");
    assert!(traceparent.contains(&order.trace) && traceparent.contains(&payments.id));
    assert!(
        services[1].lines().iter().any(|line| {
            line.contains("will be tried again") && line.contains(&order.correlation)
        })
    );
    for service in &mut services {
        service.signal("TERM");
    }
    for service in &mut services {
        assert!(service.ends(Duration::from_secs(20)).await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_runs_from_a_request_over_outbox_and_inbox_to_the_last_consumer() {
    let admin = Admin::new();
    for topic in ["trace-note-requests", "trace-notes", "trace-notes-read"] {
        admin.ensure(topic, 1).await;
    }
    let run = unique("notes");
    let names = ["notes", "reader", "archive"];
    let mut services = names.map(|name| service(name, &format!("{run}-{name}")));
    for service in &mut services {
        service.says("partition assigned").await;
    }
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let root = trace[..16].to_owned();
    let request = RawRecord::of_type("NoteRequested.v1", &trace)
        .key("a")
        .payload(r#"{"order":"a"}"#)
        .header("traceparent", format!("00-{trace}-{root}-01"));
    RawWriter::new()
        .write("trace-note-requests", &request)
        .await;

    let jaeger = Jaeger::new();
    let mut spans = Vec::new();
    eventually("Jaeger has the whole trace", async || {
        spans = jaeger.trace(&trace);
        spans.len() >= 7
    })
    .await;
    assert_eq!(spans.len(), 7, "{spans:#?}");
    let requested = find(&spans, "notes", "process trace-note-requests");
    let created = find(&spans, "notes", "create trace-notes");
    let sent = find(&spans, "notes", "send trace-notes");
    let read = find(&spans, "reader", "process trace-notes");
    // The inbox's handler returns it: it is created in the transaction, and sent
    // by the relay.
    let answered = find(&spans, "reader", "create trace-notes-read");
    let passed_on = find(&spans, "reader", "send trace-notes-read");
    let filed = find(&spans, "archive", "process trace-notes-read");
    assert_eq!(requested.parent.as_deref(), Some(&*root));
    for (child, parent, last) in [
        (created, requested, read),
        (sent, created, read),
        (read, created, read),
        (answered, read, filed),
        (passed_on, answered, filed),
        (filed, answered, filed),
    ] {
        assert_eq!(child.parent.as_ref(), Some(&parent.id), "{}", child.name);
        has(
            child,
            "messaging.message.id",
            &last.tag("messaging.message.id").unwrap(),
        );
    }
    for sent in [sent, passed_on] {
        assert!(sent.tag("messaging.kafka.offset").is_some(), "{sent:?}");
    }
    for service in &mut services {
        service.signal("TERM");
        assert!(service.ends(Duration::from_secs(20)).await.success());
    }
}
