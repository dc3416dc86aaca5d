use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = id)]
pub struct OrderPlaced {
    order_id: u64,
}

// The event's own mistake is the only one.
#[handler(event = "OrderPlaced.v1", dedup(key = order_id))]
async fn reserve_stock(order: OrderPlaced) -> OrderPlaced {
    Some(order).unwrap()
}

fn main() {
    let _ = handlers![reserve_stock];
}
