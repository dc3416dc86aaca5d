use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced", topic = "orders")]
pub struct OrderPlaced {
    order_id: u64,
}

fn main() {}
