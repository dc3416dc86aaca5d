//! A task for each key that has work: keys run side by side, each in order.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::tuned;
use super::window::{Place, Windows};
use crate::case::Job;
use crate::check::PATIENCE;
use crate::event::OrderPlaced;

/// Handlers at once: what eventkit lets run on eight partitions.
const RUNNING: usize = 8 * 256;
/// Records received and not handled, likewise.
const HELD: usize = 8 * 4_096;
/// Records between two stores of offsets.
const STORE_EVERY: u64 = 1_000;

struct Work {
    order: OrderPlaced,
    place: Place,
    _held: OwnedSemaphorePermit,
}

struct Keys<H> {
    /// What waits behind the one that runs; a key without a task has no entry.
    waiting: Mutex<HashMap<u32, VecDeque<Work>>>,
    running: Semaphore,
    windows: Windows,
    handler: H,
}

/// Consumes the load to its end.
pub async fn consume<H, F>(job: &Job, handler: H) -> Result<()>
where
    H: Fn(OrderPlaced) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let topic = job.topic();
    let consumer: StreamConsumer = tuned(job)?.create()?;
    consumer.subscribe(&[&topic])?;
    let held = Arc::new(Semaphore::new(HELD));
    let keys = Arc::new(Keys {
        waiting: Mutex::default(),
        running: Semaphore::new(RUNNING),
        windows: Windows::new(&topic, job.load().partitions),
        handler,
    });
    for received in 1..=job.load().deliveries() {
        let permit = held.clone().acquire_owned().await?;
        let Ok(message) = timeout(PATIENCE, consumer.recv()).await else {
            break;
        };
        let message = message?;
        let payload = message.payload().context("a record without payload")?;
        keys.give(Work {
            order: serde_json::from_slice(payload)?,
            place: keys.windows.receive(message.partition(), message.offset()),
            _held: permit,
        });
        if received % STORE_EVERY == 0 {
            keys.windows.store(&consumer)?;
        }
    }
    let _all_handled = held.acquire_many(HELD as u32).await?;
    keys.windows.commit(&consumer)
}

impl<H, F> Keys<H>
where
    H: Fn(OrderPlaced) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn give(self: &Arc<Self>, work: Work) {
        let customer = work.order.customer;
        match self.waiting().entry(customer) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push_back(work),
            Entry::Vacant(idle) => {
                idle.insert(VecDeque::new());
                tokio::spawn(self.clone().serve(customer, work));
            }
        }
    }

    async fn serve(self: Arc<Self>, customer: u32, first: Work) {
        let mut work = Some(first);
        while let Some(Work {
            order,
            place,
            _held,
        }) = work
        {
            // Never closed, so it never fails.
            let _running = self.running.acquire().await;
            (self.handler)(order).await;
            self.windows.handled(&place);
            work = self.next(customer);
        }
    }

    /// The key's next record; without one its entry goes.
    fn next(&self, customer: u32) -> Option<Work> {
        let mut waiting = self.waiting();
        let next = waiting.get_mut(&customer)?.pop_front();
        if next.is_none() {
            waiting.remove(&customer);
        }
        next
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u32, VecDeque<Work>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
