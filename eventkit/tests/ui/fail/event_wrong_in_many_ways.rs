use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced", topic = "orders!", key = id, knd = domain)]
pub struct OrderPlaced {
    order_id: u64,
}

// The mistakes above raise no further ones here.
#[handler(event = "OrderPlaced.v1")]
async fn reserve_stock(order: OrderPlaced) -> Option<OrderPlaced> {
    Some(order)
}

fn main() {}
