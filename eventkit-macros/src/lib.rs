//! The macros of eventkit. Use them through `eventkit`, which re-exports them.
//!
//! Each is parsed, then validated, then written out, in a file of its own;
//! what is written calls `eventkit::__private` and holds no logic.

use proc_macro::TokenStream;

mod duration;
mod errors;
mod event;
mod handler;
mod names;
mod options;

/// Makes a type an event, or an enum a set of events.
///
/// # One event
///
/// A struct with `#[event(…)]`. It derives `Serialize` and `Deserialize` too,
/// and is its own JSON payload:
///
/// ```
/// use eventkit::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// pub struct OrderPlaced {
///     pub order_id: u64,
///     pub customer: u32,
/// }
/// ```
///
/// An enum with `#[event(…)]` is one event as well, whose payload has several
/// shapes. Such an event has no `key`.
///
/// | option | what it says | default |
/// |---|---|---|
/// | `type = "OrderPlaced.v1"` | The name on the wire (`ce_type`): no spaces, at most 249 bytes. That of an integration event or a command ends in its version, `.v1`, `.v2` and so on. | required |
/// | `topic = "orders"` | The Kafka topic: letters, digits, `.`, `_` and `-`, at most 249. A domain event has none. | required |
/// | `key = order_id` | The field that is the record's key, or a field of a field, `order.id`, or one of a tuple struct, `0`. Its type is [`EventKey`]. Events with one key keep their order. | no key |
/// | `kind = integration` | How far it travels: `integration`, a public contract; `command`, an intent to one receiver; `domain`, inside its service and never on Kafka. | `integration` |
/// | `source = "/shop"` | The CloudEvents source, a URI or a path. | the name of the publishing App |
///
/// ```
/// use eventkit::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # pub struct Order { pub id: u64 }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "ReserveStock.v2", topic = "stock-commands", kind = command, key = order.id)]
/// pub struct ReserveStock {
///     pub order: Order,
/// }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "CreditChecked", kind = domain)]
/// pub struct CreditChecked {
///     pub passed: bool,
/// }
/// ```
///
/// # A set of events
///
/// An enum without `#[event(…)]`: what a handler returns when it answers with
/// one event or another. Every variant holds an event (or another set), and
/// the set is made from each of them with `into()`:
///
/// ```
/// use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders")]
/// # pub struct OrderPlaced { pub order_id: u64 }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "StockReserved.v1", topic = "stock", key = order_id)]
/// pub struct StockReserved {
///     pub order_id: u64,
/// }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "StockInsufficient.v1", topic = "stock", key = order_id)]
/// pub struct StockInsufficient {
///     pub order_id: u64,
/// }
///
/// #[derive(Event)]
/// pub enum Reservation {
///     Reserved(StockReserved),
///     Insufficient(StockInsufficient),
/// }
///
/// #[handler(event = "OrderPlaced.v1")]
/// async fn reserve_stock(OrderPlaced { order_id }: OrderPlaced) -> Reservation {
///     if order_id % 2 == 0 {
///         StockReserved { order_id }.into()
///     } else {
///         StockInsufficient { order_id }.into()
///     }
/// }
/// ```
///
/// [`EventKey`]: https://docs.rs/eventkit/latest/eventkit/trait.EventKey.html
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Makes a function a handler of one type of event.
///
/// ```
/// use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// # pub struct OrderPlaced { pub order_id: u64 }
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "StockReserved.v1", topic = "stock")]
/// # pub struct StockReserved { pub order_id: u64 }
/// # #[derive(Clone)]
/// # pub struct Stock;
/// # impl Stock { async fn reserve(&self, order_id: u64) -> std::io::Result<()> { Ok(()) } }
///
/// #[handler(
///     event = "OrderPlaced.v1",
///     retry(attempts = 5, backoff = "100ms..10s"),
///     dedup(ttl = "7d"),
///     timeout = "5s",
/// )]
/// async fn reserve_stock(
///     order: OrderPlaced,
///     State(stock): State<Stock>,
/// ) -> anyhow::Result<StockReserved> {
///     stock.reserve(order.order_id).await?;
///     Ok(StockReserved { order_id: order.order_id })
/// }
/// ```
///
/// The function stays what it was, and can be called and tested as such. Beside
/// it stands a hidden type of the same name, by which `handlers![reserve_stock]`
/// finds it; a module or type beside it has to have another name. It is linked
/// into every App of the program that does not list its handlers.
///
/// # Parameters
///
/// One is the event, or an `Envelope` of it; its type must be the one that
/// `event` names, else the program does not compile. The others are `State`,
/// `Metadata`, `Headers`, `Publisher`, `Attempt`, `CancellationToken`, or a type
/// of your own that implements `FromDelivery`. All are taken by value. A handler
/// with `inbox` may take its transaction too, as `Tx(tx): Tx<Postgres>`; this one
/// is known by its name.
///
/// # What it returns
///
/// `()`, an event, a set of events, or `Option`, `Vec` or a tuple of these, plain
/// or in a `Result` with any error. Events are published, with correlation and
/// causation carried over, before the message is acknowledged.
///
/// # Options
///
/// | option | what it says | default |
/// |---|---|---|
/// | `event = "OrderPlaced.v1"` | The type of the event that it takes. | required |
/// | `retry(attempts = 5, backoff = "100ms..10s", jitter = full)` | What follows a failure: how often the handler runs in all (at least 1); the bound of the first wait, which doubles from failure to failure, and of every wait; whether a wait is anything below its bound (`full`) or the bound itself (`none`). Each may be left out. | as written here |
/// | `dedup(ttl = "7d", key = order_id)` | Repeated events have one effect. For how long a handled event is remembered; and a field to know the same event by, whatever its id. `dedup` alone is `dedup(ttl = "7d")`. | no dedup; without `key`, by the event's id |
/// | `inbox` | Effect, inbox row and returned events commit together, in a transaction of the App's inbox: see `eventkit::inbox`. Without `dedup` and `parallel`, on an `async fn`. | off |
/// | `timeout = "5s"` | How long one attempt may take. It then counts as failed. | no limit |
/// | `concurrency = 16` | How many events this handler's group has in flight at once, at least 1. | the App's setting |
/// | `order = key` | Which events wait for one another: those with one `key`, all of a `partition`, or `none`. | `key` |
/// | `group = "billing"` | The consumer group: letters, digits, `.`, `_` and `-`. | the App's name |
/// | `name = "reserve_stock"` | What it is called in dedup, dead letters, logs and metrics; same letters. | the function's name |
/// | `dlq = "orders.failed"` | The dead-letter topic. | `<topic>.<group>.dlq` |
/// | `parallel` | It runs on a task of its own rather than its partition's: for work that keeps a processor busy. | off |
///
/// A duration is a number and its unit: `"100ms"`, `"5s"`, `"10m"`, `"12h"`,
/// `"7d"`. It is read while the program compiles, and is longer than zero.
///
/// # Plain functions
///
/// A `fn` without `async` may block. It runs on the blocking pool, and cannot be
/// interrupted: it takes no `timeout`, and where its partition moves away before
/// it ends, it runs on and its result is dropped.
///
/// ```
/// use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// # pub struct OrderPlaced { pub order_id: u64 }
///
/// #[handler(event = "OrderPlaced.v1", name = "invoices", group = "billing", dedup(key = order_id))]
/// fn print_invoice(order: Envelope<OrderPlaced>) -> std::io::Result<()> {
///     std::fs::write(format!("/tmp/{}.txt", order.event.order_id), order.metadata.id)
/// }
/// # let _ = handlers![print_invoice];
/// ```
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::attribute(options.into(), item.into()).into()
}
