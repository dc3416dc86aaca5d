//! Fills a load's topic, with the headers that eventkit's publisher writes.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::event::{OrderPlaced, mix};
use crate::kafka;
use crate::load::{Keys, Load};

/// Fills the topic unless it is full already.
pub fn ensure_filled(load: &Load) -> Result<()> {
    let topic = load.topic("");
    let wanted = load.deliveries();
    match kafka::records(&topic)? {
        Some(found) if found == wanted => return Ok(()),
        Some(_) => kafka::delete(&topic)?,
        None => {}
    }
    kafka::create(&topic, load.partitions)?;
    println!("filling {topic}");
    fill(load, &topic)?;
    let found = kafka::records(&topic)?;
    ensure!(
        found == Some(wanted),
        "{topic} has {found:?} records instead of {wanted}"
    );
    Ok(())
}

fn fill(load: &Load, topic: &str) -> Result<()> {
    let sender = Sender::in_bulk(load)?;
    let mut orders = load.orders();
    let mut recent: VecDeque<OrderPlaced> = VecDeque::new();
    for delivery in 0..load.deliveries() {
        let repeats = load
            .duplicate_every
            .filter(|every| delivery % every == every - 1);
        let order = match repeats {
            // Not always the last one: a repetition comes sooner or later.
            Some(_) => recent[(mix(delivery) % recent.len() as u64) as usize].clone(),
            None => orders.next().context("fewer events than deliveries")?,
        };
        sender.send(topic, &order)?;
        if load.duplicate_every.is_some() {
            if recent.len() == 1_000 {
                recent.pop_front();
            }
            recent.push_back(order);
        }
    }
    sender.flush()
}

/// Writes events as eventkit's publisher would.
pub struct Sender {
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Sender {
    fn in_bulk(load: &Load) -> Result<Self> {
        // Padding is long and says nothing.
        let compression = if load.padding > 0 { "lz4" } else { "none" };
        Self::new(&[
            ("linger.ms", "20"),
            ("queue.buffering.max.kbytes", "65536"),
            ("compression.type", compression),
        ])
    }

    /// Each event on its way as soon as it is there.
    pub fn at_once() -> Result<Self> {
        Self::new(&[("linger.ms", "0")])
    }

    fn new(properties: &[(&str, &str)]) -> Result<Self> {
        let mut config = kafka::config()?;
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        Ok(Self {
            producer: config.create()?,
        })
    }

    /// Queues an event; waits where the queue is full.
    pub fn send(&self, topic: &str, order: &OrderPlaced) -> Result<()> {
        let key = order.customer_id.to_string();
        let payload = serde_json::to_vec(order)?;
        let mut record = BaseRecord::to(topic)
            .key(&key)
            .payload(&payload)
            .headers(headers(order));
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    pub fn flush(&self) -> Result<()> {
        self.producer
            .flush(Duration::from_secs(120))
            .context("not everything was acknowledged")
    }
}

pub fn headers(order: &OrderPlaced) -> OwnedHeaders {
    let (id, subject) = (order.order_id.to_string(), order.customer_id.to_string());
    headers_of(&id, &subject)
}

pub fn headers_of(id: &str, subject: &str) -> OwnedHeaders {
    let all = [
        ("ce_specversion", "1.0"),
        ("ce_id", id),
        ("ce_type", "OrderPlaced.v1"),
        ("ce_source", "shop"),
        ("ce_time", "2026-01-01T12:00:00.000000Z"),
        ("ce_subject", subject),
        ("content-type", "application/json"),
        ("ce_correlationid", id),
    ];
    let start = OwnedHeaders::new_with_capacity(all.len());
    all.into_iter().fold(start, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

/// A load's events in order; always the same.
pub struct Orders<'l> {
    load: &'l Load,
    number: u64,
    /// How many events each key has had.
    sequences: Vec<u64>,
    /// For each key, the share of events that it or one before it gets.
    shares: Vec<f64>,
}

impl<'l> Orders<'l> {
    pub fn new(load: &'l Load) -> Self {
        let exponent = match load.distribution {
            Keys::Uniform => 0.0,
            Keys::Zipf(exponent) => exponent,
        };
        let mut total = 0.0;
        let mut shares: Vec<f64> = (0..load.keys)
            .map(|key| {
                total += f64::from(key + 1).powf(-exponent);
                total
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= total);
        Self {
            load,
            number: 0,
            sequences: vec![0; load.keys as usize],
            shares,
        }
    }

    fn key(&self, number: u64) -> usize {
        // One key has a hundredth of all that is poisoned.
        if self.load.is_poison(number)
            && number.is_multiple_of(100 * self.load.poison_every.unwrap_or(1))
        {
            return 0;
        }
        let point = mix(number) as f64 / u64::MAX as f64;
        self.shares
            .partition_point(|share| *share < point)
            .min(self.shares.len() - 1)
    }
}

impl Iterator for Orders<'_> {
    type Item = OrderPlaced;

    fn next(&mut self) -> Option<OrderPlaced> {
        let number = self.number;
        if number == self.load.events {
            return None;
        }
        self.number += 1;
        let key = self.key(number);
        let sequence = self.sequences[key];
        self.sequences[key] += 1;
        Some(OrderPlaced::new(
            key as u32,
            number,
            sequence,
            self.load.padding,
        ))
    }
}
