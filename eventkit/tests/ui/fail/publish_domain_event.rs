use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "StockCounted", kind = domain)]
struct StockCounted {}

async fn count(publisher: Publisher) {
    let _ = publisher.publish(&StockCounted {}).await;
}

fn main() {}
