use std::time::Duration;

use eventkit::prelude::*;
use eventkit_tests::{Step, redis_url};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// A Redis list of what was done, in order, by which process.
#[derive(Clone)]
pub(crate) struct Results {
    connection: MultiplexedConnection,
    list: String,
}

impl Results {
    pub(crate) async fn open(list: &str) -> Self {
        let client = redis::Client::open(redis_url()).expect("a Redis address");
        let connection = client.get_multiplexed_async_connection().await;
        Self {
            connection: connection.expect("Redis answers"),
            list: list.to_owned(),
        }
    }

    async fn push(&self, what: &str, step: &Step) -> redis::RedisResult<()> {
        let by = std::process::id();
        let line = format!("{what} {by} {} {}", step.key, step.n);
        self.connection.clone().rpush(&self.list, line).await
    }
}

#[handler(event = "Step.v1")]
pub(crate) async fn record(step: Step, State(results): State<Results>) -> anyhow::Result<()> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(results.push("done", &step).await?)
}

#[handler(event = "Step.v1")]
pub(crate) async fn slow(step: Step, State(results): State<Results>) -> anyhow::Result<()> {
    results.push("begun", &step).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(results.push("done", &step).await?)
}

#[handler(event = "Step.v1")]
pub(crate) async fn stuck(step: Step, State(results): State<Results>) -> anyhow::Result<()> {
    results.push("begun", &step).await?;
    std::future::pending().await
}

#[handler(event = "Step.v1")]
pub(crate) fn stuck_blocking(step: Step, State(results): State<Results>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    runtime.block_on(async move { results.push("begun", &step).await })?;
    loop {
        std::thread::park();
    }
}
