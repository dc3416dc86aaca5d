//! Gathers steps into batches.
//!
//! A worker takes all that is queued and sends it as one round trip; while that
//! is under way, more queues up. So batches grow with the load, and a lone step
//! does not wait for company. Two round trips may be under way, so that marks
//! need not wait for claims. They travel on one connection, which keeps the order
//! of steps, as long as it does not break; what comes later then finds the token
//! that it needs, or none.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::link::Link;
use super::script::{self, Step};

/// About a millisecond of Redis's time.
const LARGEST: usize = 512;
const UNDER_WAY: usize = 2;

/// The way to the worker, which starts with the first step. Unbounded: who sends
/// a step waits for its answer, and releases are no more than claims.
#[derive(Default)]
pub(super) struct Queue(RwLock<Option<mpsc::UnboundedSender<Step>>>);

impl Queue {
    /// Queues the step; `run` is the worker to start if there is none, or if its
    /// runtime has ended. Gives the step back where there is no runtime.
    pub(super) fn submit<W>(
        &self,
        step: Step,
        run: impl FnOnce(mpsc::UnboundedReceiver<Step>) -> W,
    ) -> Result<(), Step>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let step = {
            let queue = self.0.read().unwrap_or_else(PoisonError::into_inner);
            match Self::send(queue.as_ref(), step) {
                Ok(()) => return Ok(()),
                Err(step) => step,
            }
        };
        let mut queue = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another caller may have started it meanwhile.
        let Err(step) = Self::send(queue.as_ref(), step) else {
            return Ok(());
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Err(step);
        };
        let (sender, steps) = mpsc::unbounded_channel();
        runtime.spawn(run(steps));
        Self::send(Some(&sender), step)?;
        *queue = Some(sender);
        Ok(())
    }

    fn send(queue: Option<&mpsc::UnboundedSender<Step>>, step: Step) -> Result<(), Step> {
        match queue {
            Some(queue) => queue.send(step).map_err(|unsent| unsent.0),
            None => Err(step),
        }
    }
}

/// The worker: ends when the store is gone and what was queued is answered.
pub(super) async fn run(
    link: Arc<Link>,
    prefix: Arc<str>,
    timeout: Duration,
    mut steps: mpsc::UnboundedReceiver<Step>,
) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            Some(()) = under_way.next() => {}
            taken = steps.recv_many(&mut batch, LARGEST), if under_way.len() < UNDER_WAY => {
                if taken == 0 {
                    break;
                }
                under_way.push(send(&link, &prefix, timeout, batch));
            }
        }
    }
    while under_way.next().await.is_some() {}
}

async fn send(link: &Link, prefix: &str, timeout: Duration, mut batch: Vec<Step>) {
    batch.retain(|step| !step.is_abandoned());
    if batch.is_empty() {
        return;
    }
    link.count_steps(batch.len());
    match script::run(link, prefix, timeout, &batch).await {
        Ok(replies) => {
            for (step, reply) in batch.into_iter().zip(replies) {
                step.answer(reply);
            }
        }
        Err(error) => {
            for step in batch {
                step.answer(Err(error.clone()));
            }
        }
    }
}
