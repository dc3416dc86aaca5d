use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = 1)]
pub struct OrderPlaced(u64);

fn main() {}
