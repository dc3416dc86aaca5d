//! Events that flow while faults happen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventkit_tests::{RawRecord, RawWriter, Step};
use tokio::task::JoinHandle;

use crate::journal::Event;
use crate::oracle::Written;
use crate::rng::Rng;

/// What to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) first_key: u32,
    pub(crate) keys: u32,
    pub(crate) per_second: u64,
    /// Ends by itself after so many events.
    pub(crate) events: u64,
    /// One event in so many is written twice, with the same id.
    pub(crate) copies: Option<u64>,
    /// Copies go to any of so many partitions, wherever the key belongs.
    pub(crate) scattered: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            first_key: 0,
            keys: 200,
            per_second: 300,
            events: u64::MAX,
            copies: None,
            scattered: None,
        }
    }
}

/// What is acknowledged, of all loads of a scene.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged(Arc<Mutex<Vec<Written>>>);

impl Acknowledged {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[Written]) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn extend(&self, more: impl IntoIterator<Item = Written>) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend(more);
    }

    /// For events of which nobody can demand that they are done.
    pub(crate) fn retain(&self, keep: impl FnMut(&Written) -> bool) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(keep);
    }
}

/// A task that writes.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

/// Between two batches.
const TICK: Duration = Duration::from_millis(50);

impl Load {
    pub(crate) fn start(
        servers: &str,
        topic: &str,
        plan: Plan,
        mut rng: Rng,
        written: Acknowledged,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (writer, topic) = (RawWriter::at(servers), topic.to_owned());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut numbers = HashMap::new();
            let mut left = plan.events;
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while left > 0 && !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let batch = (plan.per_second / 20).clamp(1, left);
                let mut records = Vec::new();
                for _ in 0..batch {
                    let key = plan.first_key + rng.within(0..u64::from(plan.keys)) as u32;
                    let next = numbers.entry(key).or_default();
                    let event = Event { key, n: *next };
                    *next += 1;
                    records.push((event, record(event)));
                    if plan.copies.is_some_and(|one_in| rng.within(0..one_in) == 0) {
                        let mut copy = record(event);
                        copy.partition = plan.scattered.map(|all| rng.within(0..all) as i32);
                        records.push((event, copy));
                    }
                }
                left -= batch;
                write(&writer, &topic, &records, &written).await;
            }
        });
        Self {
            stop,
            task: Some(task),
        }
    }

    /// Waits until all is written.
    pub(crate) async fn complete(&mut self) -> anyhow::Result<()> {
        if let Some(task) = self.task.take() {
            task.await?;
        }
        Ok(())
    }

    /// Writes no more, and waits for what is on its way.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.complete().await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Writes in order; notes what is acknowledged.
async fn write(
    writer: &RawWriter,
    topic: &str,
    records: &[(Event, RawRecord)],
    written: &Acknowledged,
) {
    let places = writer
        .write_all(topic, records.iter().map(|(_, record)| record))
        .await;
    let acknowledged = places.into_iter().zip(records);
    written.extend(
        acknowledged.map(|((partition, offset), (event, _))| Written {
            partition,
            offset,
            event: *event,
        }),
    );
}

pub(crate) fn record(event: Event) -> RawRecord {
    Step::record(event.key_text(), event.n)
}
