use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[handler(event = "OrderPlaced.v1", timeout = "5s")]
fn reserve_stock(_order: OrderPlaced) {}

fn main() {}
