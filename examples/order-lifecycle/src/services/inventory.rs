//! Inventory: reserves CDs for orders, and releases them when payment fails.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use eventkit::prelude::*;

use super::operations::mend_faults;
use super::{Mending, Timings};
use crate::events::{
    LedgerLine, OrderPlaced, PaymentFailed, Reservation, StockInsufficient, StockReleased,
    StockReserved,
};
use crate::faults::Faults;
use crate::sync::lock;

pub(super) fn app(
    app: App,
    units_at_start: u32,
    faults: Faults,
    mending: Mending,
    timings: Timings,
) -> App {
    app.handlers(handlers![reserve_stock, release_stock, mend_faults])
        .state(Stock::new(units_at_start))
        .state(faults)
        .state(mending)
        .state(timings)
}

/// The shelf. It does not know which orders it has seen: a reservation that
/// came twice would be taken twice, and the books would show it.
#[derive(Debug, Clone)]
struct Stock {
    units_at_start: u32,
    shelves: Arc<Mutex<HashMap<u32, LedgerLine>>>,
}

impl Stock {
    fn new(units_at_start: u32) -> Self {
        Self {
            units_at_start,
            shelves: Arc::default(),
        }
    }

    /// Takes units off the run's shelf, if it has so many.
    fn take(&self, run: u32, units: u32) -> (bool, LedgerLine) {
        self.write(run, |left| left.checked_sub(units))
    }

    fn put_back(&self, run: u32, units: u32) -> LedgerLine {
        self.write(run, |left| Some(left + units)).1
    }

    /// Writes the next line of the ledger, with what is left.
    fn write(&self, run: u32, change: impl FnOnce(u32) -> Option<u32>) -> (bool, LedgerLine) {
        let mut shelves = lock(&self.shelves);
        let shelf = shelves.entry(run).or_insert(LedgerLine {
            line: 0,
            left: self.units_at_start,
        });
        shelf.line += 1;
        let changed = change(shelf.left);
        shelf.left = changed.unwrap_or(shelf.left);
        (changed.is_some(), *shelf)
    }
}

#[handler(
    event = "OrderPlaced.v1",
    retry(attempts = 4, backoff = "20ms..200ms"),
    dedup(ttl = "7d")
)]
async fn reserve_stock(
    placed: Envelope<OrderPlaced>,
    Attempt(attempt): Attempt,
    State(stock): State<Stock>,
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
    if faults.inventory_panics(order, attempt) {
        panic!("injected: the scanner has jammed");
    }
    if faults.has_no_shelf(order) {
        // Trying again will not build one.
        return Err(HandlerError::reject("there is no shelf for this CD"));
    }
    let (taken, ledger) = stock.take(order.run, units);
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

#[handler(event = "PaymentFailed.v1", dedup(ttl = "7d"))]
async fn release_stock(
    failed: Envelope<PaymentFailed>,
    State(stock): State<Stock>,
    State(timings): State<Timings>,
) -> StockReleased {
    let PaymentFailed {
        order,
        customer,
        units,
        ..
    } = failed.event;
    let ledger = stock.put_back(order.run, units);
    timings.handled(&failed.metadata);
    StockReleased {
        order,
        customer,
        units,
        ledger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shelf_gives_no_more_than_it_has() {
        let stock = Stock::new(3);
        assert_eq!(stock.take(1, 2), (true, LedgerLine { line: 1, left: 1 }));
        assert_eq!(stock.take(1, 2), (false, LedgerLine { line: 2, left: 1 }));
        assert_eq!(stock.put_back(1, 2), LedgerLine { line: 3, left: 3 });
        assert_eq!(stock.take(2, 3), (true, LedgerLine { line: 1, left: 0 }));
    }
}
