use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = total)]
pub struct OrderPlaced {
    total: f64,
}

fn main() {}
