//! What the macros write, at run time.

use std::time::Duration;

use eventkit::prelude::*;
use eventkit::{IntoEvents, Jitter, Kind, Order, Outgoing, Retry};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    id: u64,
    lines: (String, u32),
}

#[derive(Debug, Clone, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order.id, source = "/shop")]
struct OrderPlaced {
    order: Placed,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "ReserveStock.v3", topic = "stock-commands", key = 0, kind = command)]
struct ReserveStock(String);

#[derive(Event, Serialize, Deserialize)]
#[event(type = "LinesCounted.v1", topic = "lines", key = order.lines.0)]
struct LinesCounted {
    order: Placed,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "PairSeen.v1", topic = "pairs", key = 0.1)]
struct PairSeen((u8, i64));

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "StockReserved.v1", topic = "stock")]
struct StockReserved {
    order_id: u64,
}

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "StockInsufficient.v1", topic = "stock")]
struct StockInsufficient {
    order_id: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderChecked", kind = domain, key = id)]
struct OrderChecked {
    r#id: Option<u64>,
}

#[derive(Debug, PartialEq, Event)]
enum Reservation {
    Reserved(StockReserved),
    Insufficient(StockInsufficient),
}

/// Two variants of one type: no conversion, still a set.
#[derive(Event)]
enum Twice {
    First(StockReserved),
    Second(StockReserved),
    Other(StockInsufficient),
    Nested(Reservation),
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderChanged.v1")]
#[event(topic = "orders")]
enum OrderChanged {
    Paid,
    Moved { to: String },
}

fn key(event: &impl eventkit::Event) -> Option<String> {
    event
        .key()
        .map(|key| String::from_utf8_lossy(&key).into_owned())
}

fn order() -> Placed {
    Placed {
        id: 7,
        lines: ("a".into(), 2),
    }
}

fn published(events: impl IntoEvents) -> usize {
    let mut out = Outgoing::default();
    events.into_events(&mut out).expect("encodes");
    out.len()
}

#[test]
fn a_key_is_a_field_or_a_field_of_a_field() {
    assert_eq!(key(&OrderPlaced { order: order() }).as_deref(), Some("7"));
    assert_eq!(key(&ReserveStock("x1".into())).as_deref(), Some("x1"));
    assert_eq!(key(&LinesCounted { order: order() }).as_deref(), Some("a"));
    assert_eq!(key(&PairSeen((1, -2))).as_deref(), Some("-2"));
    assert_eq!(key(&OrderChecked { id: Some(3) }).as_deref(), Some("3"));
    assert_eq!(key(&OrderChecked { id: None }), None);
    assert_eq!(key(&StockReserved { order_id: 7 }), None);
}

#[test]
fn an_event_knows_its_type_topic_source_and_kind() {
    fn of<E: eventkit::Event>() -> (&'static str, &'static str, Option<&'static str>, Kind) {
        (
            E::TYPE,
            E::TOPIC,
            E::SOURCE,
            <E::Kind as eventkit::EventKind>::KIND,
        )
    }
    assert_eq!(
        of::<OrderPlaced>(),
        ("OrderPlaced.v1", "orders", Some("/shop"), Kind::Integration)
    );
    assert_eq!(
        of::<ReserveStock>(),
        ("ReserveStock.v3", "stock-commands", None, Kind::Command)
    );
    assert_eq!(
        of::<OrderChecked>(),
        ("OrderChecked", "", None, Kind::Domain)
    );
    assert_eq!(
        of::<OrderChanged>(),
        ("OrderChanged.v1", "orders", None, Kind::Integration)
    );
}

#[test]
fn an_event_publishes_itself_and_a_set_what_its_variant_holds() {
    assert_eq!(published(OrderPlaced { order: order() }), 1);
    assert_eq!(published(ReserveStock("x1".into())), 1);
    assert_eq!(
        published(
            [OrderChanged::Paid, OrderChanged::Moved { to: "x".into() }]
                .map(Some)
                .into_iter()
                .collect::<Vec<_>>()
        ),
        2
    );
    assert_eq!(
        published(Reservation::Reserved(StockReserved { order_id: 7 })),
        1
    );
    for twice in [
        Twice::First(StockReserved { order_id: 7 }),
        Twice::Second(StockReserved { order_id: 7 }),
        StockInsufficient { order_id: 7 }.into(),
        Reservation::from(StockInsufficient { order_id: 7 }).into(),
    ] {
        assert_eq!(published(twice), 1);
    }
}

#[test]
fn a_set_is_made_from_each_of_its_events() {
    assert_eq!(
        Reservation::from(StockReserved { order_id: 7 }),
        Reservation::Reserved(StockReserved { order_id: 7 })
    );
    assert_eq!(
        Reservation::from(StockInsufficient { order_id: 7 }),
        Reservation::Insufficient(StockInsufficient { order_id: 7 })
    );
}

/// As most handlers are.
#[handler(event = "OrderPlaced.v1")]
async fn reserve_stock(OrderPlaced { order }: OrderPlaced) -> Result<Reservation, HandlerError> {
    Ok(StockReserved { order_id: order.id }.into())
}

#[handler(
    event = "ReserveStock.v3",
    name = "reserve.by-command",
    group = "stock",
    order = partition,
    retry(attempts = 3, backoff = "1s..1m", jitter = none),
    dedup(ttl = "2h", key = 0),
    timeout = "5s",
    concurrency = 16,
    dlq = "stock.failed",
    parallel,
)]
async fn with_everything(
    command: Envelope<ReserveStock>,
    _metadata: Metadata,
    _headers: Headers,
    _publisher: Publisher,
    Attempt(_attempt): Attempt,
    State(_limit): State<u64>,
    _stop: CancellationToken,
) -> anyhow::Result<Vec<StockReserved>> {
    anyhow::ensure!(!command.event.0.is_empty(), "no order");
    Ok(vec![])
}

mod mail {
    use super::*;

    #[handler(event = "OrderChecked", dedup, retry(attempts = 1))]
    pub(super) fn confirm(
        _: State<u64>,
        OrderChecked { id }: OrderChecked,
    ) -> Result<impl IntoEvents, std::fmt::Error> {
        Ok(id.map(|order_id| StockReserved { order_id }))
    }
}

#[test]
fn a_handler_without_options_has_the_defaults() {
    let [reserve] = handlers![reserve_stock].try_into().expect("one handler");
    assert_eq!(reserve.name(), "reserve_stock");
    assert_eq!(reserve.event_type(), "OrderPlaced.v1");
    assert_eq!(reserve.topic(), "orders");
    assert_eq!(reserve.kind, Kind::Integration);
    assert_eq!(reserve.policy.group, None);
    assert_eq!(reserve.policy.order, Order::Key);
    assert_eq!(reserve.policy.retry, Retry::DEFAULT);
    assert!(reserve.policy.dedup.is_none());
    assert_eq!(reserve.policy.timeout, None);
    assert_eq!(reserve.policy.concurrency, None);
    assert_eq!(reserve.policy.dead_letter_topic, None);
    assert!(
        reserve.location.0.ends_with("macros.rs"),
        "{:?}",
        reserve.location
    );
}

#[test]
fn every_option_reaches_the_definition() {
    let [all, confirm] = handlers![with_everything, mail::confirm]
        .try_into()
        .expect("two handlers");
    assert_eq!(all.name(), "reserve.by-command");
    assert_eq!(all.topic(), "stock-commands");
    assert_eq!(all.kind, Kind::Command);
    assert_eq!(all.policy.group, Some("stock"));
    assert_eq!(all.policy.order, Order::Partition);
    assert_eq!(
        all.policy.retry,
        Retry {
            attempts: 3,
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            jitter: Jitter::None,
        }
    );
    let dedup = all.policy.dedup.expect("dedup is on");
    assert_eq!(dedup.ttl, Duration::from_secs(2 * 60 * 60));
    assert!(dedup.key.is_some());
    assert_eq!(all.policy.timeout, Some(Duration::from_secs(5)));
    assert_eq!(all.policy.concurrency, Some(16));
    assert_eq!(all.policy.dead_letter_topic, Some("stock.failed"));

    assert_eq!(confirm.name(), "confirm");
    assert_eq!(confirm.topic(), "");
    assert_eq!(
        confirm.policy.retry,
        Retry {
            attempts: 1,
            ..Retry::DEFAULT
        }
    );
    let dedup = confirm.policy.dedup.expect("dedup is on");
    assert_eq!(dedup.ttl, Duration::from_secs(7 * 24 * 60 * 60));
    assert!(dedup.key.is_none());
}

#[tokio::test]
async fn a_handler_is_still_a_function() {
    let reserved = reserve_stock(OrderPlaced { order: order() }).await;
    assert_eq!(
        reserved.expect("reserves"),
        StockReserved { order_id: 7 }.into()
    );
    assert_eq!(
        published(mail::confirm(State(1), OrderChecked { id: Some(7) }).expect("confirms")),
        1
    );
}

#[test]
fn handlers_are_found_without_a_list() {
    let linked: Vec<&str> = eventkit::__private::inventory::iter::<eventkit::__private::Linked>()
        .map(|linked| linked.0.name())
        .collect();
    for name in ["reserve_stock", "reserve.by-command", "confirm"] {
        assert!(linked.contains(&name), "{name} in {linked:?}");
    }
}

/// Several handlers of one event share the work of decoding it where they can.
#[test]
fn an_event_is_cloned_if_it_can_be() {
    #[derive(Clone, Event, Serialize, Deserialize)]
    #[event(type = "Can.v1", topic = "cloning")]
    struct Can(u32);

    #[derive(Event, Serialize, Deserialize)]
    #[event(type = "Cannot.v1", topic = "cloning")]
    struct Cannot(u32);

    assert_eq!(Can(7).__cloned().map(|clone| clone.0), Some(7));
    assert!(Cannot(7).__cloned().is_none());
}
