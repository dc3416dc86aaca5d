use eventkit::prelude::*;

#[derive(Serialize, Deserialize)]
pub struct Order {
    id: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order.number)]
pub struct OrderPlaced {
    order: Order,
}

fn main() {}
