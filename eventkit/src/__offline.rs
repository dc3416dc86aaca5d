//! A consumer group without a broker, for what is fuzzed and what is counted.

use std::sync::Arc;
use std::time::Duration;

use crate::consumer::{GroupContext, HandlerRuntime, Limits, Routes};
use crate::handler::{AppContext, HandlerDefinition};
use crate::kafka::Connection;
use crate::publisher::{Producer, Publisher};

pub(crate) fn group(name: &str, handlers: &[HandlerDefinition]) -> Arc<GroupContext> {
    // A client that is told of no broker connects to none.
    let producer = Producer::new(&Connection::default()).expect("a producer");
    let handlers: Vec<HandlerRuntime> = handlers
        .iter()
        .map(|definition| HandlerRuntime::new(name, definition))
        .collect();
    let mut routes = Routes::default();
    for (index, handler) in handlers.iter().enumerate() {
        let HandlerDefinition {
            topic, event_type, ..
        } = handler.definition;
        routes.add(&topic.into(), event_type, index as u32);
    }
    Arc::new(GroupContext {
        group: name.into(),
        routes,
        handler_ids: handlers.iter().map(|handler| handler.id.clone()).collect(),
        handlers,
        app: Arc::new(AppContext {
            states: Default::default(),
            publisher: Publisher::new(producer, name.into()),
        }),
        dedup: None,
        inbox: None,
        limits: Limits {
            in_flight: 256,
            buffered: 4_096,
            buffered_bytes: 64 << 20,
            uncommitted: 10_000,
            catch_up: Duration::ZERO,
        },
    })
}
