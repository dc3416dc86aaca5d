use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced", topic = "orders", kind = domain)]
pub struct OrderPlaced {
    order_id: u64,
}

fn main() {}
