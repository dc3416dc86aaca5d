//! Five services that one order passes through. One attempt fails on the way,
//! and the last step ends in the dead-letter topic. And three that pass a note on by
//! outbox and inbox.

use eventkit::inbox::{Inbox, Tx};
use eventkit::prelude::*;
use eventkit::{HandlerDefinition, StartFrom, handlers};
use eventkit_tests::{TestOutbox, app};
use sqlx::Postgres;

macro_rules! events {
    ($($name:ident, $event_type:literal, $topic:literal;)*) => {$(
        #[derive(Event, Serialize, Deserialize)]
        #[event(type = $event_type, topic = $topic, key = order)]
        pub(crate) struct $name {
            pub(crate) order: String,
        }
    )*};
}

events! {
    OrderRequested, "OrderRequested.v1", "trace-requests";
    OrderPlaced, "OrderPlaced.v1", "trace-orders";
    StockReserved, "StockReserved.v1", "trace-stock";
    PaymentCharged, "PaymentCharged.v1", "trace-payments";
    NoteRequested, "NoteRequested.v1", "trace-note-requests";
    NoteTaken, "NoteTaken.v1", "trace-notes";
    NoteRead, "NoteRead.v1", "trace-notes-read";
}

#[handler(event = "OrderRequested.v1")]
async fn place(request: OrderRequested) -> OrderPlaced {
    OrderPlaced {
        order: request.order,
    }
}

#[handler(event = "OrderPlaced.v1", retry(attempts = 3, backoff = "10ms..20ms"))]
async fn reserve(placed: OrderPlaced, Attempt(attempt): Attempt) -> anyhow::Result<StockReserved> {
    anyhow::ensure!(attempt > 1, "the stock is being counted");
    Ok(StockReserved {
        order: placed.order,
    })
}

#[handler(event = "StockReserved.v1")]
async fn charge(reserved: StockReserved, publisher: Publisher) -> anyhow::Result<()> {
    let order = reserved.order;
    publisher.publish(&PaymentCharged { order }).await?;
    Ok(())
}

#[handler(event = "PaymentCharged.v1")]
async fn notify(_: PaymentCharged) -> Result<(), HandlerError> {
    Err(HandlerError::reject("the customer has no address"))
}

#[handler(event = "OrderPlaced.v1")]
async fn count_order(_: OrderPlaced) {}

#[handler(event = "PaymentCharged.v1")]
async fn count_payment(_: PaymentCharged) {}

#[handler(event = "NoteRequested.v1")]
async fn take_note(request: NoteRequested, State(outbox): State<TestOutbox>) -> anyhow::Result<()> {
    let mut tx = outbox.pool.begin().await?;
    let order = request.order;
    outbox.outbox.publish(&mut tx, &NoteTaken { order }).await?;
    Ok(tx.commit().await?)
}

#[handler(event = "NoteTaken.v1", inbox)]
async fn read_note(note: NoteTaken, Tx(tx): Tx<Postgres>) -> sqlx::Result<NoteRead> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(NoteRead { order: note.order })
}

#[handler(event = "NoteRead.v1")]
async fn file_note(_: NoteRead) {}

/// A service that publishes by its outbox, in a schema of its group's name.
async fn with_outbox(app: App, group: &str) -> anyhow::Result<App> {
    let outbox = TestOutbox::open(&group.replace('-', "_"), "trace-notes").await;
    outbox.outbox.migrate().await?;
    let inbox = Inbox::new(&outbox.outbox);
    inbox.migrate().await?;
    let app = app.state(outbox.clone()).outbox(outbox.relay());
    Ok(app.inbox(inbox))
}

/// Runs one service; its group has a name of this run's own.
pub(crate) async fn run(service: &str, group: &str) -> anyhow::Result<()> {
    let handlers: Vec<HandlerDefinition> = match service {
        "order" => handlers![place],
        "inventory" => handlers![reserve],
        "payment" => handlers![charge],
        "notification" => handlers![notify],
        "notes" => handlers![take_note],
        "reader" => handlers![read_note],
        "archive" => handlers![file_note],
        "analytics" => handlers![count_order, count_payment],
        other => panic!("no service {other}"),
    };
    let _telemetry = eventkit::telemetry::init(service)?;
    let mut app = app(group).handlers(handlers).start_from(StartFrom::Latest);
    if ["notes", "reader"].contains(&service) {
        app = with_outbox(app, group).await?;
    }
    Ok(app.run().await?)
}
