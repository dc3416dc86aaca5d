//! One run of the handler, bounded in time and number, its panics caught.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use tokio::sync::SemaphorePermit;

use super::Context;
use crate::handler::{Call, HandlerError, Outcome, Scope, Transaction};

impl<'a> Context<'a> {
    /// `None` when the partition was drained before the handler could begin.
    pub(super) async fn invoke<H: Call>(&self) -> Option<Outcome> {
        let _permit = match self.handler.permits {
            None => None,
            Some(_) => self.permit().await?,
        };
        Some(self.run::<H>(None).await)
    }

    /// Waits for the handler's turn where it bounds how many run at once; `None`
    /// when the partition was drained first.
    pub(super) async fn permit(&self) -> Option<Option<SemaphorePermit<'a>>> {
        let Some(permits) = &self.handler.permits else {
            return Some(None);
        };
        tokio::select! {
            biased;
            permit = permits.acquire() => Some(permit.ok()),
            () = self.stop.drain.cancelled() => None,
        }
    }

    pub(super) async fn run<H: Call>(&self, transaction: Option<&mut Transaction>) -> Outcome {
        // Inside the future, so that a panic before its first await is caught too.
        let run = async { H::call(self.delivery, transaction).await };
        let mut run = pin!(AssertUnwindSafe(Scope::new(self.delivery, run)).catch_unwind());
        let ended = match self.handler.definition.policy.timeout {
            None => run.await,
            Some(limit) => match tokio::time::timeout(limit, run.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return Err(HandlerError::timeout(limit)),
            },
        };
        ended.unwrap_or_else(|panic| Err(HandlerError::panic(&*panic)))
    }
}
