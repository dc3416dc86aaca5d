use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[handler(event = "OrderPlaced", timeout = "soon", retry(attempts = 0), ordr = key)]
async fn reserve_stock(_order: &OrderPlaced) {}

fn main() {
    // The mistakes above raise no further one here.
    let _ = handlers![reserve_stock];
}
