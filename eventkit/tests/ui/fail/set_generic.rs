use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "StockReserved.v1", topic = "stock")]
pub struct StockReserved {
    order_id: u64,
}

#[derive(Event)]
pub enum Reservation<T> {
    StockReserved(StockReserved),
    Other(T),
}

fn main() {}
