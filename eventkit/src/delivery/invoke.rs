//! One run of the handler, bounded in time and number, its panics caught.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;

use super::Context;
use crate::handler::{Call, HandlerError, Outcome, Scope, Transaction};

impl Context<'_> {
    /// `None` when the partition was drained before the handler could begin.
    pub(super) async fn invoke<H: Call>(
        &self,
        transaction: Option<&mut Transaction>,
    ) -> Option<Outcome> {
        let _permit = match &self.handler.permits {
            None => None,
            Some(permits) => tokio::select! {
                biased;
                permit = permits.acquire() => permit.ok(),
                () = self.stop.drain.cancelled() => return None,
            },
        };
        // Inside the future, so that a panic before its first await is caught too.
        let run = async { H::call(self.delivery, transaction).await };
        let mut run = pin!(AssertUnwindSafe(Scope::new(self.delivery, run)).catch_unwind());
        let ended = match self.handler.definition.policy.timeout {
            None => run.await,
            Some(limit) => match tokio::time::timeout(limit, run.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return Some(Err(HandlerError::timeout(limit))),
            },
        };
        Some(ended.unwrap_or_else(|panic| Err(HandlerError::panic(&*panic))))
    }
}
