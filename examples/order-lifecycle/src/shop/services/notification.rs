//! Notification: tells the customer how an order ended, by a line in the
//! customer's account.

use eventkit::inbox::Tx;
use eventkit::prelude::*;
use sqlx::Transaction;

use super::super::Db;
use super::Mending;
use super::operations::mend_faults;
use crate::events::{CustomerNotified, OrderCancelled, OrderConfirmed, OrderId};
use crate::faults::Faults;
use crate::figures::Timings;

pub(super) fn app(app: App, faults: Faults, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![tell_confirmation, tell_cancellation, mend_faults])
        .state(faults)
        .state(mending)
        .state(timings)
}

#[handler(
    event = "OrderConfirmed.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    inbox
)]
async fn tell_confirmation(
    confirmed: Envelope<OrderConfirmed>,
    Tx(tx): Tx<Db>,
    Attempt(attempt): Attempt,
    State(faults): State<Faults>,
    State(timings): State<Timings>,
) -> Result<CustomerNotified, HandlerError> {
    let OrderConfirmed {
        order, customer, ..
    } = confirmed.event;
    tell(tx, order, "confirmed").await?;
    hang_up(&faults, order, attempt)?;
    timings.handled(&confirmed.metadata);
    Ok(CustomerNotified { order, customer })
}

#[handler(
    event = "OrderCancelled.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    inbox
)]
async fn tell_cancellation(
    cancelled: Envelope<OrderCancelled>,
    Tx(tx): Tx<Db>,
    Attempt(attempt): Attempt,
    State(faults): State<Faults>,
    State(timings): State<Timings>,
) -> Result<CustomerNotified, HandlerError> {
    let OrderCancelled {
        order, customer, ..
    } = cancelled.event;
    tell(tx, order, "cancelled").await?;
    hang_up(&faults, order, attempt)?;
    timings.handled(&cancelled.metadata);
    Ok(CustomerNotified { order, customer })
}

async fn tell(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    said: &'static str,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO notices (run, number, said) VALUES ($1, $2, $3)")
        .bind(i64::from(order.run))
        .bind(i64::from(order.number))
        .bind(said)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Fails when the line is written already, which takes it back.
fn hang_up(faults: &Faults, order: OrderId, attempt: u32) -> Result<(), &'static str> {
    if faults.mail_server_hangs_up(order, attempt) {
        return Err("the mail server hung up");
    }
    Ok(())
}
