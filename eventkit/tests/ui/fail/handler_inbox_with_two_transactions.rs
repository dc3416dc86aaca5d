use eventkit::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders")]
struct OrderPlaced {}

struct Postgres;

struct Tx<'t, D>(&'t mut D);

#[handler(event = "OrderPlaced.v1", inbox)]
async fn reserve(_: OrderPlaced, Tx(_): Tx<Postgres>, Tx(_): Tx<Postgres>) {}

fn main() {
    App::new("inventory").handlers(handlers![reserve]);
}
