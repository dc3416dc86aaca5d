//! Payment: charges for what is reserved, through a gateway that has its days.

use eventkit::prelude::*;
use uuid::Uuid;

use super::operations::mend_faults;
use super::{Mending, Timings};
use crate::events::{Payment, PaymentCharged, PaymentFailed, StockReserved};
use crate::faults::{Faults, Gateway};

pub(super) fn app(app: App, faults: Faults, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![charge, mend_faults])
        .state(faults)
        .state(mending)
        .state(timings)
}

#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error("the payment gateway is busy")]
    Busy,
    #[error("the payment gateway has locked the account")]
    Locked,
}

/// Each charge has a receipt of its own: an order that is charged twice has two
/// receipts, and the books show them.
#[handler(
    event = "StockReserved.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    dedup(ttl = "7d")
)]
async fn charge(
    reserved: Envelope<StockReserved>,
    Attempt(attempt): Attempt,
    State(faults): State<Faults>,
    State(timings): State<Timings>,
) -> Result<Payment, GatewayError> {
    let StockReserved {
        order,
        customer,
        units,
        cents,
        ..
    } = reserved.event;
    let answer = match faults.gateway(order, attempt) {
        Gateway::Busy => return Err(GatewayError::Busy),
        Gateway::Locked => return Err(GatewayError::Locked),
        Gateway::Declines => Payment::Failed(PaymentFailed {
            order,
            customer,
            units,
            reason: "the card is declined".into(),
        }),
        Gateway::Charges => Payment::Charged(PaymentCharged {
            order,
            customer,
            cents,
            receipt: Uuid::now_v7(),
            attempts: attempt,
        }),
    };
    timings.handled(&reserved.metadata);
    Ok(answer)
}
