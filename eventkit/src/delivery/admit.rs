//! May this delivery run, or was the event seen before?

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::consumer::DedupPlan;
use crate::dedup::{Claim, DedupError, DedupKey, DedupStore, Token};
use crate::handler::{ContentKey, HandlerError};

/// First wait for a store that does not answer; doubles up to [`STORE_WAIT_MAX`].
const STORE_WAIT_MIN: Duration = Duration::from_millis(100);
const STORE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often the outcome of somebody else's delivery is asked for, at first and at most.
const BUSY_WAIT_MIN: Duration = Duration::from_millis(20);
const BUSY_WAIT_MAX: Duration = Duration::from_millis(500);

pub(super) enum Admission {
    /// With a claim where the handler asks for dedup and the store answers.
    Admitted(Option<Held>),
    Duplicate(Known),
    /// The part of the event that identifies it cannot be read.
    Undecodable(HandlerError),
    Abandoned,
}

/// What is known of an event's earlier delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Done,
    Dead,
}

impl Context<'_> {
    pub(super) async fn admit(&self) -> Admission {
        let (Some(policy), Some(plan)) = (self.handler.definition.policy.dedup, &self.group.dedup)
        else {
            return Admission::Admitted(None);
        };
        let key = match self.dedup_key(policy.key) {
            Ok(key) => key,
            Err(error) => return Admission::Undecodable(error),
        };
        let mut busy_wait = BUSY_WAIT_MIN;
        let mut store_wait = STORE_WAIT_MIN;
        loop {
            let claim = plan
                .store
                .claim(&key, self.inbound().round, plan.lease)
                .await;
            if claim.is_ok() {
                self.report_return(plan);
            }
            let wait = match claim {
                Ok(Claim::Claimed(token)) => {
                    return Admission::Admitted(Some(Held::new(plan, key, token, self.stop)));
                }
                Ok(Claim::Done) => return Admission::Duplicate(Known::Done),
                Ok(Claim::Dead) => return Admission::Duplicate(Known::Dead),
                Ok(Claim::InProgress(until)) => {
                    let wait = until.min(busy_wait);
                    busy_wait = (busy_wait * 2).min(BUSY_WAIT_MAX);
                    wait
                }
                Err(error) => {
                    self.report_outage(plan, &error);
                    if plan.fail_open {
                        return Admission::Admitted(None);
                    }
                    let wait = store_wait;
                    store_wait = (store_wait * 2).min(STORE_WAIT_MAX);
                    wait
                }
            };
            if !self.wait(wait).await {
                return Admission::Abandoned;
            }
        }
    }

    fn dedup_key(&self, by_content: Option<ContentKey>) -> Result<DedupKey, HandlerError> {
        let (group, name) = (&*self.group.group, self.handler.definition.name);
        if let Some(content) = by_content {
            let content = content(self.delivery)?;
            return Ok(DedupKey::by_content(group, name, &content));
        }
        let attributes = self.delivery.attributes();
        Ok(DedupKey::new(
            group,
            name,
            &attributes.source(),
            &attributes.id(),
        ))
    }

    pub(super) fn report_outage(&self, plan: &DedupPlan, error: &DedupError) {
        let consequence = if plan.fail_open {
            "events are handled without dedup (fail_open)"
        } else {
            "deliveries wait, nothing is lost"
        };
        plan.outage.failed(|| {
            tracing::error!(
                target: "eventkit::dedup",
                group = &*self.group.group,
                store = plan.store.describe(),
                %error,
                "dedup store is away: {consequence}"
            );
        });
    }

    pub(super) fn report_return(&self, plan: &DedupPlan) {
        plan.outage.answered(|away| {
            tracing::info!(
                target: "eventkit::dedup",
                group = &*self.group.group,
                store = plan.store.describe(),
                away_ms = away.as_millis() as u64,
                "dedup store answers again"
            );
        });
    }
}

/// A claim that is ours until it is completed, buried, released or lost. Dropped
/// in between, with its handler cut off, it ends with its lease: what the handler
/// had begun may still be under way.
pub(super) struct Held {
    store: Arc<dyn DedupStore>,
    lease: Duration,
    pub(super) key: DedupKey,
    pub(super) token: Token,
    /// Tells the handler that the claim was lost.
    pub(super) lost: CancellationToken,
}

impl Held {
    fn new(plan: &DedupPlan, key: DedupKey, token: Token, stop: &crate::consumer::Stop) -> Self {
        Self {
            store: plan.store.clone(),
            lease: plan.lease,
            key,
            token,
            lost: stop.drain.child_token(),
        }
    }

    /// Renews the lease for as long as the work takes.
    pub(super) async fn while_held<T>(&self, work: Pin<&mut impl Future<Output = T>>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.renew() => match never {},
        }
    }

    async fn renew(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            // An error is not a loss: the next try may come in time.
            if let Ok(false) = self.store.renew(&self.key, self.token, self.lease).await {
                self.lost.cancel();
                return std::future::pending().await;
            }
        }
    }

    /// Gives the claim back, so that the next owner need not wait for its lease.
    pub(super) fn release(&self) {
        self.store.release(self.key.clone(), self.token);
    }
}
