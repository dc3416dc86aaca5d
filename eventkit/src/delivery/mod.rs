//! One message's life with one handler: admit, invoke, settle.
//!
//! A delivery ends settled, or abandoned: then its partition moves away or the
//! App stops, and whoever owns the partition next gets the message again. Here
//! alone it is decided what happens after a failure. This room knows nothing of
//! offsets and lanes.

mod admit;
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
mod inbox;
mod invoke;
mod settle;
mod slot;
mod span;

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use tracing::Instrument;

use crate::consumer::{GroupContext, HandlerRuntime, Inbound, Stop, count};
use crate::dlq::Failure;
use crate::handler::{Call, Delivery, HandlerError, Verdict};
use admit::{Admission, Held, Known};
use inbox::InTransaction;
pub(crate) use inbox::{Boxed, InboxStore};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use inbox::{Entry, Opened, Trouble};
pub(crate) use slot::{MakeSlot, Slot, slot_for};
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
struct Context<'a> {
    delivery: &'a Delivery,
    group: &'a GroupContext,
    handler: &'a HandlerRuntime,
    stop: &'a Stop,
}

impl<'a> Context<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let shared = delivery.context();
        Self {
            delivery,
            group: &shared.group,
            handler: delivery.runtime(),
            stop: &shared.stop,
        }
    }

    fn inbound(&self) -> &'a Inbound {
        self.delivery.inbound()
    }
}

/// Delivers a message to one handler, through retries, to its end.
///
/// Not an `async fn`, which would keep the delivery twice.
#[allow(clippy::manual_async_fn)]
fn deliver<H: Call>(mut delivery: Delivery) -> impl Future<Output = Ending> + Send {
    async move {
        let span = DeliverySpan::new(&Context::of(&delivery));
        match span.tracing() {
            Some(tracing) => {
                run_caught::<H>(&mut delivery, &span)
                    .instrument(tracing.clone())
                    .await
            }
            None => run_caught::<H>(&mut delivery, &span).await,
        }
    }
}

/// A handler's own panic is one of its failures. This one came from what else
/// the user wrote, a key or an error's text, and would come again.
async fn run_caught<H: Call>(delivery: &mut Delivery, span: &DeliverySpan) -> Ending {
    match AssertUnwindSafe(run::<H>(delivery, span))
        .catch_unwind()
        .await
    {
        Ok(ending) => ending,
        Err(panic) => {
            let failure = Failure::now(&HandlerError::panic(&*panic), 1);
            let context = Context::of(delivery);
            context.bury(&failure, None, span).await
        }
    }
}

async fn run<H: Call>(delivery: &mut Delivery, span: &DeliverySpan) -> Ending {
    let held = match Context::of(delivery).admit().await {
        Admission::Admitted(held) => held,
        Admission::Duplicate(known) => {
            span.duplicate(known);
            return Ending::Settled(Settled::Duplicate);
        }
        Admission::Undecodable(error) => {
            let failure = Failure::now(&error, 1);
            return Context::of(delivery).bury(&failure, None, span).await;
        }
        Admission::Abandoned => return Ending::Abandoned,
    };
    if let Some(held) = &held {
        delivery.set_claim(held.lost.clone());
    }
    let work = pin!(attempts::<H>(delivery, held.as_ref(), span));
    match &held {
        None => work.await,
        Some(held) => held.while_held(work).await,
    }
}

async fn attempts<H: Call>(
    delivery: &mut Delivery,
    held: Option<&Held>,
    span: &DeliverySpan,
) -> Ending {
    let mut attempt = 1;
    let mut failure: Option<Failure> = None;
    loop {
        let context = Context::of(delivery);
        let ended = if H::INBOX {
            match context.in_transaction::<H>().await {
                InTransaction::Committed => return Ending::Settled(Settled::Handled),
                InTransaction::Duplicate => {
                    span.duplicate(Known::Done);
                    return Ending::Settled(Settled::Duplicate);
                }
                InTransaction::Failed(error) => Some(Err(error)),
                InTransaction::Drained => None,
            }
        } else {
            context.invoke::<H>().await
        };
        let error = match ended {
            Some(Ok(outgoing)) => {
                let published = match outgoing.is_empty() {
                    true => Some(Ok(())),
                    false => context.publish(outgoing).await,
                };
                match published {
                    Some(Ok(())) => return context.complete(held).await,
                    Some(Err(refused)) => HandlerError::reject(refused),
                    None => return context.abandon(held),
                }
            }
            Some(Err(error)) => error,
            None => return context.abandon(held),
        };
        if let Verdict::Defer(wait) = error.verdict() {
            tracing::debug!(target: "eventkit::delivery", handler = &*context.handler.id, ?wait, "deferred");
            if !context.wait(wait).await {
                return context.abandon(held);
            }
            delivery.set_attempt(attempt);
            continue;
        }
        count(&context.handler.counts.failures, 1);
        let failed = match failure.take() {
            Some(earlier) => earlier.again(&error, attempt),
            None => Failure::now(&error, attempt),
        };
        let retry = context.handler.definition.policy.retry;
        if error.verdict() == Verdict::Reject || attempt >= retry.attempts {
            return context.bury(&failed, held, span).await;
        }
        let wait = retry.wait(attempt, random());
        context.report_retry(&failed, attempt, wait);
        count(&context.handler.counts.retries, 1);
        failure = Some(failed);
        attempt += 1;
        if !context.wait(wait).await {
            return context.abandon(held);
        }
        delivery.set_attempt(attempt);
    }
}

impl Context<'_> {
    fn report_retry(&self, failure: &Failure, attempt: u32, wait: std::time::Duration) {
        let record = self.delivery.record();
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

/// Between 0 and 1, from a fresh UUID's random bits: enough to spread retries.
fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & 0xffff_ffff;
    bits as f64 / f64::from(u32::MAX)
}
