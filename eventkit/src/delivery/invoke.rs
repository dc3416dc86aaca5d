//! One run of the handler, bounded in time and number, its panics caught.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::Context;
use super::admit::Held;
use crate::handler::{Delivery, HandlerError, Outcome};

impl Context<'_> {
    pub(super) fn delivery(&self, attempt: u32, held: Option<&Held>) -> Delivery {
        Delivery::new(
            self.inbound.record.clone(),
            self.inbound.structured.clone(),
            self.inbound.default_type.clone(),
            self.handler.id.clone(),
            attempt,
            self.group.app.clone(),
            held.map_or_else(|| self.stop.drain.clone(), |held| held.lost.clone()),
        )
    }

    /// `None` when the partition was drained before the handler could begin.
    pub(super) async fn invoke(&self, delivery: Delivery) -> Option<Outcome> {
        let _permit = match &self.handler.permits {
            None => None,
            Some(permits) => tokio::select! {
                biased;
                permit = permits.acquire() => permit.ok(),
                () = self.stop.drain.cancelled() => return None,
            },
        };
        let definition = &self.handler.definition;
        // Inside the future, so that a panic before its first await is caught too.
        let run = async { (definition.invoke)(delivery).await };
        let run = AssertUnwindSafe(run).catch_unwind();
        let ended = match definition.policy.timeout {
            None => run.await,
            Some(limit) => match tokio::time::timeout(limit, run).await {
                Ok(ended) => ended,
                Err(_) => return Some(Err(HandlerError::timeout(limit))),
            },
        };
        Some(ended.unwrap_or_else(|panic| Err(HandlerError::panic(&*panic))))
    }
}
