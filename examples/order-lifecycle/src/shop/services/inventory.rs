//! Inventory: reserves CDs for orders, and releases them when payment fails.
//!
//! It does not know which orders it has seen: the inbox does. Were a reservation
//! made twice, its ledger would show it.

use eventkit::inbox::Tx;
use eventkit::prelude::*;
use sqlx::Transaction;

use super::super::Db;
use super::Mending;
use super::operations::mend_faults;
use crate::events::{
    LedgerLine, OrderId, OrderPlaced, PaymentFailed, Reservation, StockInsufficient, StockReleased,
    StockReserved,
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
    State(at_start): State<UnitsAtStart>,
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
    let (taken, ledger) = take(tx, at_start, order, units).await?;
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
    let ledger = put_back(tx, order, units).await?;
    timings.handled(&failed.metadata);
    Ok(StockReleased {
        order,
        customer,
        units,
        ledger,
    })
}

/// Takes units off the run's shelf, if it has so many, and says whether it had.
async fn take(
    tx: &mut Transaction<'static, Db>,
    UnitsAtStart(at_start): UnitsAtStart,
    order: OrderId,
    units: u32,
) -> sqlx::Result<(bool, LedgerLine)> {
    // One statement, which holds the shelf until the commit.
    let (line, remaining, taken): (i64, i64, i64) = sqlx::query_as(
        "INSERT INTO shelves (run, line, remaining, taken) VALUES ($1, 1, $2 - $3, $3)
         ON CONFLICT (run) DO UPDATE SET
             line = shelves.line + 1,
             remaining = CASE WHEN shelves.remaining >= $3 THEN shelves.remaining - $3
                              ELSE shelves.remaining END,
             taken = CASE WHEN shelves.remaining >= $3 THEN $3 ELSE 0 END
         RETURNING line, remaining, taken",
    )
    .bind(i64::from(order.run))
    .bind(i64::from(at_start))
    .bind(i64::from(units))
    .fetch_one(&mut **tx)
    .await?;
    write_line(tx, order, line, remaining, taken, true).await?;
    Ok((taken > 0, told(line, remaining)))
}

/// Puts them back.
async fn put_back(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    units: u32,
) -> sqlx::Result<LedgerLine> {
    let (line, remaining): (i64, i64) = sqlx::query_as(
        "UPDATE shelves SET line = line + 1, remaining = remaining + $2, taken = -$2
         WHERE run = $1 RETURNING line, remaining",
    )
    .bind(i64::from(order.run))
    .bind(i64::from(units))
    .fetch_one(&mut **tx)
    .await?;
    let taken = -i64::from(units);
    write_line(tx, order, line, remaining, taken, false).await?;
    Ok(told(line, remaining))
}

async fn write_line(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    line: i64,
    remaining: i64,
    taken: i64,
    is_decision: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO movements (run, line, number, taken, remaining, is_decision)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(i64::from(order.run))
    .bind(line)
    .bind(i64::from(order.number))
    .bind(taken)
    .bind(remaining)
    .bind(i64::from(is_decision))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn told(line: i64, left: i64) -> LedgerLine {
    LedgerLine {
        line: line as u64,
        left: left as u32,
    }
}
