use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event = "OrderPlaced.v1"]
pub struct OrderPlaced {
    order_id: u64,
}

fn main() {}
