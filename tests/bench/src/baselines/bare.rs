//! The fastest loop: `BaseConsumer` on one thread, tuned, decoding straight
//! from librdkafka's buffer, offsets stored a thousand at a time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use eventkit::Event;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};

use super::offsets::Offsets;
use super::tuned;
use crate::case::Job;
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::report::Report;

const WAIT: Duration = Duration::from_millis(100);
/// Empty polls in a row after which nothing more will come.
const PATIENCE: u32 = 300;

/// Takes every record for an order, as a topic of one type allows.
pub fn run(job: &Job) -> Result<Report> {
    each(job, |_| Ok(true))
}

/// Looks at the type first, as a topic of several types demands. librdkafka
/// copies all headers of a record for whoever looks at one.
pub fn run_by_type(job: &Job) -> Result<Report> {
    each(job, |message| {
        let headers = message.headers().context("a record without headers")?;
        let kind = headers.iter().find(|header| header.key == "ce_type");
        let kind = kind.context("a record without type")?;
        Ok(kind.value == Some(OrderPlaced::TYPE.as_bytes()))
    })
}

fn each(job: &Job, is_order: impl Fn(&BorrowedMessage<'_>) -> Result<bool>) -> Result<Report> {
    let check = Check::new(job.load());
    let topic = job.topic();
    let consumer: BaseConsumer = tuned(job)?.create()?;
    consumer.subscribe(&[&topic])?;
    let mut offsets = Offsets::new(&topic, job.load().partitions);
    let mut empty = 0;
    while !check.is_done() && empty < PATIENCE {
        while let Some(message) = consumer.poll(WAIT) {
            let message = message?;
            ensure!(is_order(&message)?, "a record of another type");
            let payload = message.payload().context("a record without payload")?;
            let order: OrderPlaced = serde_json::from_slice(payload)?;
            let last = check.handled(&order);
            offsets.handled(&consumer, message.partition(), message.offset())?;
            empty = 0;
            if last {
                break;
            }
        }
        empty += 1;
    }
    offsets.commit(&consumer)?;
    Ok(Report::of(&check))
}
