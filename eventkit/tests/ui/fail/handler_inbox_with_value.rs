use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders")]
struct OrderPlaced {}

#[handler(event = "OrderPlaced.v1", inbox = true)]
async fn reserve(_: OrderPlaced) {}

fn main() {
    App::new("inventory").handlers(handlers![reserve]);
}
