//! One message's life with one handler: admit, invoke, settle.
//!
//! A delivery ends settled, or abandoned: then its partition moves away or the
//! App stops, and whoever owns the partition next gets the message again. Here
//! alone it is decided what happens after a failure. This room knows nothing of
//! offsets and lanes.

mod admit;
mod invoke;
mod settle;
mod span;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tracing::Instrument;

use crate::consumer::{GroupContext, HandlerRuntime, Inbound, Stop, count};
use crate::dlq::Failure;
use crate::handler::{HandlerError, Verdict};
use admit::{Admission, Held};
use span::DeliverySpan;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Settled(Settled),
    /// Nothing may be concluded; the message comes again.
    Abandoned,
}

/// Why a delivery need not come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The handler succeeded, and what it returned is acknowledged.
    Handled,
    /// An earlier delivery of the event was handled or buried.
    Duplicate,
    /// It stands in the dead-letter topic, acknowledged.
    DeadLettered,
}

/// One delivery and everything it needs.
pub(crate) struct Context<'a> {
    group: &'a Arc<GroupContext>,
    handler: &'a HandlerRuntime,
    inbound: Arc<Inbound>,
    stop: &'a Stop,
}

/// Delivers a message to one handler, through retries, to its end.
pub(crate) async fn deliver(
    group: &Arc<GroupContext>,
    handler: u32,
    inbound: Arc<Inbound>,
    stop: &Stop,
) -> Ending {
    let handler = &group.handlers[handler as usize];
    let context = Context {
        group,
        handler,
        inbound,
        stop,
    };
    let span = DeliverySpan::new(&context);
    let ending = match span.tracing() {
        Some(tracing) => context.run_caught(&span).instrument(tracing.clone()).await,
        None => context.run_caught(&span).await,
    };
    match ending {
        Ending::Settled(Settled::Handled) => count(&handler.counts.handled),
        Ending::Settled(Settled::Duplicate) => count(&handler.counts.duplicates),
        Ending::Settled(Settled::DeadLettered) => count(&handler.counts.dead_letters),
        Ending::Abandoned => {}
    }
    ending
}

impl Context<'_> {
    async fn run(&self, span: &DeliverySpan) -> Ending {
        let held = match self.admit().await {
            Admission::Admitted(held) => held,
            Admission::Duplicate(known) => {
                span.duplicate(known);
                return Ending::Settled(Settled::Duplicate);
            }
            Admission::Undecodable(error) => {
                return self.bury(&Failure::now(&error, 1), None, span).await;
            }
            Admission::Abandoned => return Ending::Abandoned,
        };
        match &held {
            Some(held) => held.while_held(self.attempts(Some(held), span)).await,
            None => self.attempts(None, span).await,
        }
    }

    /// A handler's own panic is one of its failures. This one came from what
    /// else the user wrote, a key or an error's text, and would come again.
    async fn run_caught(&self, span: &DeliverySpan) -> Ending {
        match AssertUnwindSafe(self.run(span)).catch_unwind().await {
            Ok(ending) => ending,
            Err(panic) => {
                let failure = Failure::now(&HandlerError::panic(&*panic), 1);
                self.bury(&failure, None, span).await
            }
        }
    }

    async fn attempts(&self, held: Option<&Held>, span: &DeliverySpan) -> Ending {
        let retry = self.handler.definition.policy.retry;
        let mut attempt = 1;
        let mut failure: Option<Failure> = None;
        loop {
            let delivery = self.delivery(attempt, held);
            let error = match self.invoke(delivery.clone()).await {
                Some(Ok(outgoing)) => match self.publish(&delivery, outgoing).await {
                    Some(Ok(())) => return self.complete(held).await,
                    Some(Err(refused)) => HandlerError::reject(refused),
                    None => return self.abandon(held),
                },
                Some(Err(error)) => error,
                None => return self.abandon(held),
            };
            if let Verdict::Defer(wait) = error.verdict() {
                tracing::debug!(target: "eventkit::delivery", handler = &*self.handler.id, ?wait, "deferred");
                if !self.wait(wait).await {
                    return self.abandon(held);
                }
                continue;
            }
            count(&self.handler.counts.failures);
            let failed = match failure.take() {
                Some(earlier) => earlier.again(&error, attempt),
                None => Failure::now(&error, attempt),
            };
            if error.verdict() == Verdict::Reject || attempt >= retry.attempts {
                return self.bury(&failed, held, span).await;
            }
            let wait = retry.wait(attempt, random());
            self.report_retry(&failed, attempt, wait);
            count(&self.handler.counts.retries);
            failure = Some(failed);
            attempt += 1;
            if !self.wait(wait).await {
                return self.abandon(held);
            }
        }
    }

    fn report_retry(&self, failure: &Failure, attempt: u32, wait: std::time::Duration) {
        let record = &self.inbound.record;
        tracing::warn!(
            target: "eventkit::delivery",
            handler = &*self.handler.id,
            messaging.destination.name = &*record.topic,
            messaging.destination.partition.id = record.partition,
            messaging.kafka.offset = record.offset,
            attempt,
            attempts = self.handler.definition.policy.retry.attempts,
            wait_ms = wait.as_millis() as u64,
            error.type = failure.kind(),
            "handler failed, will be tried again: {}",
            failure.message()
        );
    }

    /// Waits without holding up the end of the partition; `false` when it came first.
    async fn wait(&self, wait: std::time::Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.drain.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    fn abandon(&self, held: Option<&Held>) -> Ending {
        if let Some(held) = held {
            held.release();
        }
        Ending::Abandoned
    }
}

/// Writes a dead letter for a message of which nobody can say what it is.
pub(crate) async fn bury_undecodable(
    group: &Arc<GroupContext>,
    inbound: Arc<Inbound>,
    reason: String,
    stop: &Stop,
) -> Ending {
    settle::bury_for_group(
        group,
        &inbound,
        &Failure::now(&HandlerError::undecodable(reason), 1),
        stop,
    )
    .await
}

/// Between 0 and 1, from a fresh UUID's random bits: enough to spread retries.
fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff;
    bits as f64 / f64::from(u32::MAX)
}
