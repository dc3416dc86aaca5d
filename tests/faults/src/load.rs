//! Events that flow while faults happen.

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
    pub(crate) keys: u32,
    pub(crate) per_second: u64,
    /// Ends by itself after so many events.
    pub(crate) events: u64,
    /// One event in so many is written twice, with the same id.
    pub(crate) copies: Option<u64>,
}

/// A task that writes; what is acknowledged is in `written`.
pub(crate) struct Load {
    written: Arc<Mutex<Vec<Written>>>,
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

/// Between two batches.
const TICK: Duration = Duration::from_millis(50);

impl Load {
    pub(crate) fn start(servers: &str, topic: &str, plan: Plan, mut rng: Rng) -> Self {
        let written = Arc::<Mutex<Vec<Written>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (writer, topic) = (RawWriter::at(servers), topic.to_owned());
        let task = tokio::spawn({
            let (written, stop) = (written.clone(), stop.clone());
            async move {
                let mut numbers = vec![0; plan.keys as usize];
                let mut left = plan.events;
                let mut ticks = tokio::time::interval(TICK);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let batch = (plan.per_second / 20).max(1);
                while left > 0 && !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let mut events = Vec::new();
                    for _ in 0..batch.min(left) {
                        let key = rng.within(0..u64::from(plan.keys)) as u32;
                        let n = numbers[key as usize];
                        numbers[key as usize] += 1;
                        let copied = plan.copies.is_some_and(|one_in| rng.within(0..one_in) == 0);
                        let event = Event { key, n };
                        events.extend(std::iter::repeat_n(event, 1 + usize::from(copied)));
                    }
                    left -= batch.min(left);
                    write(&writer, &topic, &events, &written).await;
                }
            }
        });
        Self {
            written,
            stop,
            task: Some(task),
        }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&[Written]) -> T) -> T {
        read(&self.written.lock().unwrap_or_else(PoisonError::into_inner))
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

/// Events as records, in their order; notes what is acknowledged.
async fn write(writer: &RawWriter, topic: &str, events: &[Event], written: &Mutex<Vec<Written>>) {
    let records: Vec<RawRecord> = events.iter().map(|event| record(*event)).collect();
    let places = writer.write_all(topic, &records).await;
    let acknowledged = places.into_iter().zip(events);
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    written.extend(acknowledged.map(|((partition, offset), event)| Written {
        partition,
        offset,
        event: *event,
    }));
}

pub(crate) fn record(event: Event) -> RawRecord {
    Step::record(event.key_text(), event.n)
}
