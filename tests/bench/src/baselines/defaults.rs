//! The loop of rdkafka's own examples: `StreamConsumer`, librdkafka's defaults.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};

use super::plain;
use crate::case::Job;
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::report::Report;
use crate::subject::runtime;

const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(job: &Job) -> Result<Report> {
    runtime()?.block_on(consume(job))
}

async fn consume(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    let consumer: StreamConsumer = plain(job)?.create()?;
    consumer.subscribe(&[&job.topic()])?;
    let all = async {
        loop {
            let message = consumer.recv().await?;
            let payload = message.payload().context("a record without payload")?;
            let order: OrderPlaced = serde_json::from_slice(payload)?;
            if check.handled(&order) {
                return anyhow::Ok(());
            }
        }
    };
    let mut all = std::pin::pin!(all);
    let mut before = u64::MAX;
    while before != check.delivered() {
        before = check.delivered();
        if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut all).await {
            ended?;
            break;
        }
    }
    consumer.commit_consumer_state(CommitMode::Sync)?;
    Ok(Report::of(&check))
}
