use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

pub struct Stock;

impl Stock {
    #[handler(event = "OrderPlaced.v1")]
    async fn reserve(&self, _order: OrderPlaced) {}
}

fn main() {}
