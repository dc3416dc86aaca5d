//! How many times a delivery asks for memory.
//!
//! What librdkafka allocates, in C, is not counted. Events of plain numbers
//! decode without memory of their own, so that all that is counted is ours.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{app, until};
use eventkit::embedded::EmbeddedBroker;
use eventkit::prelude::*;
use eventkit::{HandlerDefinition, handlers};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Ticked.v1", topic = "ticks", key = key)]
struct Ticked {
    key: u32,
    number: u64,
}

#[derive(Clone)]
struct Handled(Arc<AtomicU64>);

#[handler(event = "Ticked.v1")]
async fn ready(tick: Ticked, State(handled): State<Handled>) {
    assert!(tick.number < EVENTS);
    handled.0.fetch_add(1, Ordering::Relaxed);
}

#[handler(event = "Ticked.v1")]
async fn waiting(_: Ticked, State(handled): State<Handled>) {
    tokio::task::yield_now().await;
    handled.0.fetch_add(1, Ordering::Relaxed);
}

/// Of these the first ones make room for the others: rooms, lanes, queues.
const EVENTS: u64 = 30_000;
const COUNTED: u64 = 20_000;

async fn blocks_per_event(handler: Vec<HandlerDefinition>) -> f64 {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("ticks", 4).unwrap();
    let publisher = Publisher::builder("clock")
        .bootstrap_servers(broker.bootstrap_servers())
        .build()
        .unwrap();
    for from in (0..EVENTS).step_by(1_000) {
        let ticks = (from..from + 1_000).map(|number| Ticked {
            key: number as u32 % 100,
            number,
        });
        publisher
            .publish_all(ticks.collect::<Vec<_>>())
            .await
            .unwrap();
    }
    drop(publisher);
    let handled = Arc::new(AtomicU64::new(0));
    let running = app("counter", &broker)
        .handlers(handler)
        .state(Handled(handled.clone()))
        .start()
        .await
        .unwrap();
    let counted = |events: u64| {
        let handled = handled.clone();
        move || handled.load(Ordering::Relaxed) >= events
    };
    until("the first events", counted(EVENTS - COUNTED)).await;
    let (begun, before) = (handled.load(Ordering::Relaxed), dhat::HeapStats::get());
    until("all events", counted(EVENTS)).await;
    let (ended, after) = (handled.load(Ordering::Relaxed), dhat::HeapStats::get());
    running.shutdown().await.unwrap();
    (after.total_blocks - before.total_blocks) as f64 / (ended - begun) as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_allocates_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let of_ready = blocks_per_event(handlers![ready]).await;
    let of_waiting = blocks_per_event(handlers![waiting]).await;
    // A batch of records has a list of its own, and may be small.
    assert!(of_ready < 0.25, "{of_ready} of a handler that is ready");
    // A place among those that run.
    assert!(of_waiting < 1.25, "{of_waiting} of a handler that waits");
}
