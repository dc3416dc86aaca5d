//! What is counted, each for two numbers of events: the difference is free of
//! start and end.

#![allow(missing_docs)]

use eventkit::__counts::{Dedup, Dispatch, Headers, Offsets};
use eventkit::handlers;
use eventkit::prelude::*;
use eventkit_counts::{LONG, SHORT};
use gungraun::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
struct OrderPlaced {
    order_id: u64,
}

#[handler(event = "OrderPlaced.v1")]
async fn noop(_: OrderPlaced) {}

/// Not ready at once, so that its key is held and later events wait.
#[handler(event = "OrderPlaced.v1")]
async fn waits(_: OrderPlaced) {
    tokio::task::yield_now().await;
}

fn to_noop(events: usize) -> Dispatch {
    Dispatch::new(handlers![noop][0], events)
}

fn to_waits(events: usize) -> Dispatch {
    Dispatch::new(handlers![waits][0], events)
}

fn for_noop(events: usize) -> Headers {
    Headers::new(handlers![noop][0], events)
}

#[library_benchmark(setup = to_noop)]
#[bench::short(SHORT)]
#[bench::long(LONG)]
fn dispatch(mut subject: Dispatch) -> Dispatch {
    subject.run();
    subject
}

#[library_benchmark(setup = to_waits)]
#[bench::short(SHORT)]
#[bench::long(LONG)]
fn dispatch_waiting(mut subject: Dispatch) -> Dispatch {
    subject.run();
    subject
}

#[library_benchmark(setup = for_noop)]
#[bench::short(SHORT)]
#[bench::long(LONG)]
fn headers(mut subject: Headers) -> Headers {
    subject.run();
    subject
}

#[library_benchmark(setup = Dedup::new)]
#[bench::short(SHORT)]
#[bench::long(LONG)]
fn dedup(mut subject: Dedup) -> Dedup {
    subject.run();
    subject
}

#[library_benchmark(setup = Offsets::new)]
#[bench::short(SHORT)]
#[bench::long(LONG)]
fn offsets(mut subject: Offsets) -> Offsets {
    subject.run();
    subject
}

library_benchmark_group!(
    name = per_event,
    benchmarks = [dispatch, dispatch_waiting, headers, dedup, offsets]
);

main!(library_benchmark_groups = per_event);
