use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderChecked", kind = domain)]
pub struct OrderChecked {
    order_id: u64,
}

#[handler(event = "OrderPlaced.v1")]
async fn check(order: OrderPlaced) -> OrderChecked {
    OrderChecked { order_id: order.order_id }
}

fn main() {}
