use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[derive(Event)]
pub enum OrderEvent {
    Placed(OrderPlaced),
}

#[handler(event = "OrderPlaced.v1")]
async fn reserve_stock(_order: OrderEvent) {}

fn main() {}
