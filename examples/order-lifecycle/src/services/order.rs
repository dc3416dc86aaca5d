//! Order: places orders, learns from the others how they end, and says so.
//!
//! It also keeps the books: beside the handlers that decide, each of which runs
//! once for an event, stand those that write down every copy that comes.

use eventkit::prelude::*;

use super::operations::mend_faults;
use super::{Mending, Timings};
use crate::events::{
    CustomerNotified, OrderCancelled, OrderConfirmed, PaymentCharged, PaymentFailed, Reason,
    StockInsufficient, StockReleased, StockReserved,
};
use crate::ledger::{Entry, Ledger};

pub(super) fn app(app: App, ledger: Ledger, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![
        confirm,
        cancel_for_stock,
        cancel_for_payment,
        book_reserved,
        book_insufficient,
        book_released,
        book_charged,
        book_failed,
        book_confirmed,
        book_cancelled,
        book_notified,
        mend_faults
    ])
    .state(ledger)
    .state(mending)
    .state(timings)
}

#[handler(event = "PaymentCharged.v1", dedup(ttl = "7d"))]
async fn confirm(
    charged: Envelope<PaymentCharged>,
    State(timings): State<Timings>,
) -> OrderConfirmed {
    timings.handled(&charged.metadata);
    OrderConfirmed {
        order: charged.event.order,
        customer: charged.event.customer,
        cents: charged.event.cents,
    }
}

#[handler(event = "StockInsufficient.v1", dedup(ttl = "7d"))]
async fn cancel_for_stock(
    insufficient: Envelope<StockInsufficient>,
    State(timings): State<Timings>,
) -> OrderCancelled {
    timings.handled(&insufficient.metadata);
    OrderCancelled {
        order: insufficient.event.order,
        customer: insufficient.event.customer,
        reason: Reason::Stock,
    }
}

#[handler(event = "PaymentFailed.v1", dedup(ttl = "7d"))]
async fn cancel_for_payment(
    failed: Envelope<PaymentFailed>,
    State(timings): State<Timings>,
) -> OrderCancelled {
    timings.handled(&failed.metadata);
    OrderCancelled {
        order: failed.event.order,
        customer: failed.event.customer,
        reason: Reason::Payment,
    }
}

#[handler(event = "StockReserved.v1")]
async fn book_reserved(reserved: Envelope<StockReserved>, State(ledger): State<Ledger>) {
    let StockReserved {
        order,
        units,
        ledger: line,
        ..
    } = reserved.event;
    ledger.write(order, &reserved.metadata, &Entry::Reserved { units, line });
}

#[handler(event = "StockInsufficient.v1")]
async fn book_insufficient(
    insufficient: Envelope<StockInsufficient>,
    State(ledger): State<Ledger>,
) {
    let StockInsufficient {
        order,
        ledger: line,
        ..
    } = insufficient.event;
    ledger.write(order, &insufficient.metadata, &Entry::Insufficient { line });
}

#[handler(event = "StockReleased.v1")]
async fn book_released(released: Envelope<StockReleased>, State(ledger): State<Ledger>) {
    let StockReleased {
        order,
        units,
        ledger: line,
        ..
    } = released.event;
    ledger.write(order, &released.metadata, &Entry::Released { units, line });
}

#[handler(event = "PaymentCharged.v1")]
async fn book_charged(charged: Envelope<PaymentCharged>, State(ledger): State<Ledger>) {
    let PaymentCharged {
        order,
        cents,
        receipt,
        attempts,
        ..
    } = charged.event;
    ledger.write(
        order,
        &charged.metadata,
        &Entry::Charged {
            cents,
            receipt,
            attempts,
        },
    );
}

#[handler(event = "PaymentFailed.v1")]
async fn book_failed(failed: Envelope<PaymentFailed>, State(ledger): State<Ledger>) {
    let PaymentFailed { order, reason, .. } = failed.event;
    ledger.write(order, &failed.metadata, &Entry::Declined { reason });
}

#[handler(event = "OrderConfirmed.v1")]
async fn book_confirmed(confirmed: Envelope<OrderConfirmed>, State(ledger): State<Ledger>) {
    ledger.write(
        confirmed.event.order,
        &confirmed.metadata,
        &Entry::Confirmed,
    );
}

#[handler(event = "OrderCancelled.v1")]
async fn book_cancelled(cancelled: Envelope<OrderCancelled>, State(ledger): State<Ledger>) {
    let OrderCancelled { order, reason, .. } = cancelled.event;
    ledger.write(order, &cancelled.metadata, &Entry::Cancelled { reason });
}

#[handler(event = "CustomerNotified.v1")]
async fn book_notified(notified: Envelope<CustomerNotified>, State(ledger): State<Ledger>) {
    ledger.write(notified.event.order, &notified.metadata, &Entry::Notified);
}
