use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
pub struct OrderPlaced {
    pub order_id: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Measured.v1", topic = "measures")]
pub struct Measured {
    value: f64,
}

#[handler(event = "Measured.v1", dedup(key = value))]
async fn measure(_event: Measured) {}

fn main() {}
