use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[handler(event = "OrderPlaced.v1")]
async fn reserve_stock(_order: OrderPlaced, _stock: State<impl Clone>) {}

fn main() {}
