//! Analytics: listens to what everybody else says, and changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use eventkit::prelude::*;

use super::Mending;
use super::operations::mend_faults;
use crate::events::{OrderCancelled, OrderConfirmed, OrderPlaced};
use crate::figures::Timings;
use crate::report::{dollars, thousands};
use crate::sync::lock;

pub(super) fn app(app: App, sales: Sales, mending: Mending, timings: Timings) -> App {
    app.handlers(handlers![
        count_placed,
        count_confirmed,
        count_cancelled,
        mend_faults
    ])
    .state(sales)
    .state(mending)
    .state(timings)
}

/// What was asked for by month, and what came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sales(Arc<Mutex<Figures>>);

#[derive(Debug, Default)]
struct Figures {
    cents_by_month: BTreeMap<u32, u64>,
    cents_confirmed: u64,
    cancelled: u64,
}

impl fmt::Display for Sales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = lock(&self.0);
        let best = figures
            .cents_by_month
            .iter()
            .max_by_key(|(_, cents)| **cents);
        if let Some((month, cents)) = best {
            let (year, month) = (month / 100, month % 100);
            write!(
                f,
                "the best month was {year}-{month:02} with {} ordered; ",
                dollars(*cents)
            )?;
        }
        let confirmed = dollars(figures.cents_confirmed);
        write!(
            f,
            "{confirmed} sold, {} orders cancelled",
            thousands(figures.cancelled)
        )
    }
}

#[handler(event = "OrderPlaced.v1", dedup(ttl = "7d"))]
async fn count_placed(
    placed: Envelope<OrderPlaced>,
    State(sales): State<Sales>,
    State(timings): State<Timings>,
) {
    let month = placed.event.date / 100;
    *lock(&sales.0).cents_by_month.entry(month).or_default() += placed.event.cents;
    timings.handled(&placed.metadata);
}

#[handler(event = "OrderConfirmed.v1", dedup(ttl = "7d"))]
async fn count_confirmed(
    confirmed: Envelope<OrderConfirmed>,
    State(sales): State<Sales>,
    State(timings): State<Timings>,
) {
    lock(&sales.0).cents_confirmed += confirmed.event.cents;
    timings.handled(&confirmed.metadata);
}

#[handler(event = "OrderCancelled.v1", dedup(ttl = "7d"))]
async fn count_cancelled(
    cancelled: Envelope<OrderCancelled>,
    State(sales): State<Sales>,
    State(timings): State<Timings>,
) {
    lock(&sales.0).cancelled += 1;
    timings.handled(&cancelled.metadata);
}
