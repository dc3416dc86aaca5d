use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "orders")]
pub struct OrderPlaced {
    order_id: u64,
}

fn main() {}
