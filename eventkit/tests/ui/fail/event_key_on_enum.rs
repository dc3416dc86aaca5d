use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderChanged.v1", topic = "orders", key = order_id)]
pub enum OrderChanged {
    Placed { order_id: u64 },
    Cancelled { order_id: u64 },
}

fn main() {}
