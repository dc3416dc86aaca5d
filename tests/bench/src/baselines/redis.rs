//! Dedup by hand: a claim before the handler, a mark after it.

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;

use crate::event::OrderPlaced;

const LEASE: u64 = 30;
const TTL: u64 = 3_600;

/// A database of the benchmark's own, which it empties.
const DATABASE: u32 = 15;

pub fn url() -> Result<String> {
    let url = std::env::var("REDIS_URL").context("REDIS_URL is not set: use tests/bench/run")?;
    Ok(format!("{}/{DATABASE}", url.trim_end_matches('/')))
}

/// Commands in flight together share their round trips.
#[derive(Clone)]
pub struct Redis {
    connection: MultiplexedConnection,
}

impl Redis {
    pub async fn connect() -> Result<Self> {
        let client = redis::Client::open(url()?)?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self { connection })
    }

    pub async fn empty(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        Ok(redis::cmd("FLUSHDB").query_async(&mut connection).await?)
    }

    /// All commands that the server has carried out, those in scripts too.
    pub async fn commands(&self) -> Result<u64> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO")
            .arg("stats")
            .query_async(&mut connection)
            .await?;
        info.lines()
            .find_map(|line| {
                line.strip_prefix("total_commands_processed:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .context("no total_commands_processed")
    }

    /// Whether the event is ours to handle.
    pub async fn claim(&self, order: &OrderPlaced) -> Result<bool> {
        self.set_new(order, LEASE).await
    }

    /// Marks it for as long as repetitions may come, before it is handled.
    pub async fn mark_first(&self, order: &OrderPlaced) -> Result<bool> {
        self.set_new(order, TTL).await
    }

    pub async fn done(&self, order: &OrderPlaced) -> Result<()> {
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(key(order)).arg("done").arg("EX").arg(TTL);
        Ok(set.query_async(&mut connection).await?)
    }

    async fn set_new(&self, order: &OrderPlaced, seconds: u64) -> Result<bool> {
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(key(order))
            .arg("claimed")
            .arg("NX")
            .arg("EX")
            .arg(seconds);
        let set: Option<String> = set.query_async(&mut connection).await?;
        Ok(set.is_some())
    }
}

fn key(order: &OrderPlaced) -> String {
    format!("bench:{}", order.order_id)
}
