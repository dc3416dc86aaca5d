use eventkit::prelude::*;

#[derive(Event)]
#[event(type = "OrderPlaced.v1", topic = "orders")]
pub union OrderPlaced {
    order_id: u64,
    number: i64,
}

fn main() {}
