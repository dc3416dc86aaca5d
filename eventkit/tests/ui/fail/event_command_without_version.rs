use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "PlaceOrder", topic = "orders", kind = command)]
pub struct PlaceOrder {
    order_id: u64,
}

fn main() {}
