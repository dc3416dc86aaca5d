//! A crate with strict lints gets no warning from what the macros write.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub)]
#![deny(rust_2018_idioms, non_camel_case_types, unused_qualifications)]

use eventkit::prelude::*;

/// An order was placed.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id, source = "/shop")]
pub struct OrderPlaced {
    order_id: u64,
}

/// Stock was reserved.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "StockReserved.v1", topic = "stock")]
pub struct StockReserved {}

/// What may come of an order.
#[derive(Debug, Event)]
pub enum Reservation {
    /// It was reserved.
    Reserved(StockReserved),
}

/// Reserves.
#[handler(event = "OrderPlaced.v1", dedup(key = order_id), retry(attempts = 2))]
pub async fn reserve(_: OrderPlaced) -> Result<Reservation, std::io::Error> {
    Ok(StockReserved {}.into())
}

/// Prints on the blocking pool.
#[handler(event = "OrderPlaced.v1")]
pub fn print(order: Envelope<OrderPlaced>, Attempt(attempt): Attempt) {
    println!("{}, attempt {attempt}", order.event.order_id);
}

/// Computes on a task of its own.
#[handler(event = "OrderPlaced.v1", parallel)]
pub async fn compute(_: OrderPlaced) {}

fn main() {}
