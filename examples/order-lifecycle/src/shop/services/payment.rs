//! Payment: charges for what is reserved, through a gateway that has its days.

use eventkit::inbox::Tx;
use eventkit::prelude::*;
use uuid::Uuid;

use super::super::Db;
use super::Mending;
use super::operations::mend_faults;
use crate::events::{Payment, PaymentCharged, PaymentFailed, StockReserved};
use crate::faults::{Faults, Gateway};
use crate::figures::Timings;

pub(super) fn app(app: App, faults: Faults, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![charge, mend_faults])
        .state(faults)
        .state(mending)
        .state(timings)
}

#[derive(Debug, thiserror::Error)]
enum ChargeError {
    #[error("the payment gateway is busy")]
    Busy,
    #[error("the payment gateway has locked the account")]
    Locked,
    #[error("writing the charge down")]
    Database(#[from] sqlx::Error),
}

/// Each charge has a receipt of its own: an order that is charged twice has two
/// receipts, and the books show them.
#[handler(
    event = "StockReserved.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    inbox
)]
async fn charge(
    reserved: Envelope<StockReserved>,
    Tx(tx): Tx<Db>,
    Attempt(attempt): Attempt,
    State(faults): State<Faults>,
    State(timings): State<Timings>,
) -> Result<Payment, ChargeError> {
    let StockReserved {
        order,
        customer,
        units,
        cents,
        ..
    } = reserved.event;
    let answer = match faults.gateway(order, attempt) {
        Gateway::Busy => return Err(ChargeError::Busy),
        Gateway::Locked => return Err(ChargeError::Locked),
        Gateway::Declines => Payment::Failed(PaymentFailed {
            order,
            customer,
            units,
            reason: "the card is declined".into(),
        }),
        Gateway::Charges => {
            let receipt = Uuid::now_v7();
            sqlx::query(
                "INSERT INTO charges (receipt, run, number, cents) VALUES ($1, $2, $3, $4)",
            )
            .bind(receipt.to_string())
            .bind(i64::from(order.run))
            .bind(i64::from(order.number))
            .bind(cents as i64)
            .execute(&mut **tx)
            .await?;
            Payment::Charged(PaymentCharged {
                order,
                customer,
                cents,
                receipt,
                attempts: attempt,
            })
        }
    };
    timings.handled(&reserved.metadata);
    Ok(answer)
}
