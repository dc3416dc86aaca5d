//! Helpers for the tests against real servers: what they need of Kafka, of
//! processes, of Jaeger, and how they wait.

#![allow(missing_docs)]

mod effects;
mod event;
mod inbox;
mod jaeger;
mod kafka;
mod logs;
mod outbox;
mod postgres_server;
mod process;
mod proxy;
mod redis_server;
mod servers;
mod wait;

pub use effects::{Effect, Effects};
pub use event::{Step, on};
pub use inbox::{By, Reserved, TestInbox};
pub use jaeger::{Jaeger, JaegerSpan};
pub use kafka::{Admin, RawHeaders, RawRecord, RawWriter, read_all, read_all_at};
pub use logs::{Logged, Logs};
pub use outbox::{Published, TestOutbox};
pub use postgres_server::PostgresServer;
pub use process::{Process, program, worker};
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use servers::{
    app, database_address, database_url, free_port, jaeger_url, kafka_servers, otlp_endpoint,
    redis_url, unique,
};
pub use wait::{eventually, eventually_within, settles_at};
