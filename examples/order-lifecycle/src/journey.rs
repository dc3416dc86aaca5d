//! One order's way through the services, as a tree: each event under the one
//! that caused it. Read from the topics, as anybody could.

use std::fmt;
use std::time::{Duration, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::events::{
    OrderId, PARTITIONS, PaymentCharged, PaymentFailed, StockInsufficient, StockReleased,
    StockReserved, TOPICS,
};
use crate::letters;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where the topics ended at some moment.
pub(crate) struct Ends(TopicPartitionList);

#[derive(Debug, Clone)]
pub(crate) struct Journey {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    id: String,
    cause: Option<String>,
    event_type: String,
    source: String,
    time: SystemTime,
    remark: String,
}

impl Ends {
    pub(crate) fn now(bootstrap_servers: &str) -> Result<Self, KafkaError> {
        Self::of(&letters::consumer(bootstrap_servers, "order.journey")?)
    }

    fn of(consumer: &BaseConsumer) -> Result<Self, KafkaError> {
        let mut ends = TopicPartitionList::new();
        for topic in TOPICS {
            for partition in 0..PARTITIONS {
                let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
                ends.add_partition_offset(topic, partition, Offset::Offset(end))?;
            }
        }
        Ok(Self(ends))
    }
}

impl Journey {
    /// What the topics have had of the order since then.
    pub(crate) fn read(
        bootstrap_servers: &str,
        since: &Ends,
        order: OrderId,
    ) -> Result<Self, KafkaError> {
        let consumer = letters::consumer(bootstrap_servers, "order.journey")?;
        let Ends(until) = Ends::of(&consumer)?;
        let records = |list: &TopicPartitionList| -> i64 {
            let offsets = list.elements();
            let offsets = offsets.iter().filter_map(|end| end.offset().to_raw());
            offsets.sum()
        };
        let mut left = records(&until) - records(&since.0);
        consumer.assign(&since.0)?;
        let order = order.to_string();
        let mut steps: Vec<Step> = Vec::new();
        while left > 0 {
            let Some(message) = consumer.poll(PATIENCE) else {
                break;
            };
            let message = message?;
            left -= 1;
            let Some(step) = Step::read(&message, &order) else {
                continue;
            };
            match steps.iter_mut().find(|known| known.id == step.id) {
                Some(known) => known.remark = "published twice".into(),
                None => steps.push(step),
            }
        }
        steps.sort_by_key(|step| step.time);
        Ok(Self { steps })
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        step: &Step,
        indent: &str,
        bend: &str,
    ) -> fmt::Result {
        let since = |step: &Step| {
            let start = self.steps.first().map_or(step.time, |first| first.time);
            step.time
                .duration_since(start)
                .unwrap_or_default()
                .as_millis()
        };
        let name = format!("{indent}{bend}{}", step.event_type);
        let Step { source, remark, .. } = step;
        let line = format!("  {name:<38} {source:<13} +{:>4} ms  {remark}", since(step));
        writeln!(f, "{}", line.trim_end())?;
        let below: Vec<&Step> = self
            .steps
            .iter()
            .filter(|other| other.cause.as_ref() == Some(&step.id))
            .collect();
        let indent = match bend {
            "" => indent.to_owned(),
            "├─ " => format!("{indent}│  "),
            _ => format!("{indent}   "),
        };
        for (index, next) in below.iter().enumerate() {
            let bend = if index + 1 < below.len() {
                "├─ "
            } else {
                "└─ "
            };
            self.write(f, next, &indent, bend)?;
        }
        Ok(())
    }
}

impl Step {
    /// `None` for what is not of the order.
    fn read(message: &BorrowedMessage<'_>, order: &str) -> Option<Self> {
        let header = |name: &str| {
            let mut headers = message.headers()?.iter();
            let value = headers.find(|header| header.key == name)?.value?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if header("ce_correlationid")? != order {
            return None;
        }
        let event_type = header("ce_type")?;
        let millis = message.timestamp().to_millis()?;
        Some(Self {
            id: header("ce_id")?,
            cause: header("ce_causationid"),
            remark: remark(&event_type, message.payload()?).unwrap_or_default(),
            event_type,
            source: header("ce_source")?,
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(millis.unsigned_abs()),
        })
    }
}

fn remark(event_type: &str, payload: &[u8]) -> Option<String> {
    fn event<'a, E: Deserialize<'a>>(payload: &'a [u8]) -> Option<E> {
        serde_json::from_slice(payload).ok()
    }
    Some(match event_type {
        "StockReserved.v1" => {
            let event: StockReserved = event(payload)?;
            format!("{} reserved, {} left", event.units, event.ledger.left)
        }
        "StockInsufficient.v1" => {
            let event: StockInsufficient = event(payload)?;
            format!("only {} left", event.ledger.left)
        }
        "StockReleased.v1" => {
            let event: StockReleased = event(payload)?;
            format!("{} back on the shelf", event.units)
        }
        "PaymentCharged.v1" => match event::<PaymentCharged>(payload)?.attempts {
            1 => "at the first attempt".into(),
            attempts => format!("at attempt {attempts}, the gateway was busy"),
        },
        "PaymentFailed.v1" => event::<PaymentFailed>(payload)?.reason,
        _ => return None,
    })
}

impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.iter().find(|step| step.cause.is_none()) {
            Some(first) => self.write(f, first, "", ""),
            None => Ok(()),
        }
    }
}
