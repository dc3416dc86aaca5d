//! A handler inside a database transaction, together with the row that says that
//! the event was handled and with the events that it returns: all of it commits,
//! or none.

use std::any::TypeId;
use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use super::{Context, random};
use crate::consumer::InboxPlan;
use crate::error::BoxError;
use crate::handler::{Call, HandlerError, Transaction};
use crate::publisher::Prepared;

/// First wait for a database that does not answer, and the longest.
const AWAY_WAIT_MIN: Duration = Duration::from_millis(100);
const AWAY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Bound of the wait after a first conflict with another transaction, and of any.
const CONFLICT_WAIT_MIN: Duration = Duration::from_millis(10);
const CONFLICT_WAIT_MAX: Duration = Duration::from_secs(1);

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The database with the inbox, of whatever kind.
pub(crate) trait InboxStore: Send + Sync {
    /// Begins a transaction and puts the event's row in.
    fn open<'a>(&'a self, entry: Entry<'a>) -> Boxed<'a, Result<Opened, Trouble>>;

    /// Puts events into the outbox and commits.
    fn commit<'a>(
        &'a self,
        transaction: Transaction,
        events: &'a [Prepared],
    ) -> Boxed<'a, Result<(), Trouble>>;

    /// An error says that the database is away; the transaction is gone then too.
    fn roll_back(&self, transaction: Transaction) -> Boxed<'_, Result<(), Trouble>>;

    /// Whether a handler failed because its transaction lost against another.
    fn lost_a_conflict(&self, error: &(dyn std::error::Error + 'static)) -> bool;

    /// What is wrong with it, in words.
    fn check(&self) -> Boxed<'_, Vec<String>>;

    /// The type of the database, as a handler's `Tx` names it.
    fn database(&self) -> (TypeId, &'static str);

    /// How long rows are kept; `None` for ever.
    fn keep(&self) -> Option<Duration>;

    /// Deletes old rows, as long as it is not dropped.
    fn clean(self: std::sync::Arc<Self>) -> Boxed<'static, ()>;

    /// What it is, without secrets.
    fn describe(&self) -> &str;
}

/// What the inbox knows an event by.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub(crate) group: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) source: Cow<'a, str>,
    pub(crate) event_id: Cow<'a, str>,
}

pub(crate) enum Opened {
    Begun(Transaction),
    /// An earlier delivery has committed.
    Duplicate,
}

/// Why a transaction came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It lost against another one; nobody's fault.
    Conflict(String),
    Away(String),
    /// The database does not take what the handler did.
    Refused(BoxError),
}

/// How a delivery through the inbox ended, retries of the framework's own included.
pub(super) enum InTransaction {
    Committed,
    Duplicate,
    Failed(HandlerError),
    Drained,
}

impl Context<'_> {
    /// One attempt of the handler's, repeated for what is not its fault. In a box,
    /// so that other handlers need no room for it.
    pub(super) fn in_transaction<H: Call>(&self) -> Boxed<'_, InTransaction> {
        Box::pin(self.attempt_in_transaction::<H>())
    }

    async fn attempt_in_transaction<H: Call>(&self) -> InTransaction {
        let Some(plan) = &self.group.inbox else {
            return InTransaction::Failed(HandlerError::retry("the App has no inbox"));
        };
        // Before a transaction is opened, which would stand idle.
        let Some(_permit) = self.permit().await else {
            return InTransaction::Drained;
        };
        let store = &*plan.store;
        let mut pauses = Pauses::default();
        // A commit without an answer may have happened.
        let mut may_be_committed = false;
        loop {
            let opened = tokio::select! {
                biased;
                () = self.stop.drain.cancelled() => return InTransaction::Drained,
                opened = store.open(self.entry()) => opened,
            };
            let trouble = match opened {
                Ok(Opened::Duplicate) if may_be_committed => return InTransaction::Committed,
                Ok(Opened::Duplicate) => return InTransaction::Duplicate,
                Ok(Opened::Begun(mut transaction)) => {
                    self.report_inbox_return(plan);
                    match self.run::<H>(Some(&mut transaction)).await {
                        Ok(outgoing) => {
                            let publisher = &self.group.app.publisher;
                            let events = publisher.prepare_returned(self.delivery, outgoing);
                            match store.commit(transaction, &events).await {
                                Ok(()) => return InTransaction::Committed,
                                Err(Trouble::Refused(error)) => {
                                    return InTransaction::Failed(HandlerError::retry(error));
                                }
                                Err(trouble) => {
                                    may_be_committed |= matches!(trouble, Trouble::Away(_));
                                    trouble
                                }
                            }
                        }
                        Err(error) => match self.rolled_back(plan, transaction).await {
                            None => return InTransaction::Drained,
                            Some(Err(trouble)) => trouble,
                            Some(Ok(())) if store.lost_a_conflict(error.cause()) => {
                                Trouble::Conflict(error.text())
                            }
                            Some(Ok(())) => return InTransaction::Failed(error),
                        },
                    }
                }
                Err(trouble) => trouble,
            };
            let pause = pauses.after(&trouble);
            self.report_trouble(plan, trouble);
            if !self.wait(pause).await {
                return InTransaction::Drained;
            }
            self.delivery.begin_again();
        }
    }

    /// `None` when the partition was drained first: a transaction that is dropped
    /// rolls back by itself.
    async fn rolled_back(
        &self,
        plan: &InboxPlan,
        transaction: Transaction,
    ) -> Option<Result<(), Trouble>> {
        tokio::select! {
            biased;
            done = plan.store.roll_back(transaction) => Some(done),
            () = self.stop.drain.cancelled() => None,
        }
    }

    fn entry(&self) -> Entry<'_> {
        let attributes = self.delivery.attributes();
        Entry {
            group: &self.group.group,
            handler: self.handler.definition.name,
            source: attributes.source(),
            event_id: attributes.id(),
        }
    }

    fn report_trouble(&self, plan: &InboxPlan, trouble: Trouble) {
        match trouble {
            Trouble::Conflict(error) => tracing::debug!(
                target: "eventkit::inbox",
                handler = &*self.handler.id,
                error,
                "lost against another transaction, trying again"
            ),
            Trouble::Away(error) => plan.outage.failed(|| {
                tracing::error!(
                    target: "eventkit::inbox",
                    group = &*self.group.group,
                    table = plan.store.describe(),
                    error,
                    "the inbox's database is away: deliveries wait, nothing is lost"
                );
            }),
            Trouble::Refused(_) => {}
        }
    }

    fn report_inbox_return(&self, plan: &InboxPlan) {
        plan.outage.answered(|away| {
            tracing::info!(
                target: "eventkit::inbox",
                group = &*self.group.group,
                table = plan.store.describe(),
                away_ms = away.as_millis() as u64,
                "the inbox's database answers again"
            );
        });
    }
}

/// How long to wait before the same is tried again.
#[derive(Default)]
struct Pauses {
    away: u32,
    conflicts: u32,
}

impl Pauses {
    fn after(&mut self, trouble: &Trouble) -> Duration {
        if let Trouble::Conflict(_) = trouble {
            let bound = doubled(CONFLICT_WAIT_MIN, self.conflicts, CONFLICT_WAIT_MAX);
            self.conflicts += 1;
            bound.mul_f64(random())
        } else {
            let wait = doubled(AWAY_WAIT_MIN, self.away, AWAY_WAIT_MAX);
            self.away += 1;
            wait
        }
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}
