//! Order: learns from the others how orders end, and says so.

use eventkit::inbox::Tx;
use eventkit::prelude::*;
use sqlx::Transaction;

use super::super::Db;
use super::Mending;
use super::operations::mend_faults;
use crate::events::{
    OrderCancelled, OrderConfirmed, OrderId, PaymentCharged, PaymentFailed, Reason,
    StockInsufficient,
};
use crate::figures::Timings;

pub(super) fn app(app: App, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![
        confirm,
        cancel_for_stock,
        cancel_for_payment,
        mend_faults
    ])
    .state(mending)
    .state(timings)
}

#[handler(event = "PaymentCharged.v1", inbox)]
async fn confirm(
    charged: Envelope<PaymentCharged>,
    Tx(tx): Tx<Db>,
    State(timings): State<Timings>,
) -> sqlx::Result<OrderConfirmed> {
    let PaymentCharged {
        order,
        customer,
        cents,
        ..
    } = charged.event;
    end(tx, order, "confirmed").await?;
    timings.handled(&charged.metadata);
    Ok(OrderConfirmed {
        order,
        customer,
        cents,
    })
}

#[handler(event = "StockInsufficient.v1", inbox)]
async fn cancel_for_stock(
    insufficient: Envelope<StockInsufficient>,
    Tx(tx): Tx<Db>,
    State(timings): State<Timings>,
) -> sqlx::Result<OrderCancelled> {
    let StockInsufficient {
        order, customer, ..
    } = insufficient.event;
    end(tx, order, "cancelled for stock").await?;
    timings.handled(&insufficient.metadata);
    Ok(OrderCancelled {
        order,
        customer,
        reason: Reason::Stock,
    })
}

#[handler(event = "PaymentFailed.v1", inbox)]
async fn cancel_for_payment(
    failed: Envelope<PaymentFailed>,
    Tx(tx): Tx<Db>,
    State(timings): State<Timings>,
) -> sqlx::Result<OrderCancelled> {
    let PaymentFailed {
        order, customer, ..
    } = failed.event;
    end(tx, order, "cancelled for payment").await?;
    timings.handled(&failed.metadata);
    Ok(OrderCancelled {
        order,
        customer,
        reason: Reason::Payment,
    })
}

/// Counts the ends too: one that came twice would show.
async fn end(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    state: &'static str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE orders SET state = $3, ends = ends + 1 WHERE run = $1 AND number = $2")
        .bind(i64::from(order.run))
        .bind(i64::from(order.number))
        .bind(state)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
