//! Inventory: reserves CDs for orders, and releases them when payment fails.
//!
//! It does not know which orders it has seen: the inbox does. Were a reservation
//! made twice, its ledger would show it.

use eventkit::inbox::Tx;
use eventkit::prelude::*;

use super::super::{Db, shelf};
use super::Mending;
use super::operations::mend_faults;
use crate::events::{
    OrderPlaced, PaymentFailed, Reservation, StockInsufficient, StockReleased, StockReserved,
};
use crate::faults::Faults;
use crate::figures::Timings;

pub(super) fn app(
    app: App,
    units_at_start: u32,
    faults: Faults,
    mending: Mending,
    timings: Timings,
) -> App {
    app.handlers(handlers![reserve_stock, release_stock, mend_faults])
        .state(UnitsAtStart(units_at_start))
        .state(faults)
        .state(mending)
        .state(timings)
}

/// What each run finds on its shelf.
#[derive(Debug, Clone, Copy)]
struct UnitsAtStart(u32);

#[handler(
    event = "OrderPlaced.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    inbox
)]
async fn reserve_stock(
    placed: Envelope<OrderPlaced>,
    Tx(tx): Tx<Db>,
    Attempt(attempt): Attempt,
    State(UnitsAtStart(at_start)): State<UnitsAtStart>,
    State(faults): State<Faults>,
    State(timings): State<Timings>,
) -> Result<Reservation, HandlerError> {
    let OrderPlaced {
        order,
        customer,
        units,
        cents,
        ..
    } = placed.event;
    if faults.has_no_shelf(order) {
        // Trying again will not build one.
        return Err(HandlerError::reject("there is no shelf for this CD"));
    }
    let (taken, ledger) = shelf::take(tx, at_start, order, units).await?;
    if faults.inventory_panics(order, attempt) {
        // With the units taken already: the transaction is rolled back.
        panic!("injected: the scanner has jammed");
    }
    timings.handled(&placed.metadata);
    Ok(if taken {
        Reservation::Reserved(StockReserved {
            order,
            customer,
            units,
            cents,
            ledger,
        })
    } else {
        Reservation::Insufficient(StockInsufficient {
            order,
            customer,
            ledger,
        })
    })
}

#[handler(event = "PaymentFailed.v1", inbox)]
async fn release_stock(
    failed: Envelope<PaymentFailed>,
    Tx(tx): Tx<Db>,
    State(timings): State<Timings>,
) -> sqlx::Result<StockReleased> {
    let PaymentFailed {
        order,
        customer,
        units,
        ..
    } = failed.event;
    let ledger = shelf::put_back(tx, order, units).await?;
    timings.handled(&failed.metadata);
    Ok(StockReleased {
        order,
        customer,
        units,
        ledger,
    })
}
