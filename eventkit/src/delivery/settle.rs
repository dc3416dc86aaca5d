//! What follows a handler's success or its last failure. Each step waits for
//! its acknowledgement before the next.

use std::sync::Arc;
use std::time::Duration;

use super::admit::Held;
use super::span::DeliverySpan;
use super::{Boxed, Context, Ending, Settled};
use crate::consumer::{GroupContext, Inbound, PartitionContext, Stop};
use crate::dedup::Claim;
use crate::dlq::{DeadLetter, Failure};
use crate::error::PublishError;
use crate::event::Outgoing;
use crate::handler::HandlerError;

/// Waits between tries to write what must be written.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(200);
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

impl Context<'_> {
    /// Publishes what the handler returned, as often as it takes: the handler
    /// succeeded and does not run again for a broker's sake. `None` when the
    /// partition was drained first. In a box, so that handlers that return
    /// nothing need no room for it.
    pub(super) fn publish<'b>(
        &'b self,
        outgoing: Outgoing,
    ) -> Boxed<'b, Option<Result<(), PublishError>>> {
        Box::pin(async move {
            let publisher = &self.group.app.publisher;
            let prepared = publisher.prepare_returned(self.delivery, outgoing);
            let mut wait = WRITE_WAIT_MIN;
            loop {
                match publisher.send_all(&prepared).await {
                    Ok(_) => return Some(Ok(())),
                    Err(error) if error.is_transient() => {
                        tracing::error!(target: "eventkit::delivery", handler = &*self.handler.id, %error, "what the handler returned is not acknowledged yet, trying again");
                    }
                    Err(error) => return Some(Err(error)),
                }
                if !self.wait(wait).await {
                    return None;
                }
                wait = (wait * 2).min(WRITE_WAIT_MAX);
            }
        })
    }

    pub(super) async fn complete(&self, held: Option<&Held>) -> Ending {
        match self.mark(held, Mark::Done).await {
            true => Ending::Settled(Settled::Handled),
            false => Ending::Abandoned,
        }
    }

    /// Writes the dead letter, then marks the event as dead. In a box: the room
    /// of a delivery is not made larger for what seldom happens.
    pub(super) fn bury<'b>(
        &'b self,
        failure: &'b Failure,
        held: Option<&'b Held>,
        span: &'b DeliverySpan,
    ) -> Boxed<'b, Ending> {
        Box::pin(async move {
            let letter = DeadLetter::new(self.group, self.inbound(), Some(self.handler), failure);
            span.dead_letter(&letter, failure);
            if !write(self.group, &letter, self.stop).await {
                if let Some(held) = held {
                    held.release();
                }
                return Ending::Abandoned;
            }
            letter.report(failure);
            match self.mark(held, Mark::Dead).await {
                true => Ending::Settled(Settled::DeadLettered),
                false => Ending::Abandoned,
            }
        })
    }

    /// Tells the store what became of the event, as often as it takes. `false`
    /// when the partition was drained first: the claim then ends with its lease.
    ///
    /// A claim that was lost meanwhile is asked for anew, for the mark alone:
    /// what was done is not done again.
    async fn mark(&self, held: Option<&Held>, mark: Mark) -> bool {
        let (Some(held), Some(plan), Some(policy)) = (
            held,
            &self.group.dedup,
            self.handler.definition.policy.dedup,
        ) else {
            return true;
        };
        let (store, round) = (&plan.store, self.inbound().round);
        let mut token = held.token;
        let mut wait = WRITE_WAIT_MIN;
        loop {
            let marked = match mark {
                Mark::Done => store.complete(&held.key, token, policy.ttl).await,
                Mark::Dead => store.bury(&held.key, token, round, policy.ttl).await,
            };
            if marked.is_ok() {
                self.report_return(plan);
            }
            let answer = match marked {
                Ok(true) => return true,
                Ok(false) => store.claim(&held.key, round, plan.lease).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(Claim::Claimed(anew)) => {
                    token = anew;
                    continue;
                }
                Ok(Claim::Done | Claim::Dead) => {
                    self.report_lost_claim("somebody else ended it too");
                    return true;
                }
                Ok(Claim::InProgress(_)) => {
                    self.report_lost_claim("somebody else handles it now");
                }
                Err(error) => {
                    self.report_outage(plan, &error);
                    if plan.fail_open {
                        return true;
                    }
                }
            }
            if !self.wait(wait).await {
                return false;
            }
            wait = (wait * 2).min(WRITE_WAIT_MAX);
        }
    }

    fn report_lost_claim(&self, what: &str) {
        let record = self.delivery.record();
        tracing::warn!(
            target: "eventkit::delivery",
            handler = &*self.handler.id,
            messaging.destination.name = &*record.topic,
            messaging.destination.partition.id = record.partition,
            messaging.kafka.offset = record.offset,
            "the dedup claim ended before the delivery did, and {what}; the event may have two effects"
        );
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Done,
    Dead,
}

/// Writes the dead letter of a message of which nobody can say what it is.
pub(super) async fn bury_undecodable(
    context: Arc<PartitionContext>,
    inbound: Inbound,
    reason: String,
) -> Ending {
    let failure = Failure::now(&HandlerError::undecodable(reason), 1);
    let letter = DeadLetter::new(&context.group, &inbound, None, &failure);
    if !write(&context.group, &letter, &context.stop).await {
        return Ending::Abandoned;
    }
    letter.report(&failure);
    Ending::Settled(Settled::DeadLettered)
}

/// Writes a dead letter until it is acknowledged; `false` when the partition
/// was drained first, and the message comes again.
async fn write(group: &GroupContext, letter: &DeadLetter<'_>, stop: &Stop) -> bool {
    let producer = group.app.publisher.producer();
    let mut wait = WRITE_WAIT_MIN;
    let mut cut = false;
    loop {
        match producer.send(letter.record(cut)).await {
            Ok(_) => return true,
            Err(error) if crate::publisher::is_too_large(&error) && !cut => {
                cut = true;
                continue;
            }
            Err(error) => letter.report_unwritten(&error, wait),
        }
        tokio::select! {
            biased;
            () = stop.drain.cancelled() => return false,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(WRITE_WAIT_MAX);
    }
}
