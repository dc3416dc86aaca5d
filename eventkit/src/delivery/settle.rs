//! What follows a handler's success or its last failure. Each step waits for
//! its acknowledgement before the next.

use std::sync::Arc;
use std::time::Duration;

use super::admit::Held;
use super::span::DeliverySpan;
use super::{Attempts, Context, Ending, Settled};
use crate::consumer::{GroupContext, Inbound, Stop};
use crate::dlq::{DeadLetter, Failure};
use crate::error::PublishError;
use crate::event::Outgoing;
use crate::handler::Delivery;

/// Waits between tries to write what must be written.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(200);
const WRITE_WAIT_MAX: Duration = Duration::from_secs(10);

impl Context<'_> {
    /// Publishes what the handler returned, as often as it takes: the handler
    /// succeeded and does not run again for a broker's sake. `None` when the
    /// partition was drained first.
    pub(super) async fn publish(
        &self,
        delivery: &Delivery,
        outgoing: Outgoing,
    ) -> Option<Result<(), PublishError>> {
        if outgoing.is_empty() {
            return Some(Ok(()));
        }
        let publisher = &self.group.app.publisher;
        let prepared = publisher.prepare_returned(delivery, outgoing);
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
    }

    pub(super) async fn complete(&self, held: Option<&Held>) -> Attempts {
        let handled = Attempts::Ended(Ending::Settled(Settled::Handled));
        let (Some(held), Some(policy)) = (held, self.handler.definition.policy.dedup) else {
            return handled;
        };
        let mark = |plan: &Plan| {
            let (store, key) = (plan.store.clone(), held.key.clone());
            let token = held.token;
            async move { store.complete(&key, token, policy.ttl).await }
        };
        match self.mark(held, mark).await {
            Some(true) => handled,
            Some(false) => Attempts::ClaimLost,
            None => Attempts::Ended(Ending::Abandoned),
        }
    }

    /// Writes the dead letter, then marks the event as dead.
    pub(super) async fn bury(
        &self,
        failure: &Failure,
        held: Option<&Held>,
        span: &DeliverySpan,
    ) -> Ending {
        let letter = DeadLetter::new(self.group, &self.inbound, Some(self.handler), failure);
        span.dead_letter(&letter, failure);
        if !write(self.group, &letter, self.stop).await {
            if let Some(held) = held {
                held.release();
            }
            return Ending::Abandoned;
        }
        letter.report(failure);
        if let (Some(held), Some(policy)) = (held, self.handler.definition.policy.dedup) {
            let round = self.inbound.round;
            let mark = |plan: &Plan| {
                let (store, key) = (plan.store.clone(), held.key.clone());
                let token = held.token;
                async move { store.bury(&key, token, round, policy.ttl).await }
            };
            // The letter is written; whoever took the claim over decides anew.
            if self.mark(held, mark).await.is_none() {
                return Ending::Abandoned;
            }
        }
        Ending::Settled(Settled::DeadLettered)
    }

    /// Tells the store, as often as it takes. `None` when the partition was
    /// drained first: the claim then ends with its lease.
    async fn mark<F>(&self, held: &Held, mark: impl Fn(&Plan) -> F) -> Option<bool>
    where
        F: Future<Output = Result<bool, crate::dedup::DedupError>>,
    {
        held.end();
        let plan = self.group.dedup.as_ref()?;
        let mut wait = WRITE_WAIT_MIN;
        loop {
            match mark(plan).await {
                Ok(ours) => return Some(ours),
                Err(error) => self.report_outage(plan, &error),
            }
            if plan.fail_open {
                return Some(true);
            }
            if !self.wait(wait).await {
                return None;
            }
            wait = (wait * 2).min(WRITE_WAIT_MAX);
        }
    }
}

type Plan = crate::consumer::DedupPlan;

/// The dead letter of a message that no handler could be found for.
pub(super) async fn bury_for_group(
    group: &Arc<GroupContext>,
    inbound: &Arc<Inbound>,
    failure: &Failure,
    stop: &Stop,
) -> Ending {
    let letter = DeadLetter::new(group, inbound, None, failure);
    if !write(group, &letter, stop).await {
        return Ending::Abandoned;
    }
    letter.report(failure);
    Ending::Settled(Settled::DeadLettered)
}

/// Writes a dead letter until it is acknowledged; `false` when the partition
/// was drained first, and the message comes again.
async fn write(group: &Arc<GroupContext>, letter: &DeadLetter, stop: &Stop) -> bool {
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
