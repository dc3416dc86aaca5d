use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

pub struct Stock;

#[handler(event = "OrderPlaced.v1")]
async fn reserve_stock(_order: OrderPlaced, State(_stock): State<Stock>) {}

fn main() {}
