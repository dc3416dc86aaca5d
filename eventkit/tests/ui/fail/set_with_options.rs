use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "StockReserved.v1", topic = "stock")]
pub struct StockReserved {
    order_id: u64,
}

#[derive(Event)]
#[event(topic = "stock")]
pub enum Reservation {
    StockReserved(StockReserved),
}

fn main() {}
