//! What the macros write holds in a crate that has names of its own.

mod core {}
mod std {}

use ::eventkit::prelude::*;

#[allow(dead_code)]
type Result = ();
#[allow(dead_code)]
struct Option;
#[allow(dead_code)]
struct Box;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Some.v1", topic = "t", key = out)]
struct Some {
    out: u64,
}

#[derive(Event)]
enum Any {
    Out(Some),
}

#[handler(event = "Some.v1", dedup(key = out))]
async fn delivery(event: Some) -> Any {
    Any::Out(event)
}

#[handler(event = "Some.v1")]
fn requirements(parameter0: Some) -> Any {
    parameter0.into()
}

#[cfg(any())]
mod absent {
    use super::*;

    #[handler(event = "Some.v1")]
    async fn never(_: Missing) {}
}

#[handler(event = "Some.v1")]
#[cfg(any())]
async fn nor_this(_: Missing) {}

fn main() {
    let _ = handlers![delivery, requirements];
}
