use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
pub struct OrderPlaced {
    order_id: u64,
}

fn main() {}
