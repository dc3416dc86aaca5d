//! An inbox at work: what deliveries ask of it.

use std::any::{TypeId, type_name};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Transaction as SqlTransaction;
use tokio::sync::OwnedSemaphorePermit;

use super::{Database, Inbox};
use crate::database::{Fault, fault, is_conflict};
use crate::delivery::{Boxed, Entry, InboxStore, Opened, Trouble};
use crate::error::chain;
use crate::handler::Transaction;
use crate::publisher::Prepared;

/// How often old rows are looked for, at most.
const CLEAN_INTERVAL: Duration = Duration::from_secs(600);

/// Old rows that one statement deletes.
const CLEANED_AT_ONCE: i64 = 1000;

/// An open transaction and its turn.
pub(super) struct Held<DB: Database> {
    pub(super) transaction: SqlTransaction<'static, DB>,
    _turn: Turn,
}

/// First a delivery's place among the deliveries, then one among all that write:
/// so a relay waits for one delivery, and not for all of them.
type Turn = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl<DB: Database> Inbox<DB> {
    async fn begin(&self, entry: Entry<'_>) -> Result<Opened, Trouble> {
        let place = self.writers.clone().acquire_owned().await;
        let place = place.map_err(|closed| Trouble::Away(closed.to_string()))?;
        let _turn = (place, self.outbox.turn().await);
        let opened = async {
            let mut transaction = DB::begin(&self.outbox.inner.pool).await?;
            let new = DB::enter(&mut transaction, &self.statements, entry).await?;
            Ok((transaction, new))
        };
        match opened.await {
            Ok((transaction, true)) => {
                Ok(Opened::Begun(Transaction::new(Held { transaction, _turn })))
            }
            Ok((transaction, false)) => {
                // Where this fails there is nothing to roll back any more.
                let _ = transaction.rollback().await;
                Ok(Opened::Duplicate)
            }
            // The handler did not run yet, so nothing here is its fault.
            Err(error) => Err(match fault(&error) {
                Fault::Conflict => Trouble::Conflict(chain(&error)),
                Fault::Away | Fault::Other => Trouble::Away(chain(&error)),
            }),
        }
    }

    async fn end(
        &self,
        mut transaction: SqlTransaction<'static, DB>,
        events: &[Prepared],
    ) -> Result<(), Trouble> {
        if !events.is_empty() {
            let inserted = self
                .outbox
                .insert_before_hint(&mut transaction, events)
                .await;
            inserted.map_err(|error| match error.database_error() {
                Some(source) if fault(source) != Fault::Other => trouble_of(source),
                _ => Trouble::Refused(Box::new(error)),
            })?;
        }
        DB::commit(transaction).await.map_err(trouble)?;
        if !events.is_empty() {
            self.outbox.inner.wake.hint();
        }
        Ok(())
    }
}

fn trouble(error: sqlx::Error) -> Trouble {
    match fault(&error) {
        Fault::Other => Trouble::Refused(Box::new(error)),
        Fault::Conflict | Fault::Away => trouble_of(&error),
    }
}

fn trouble_of(error: &sqlx::Error) -> Trouble {
    match fault(error) {
        Fault::Conflict => Trouble::Conflict(chain(error)),
        Fault::Away | Fault::Other => Trouble::Away(chain(error)),
    }
}

impl<DB: Database> InboxStore for Inbox<DB> {
    fn open<'a>(&'a self, entry: Entry<'a>) -> Boxed<'a, Result<Opened, Trouble>> {
        Box::pin(self.begin(entry))
    }

    fn commit<'a>(
        &'a self,
        transaction: Transaction,
        events: &'a [Prepared],
    ) -> Boxed<'a, Result<(), Trouble>> {
        Box::pin(async move {
            match transaction.into_inner::<Held<DB>>() {
                Some(Held { transaction, _turn }) => self.end(transaction, events).await,
                None => Err(Trouble::Refused("a transaction of another database".into())),
            }
        })
    }

    fn roll_back(&self, transaction: Transaction) -> Boxed<'_, Result<(), Trouble>> {
        Box::pin(async move {
            let Some(Held { transaction, _turn }) = transaction.into_inner::<Held<DB>>() else {
                return Ok(());
            };
            match transaction.rollback().await {
                Err(error) if fault(&error) == Fault::Away => Err(trouble_of(&error)),
                // SQLite has rolled back by itself after some errors, and says so.
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    fn lost_a_conflict(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        is_conflict(error)
    }

    fn check(&self) -> Boxed<'_, Vec<String>> {
        Box::pin(async {
            let mut found = Vec::new();
            if let Err(error) = DB::look(&self.outbox.inner.pool, &self.statements).await {
                found.push(chain(&self.error("looking for its table", error)));
            }
            if let Err(error) = self.outbox.blocked().await {
                found.push(chain(&error));
            }
            found
        })
    }

    fn database(&self) -> (TypeId, &'static str) {
        (TypeId::of::<DB>(), type_name::<DB>())
    }

    fn keep(&self) -> Option<Duration> {
        self.keep
    }

    fn clean(self: Arc<Self>) -> Boxed<'static, ()> {
        Box::pin(async move {
            let Some(keep) = self.keep else { return };
            let interval = (keep / 10).clamp(Duration::from_millis(100), CLEAN_INTERVAL);
            loop {
                tokio::time::sleep(interval).await;
                self.delete_older_than(keep).await;
            }
        })
    }

    fn describe(&self) -> &str {
        self.names.table()
    }
}

impl<DB: Database> Inbox<DB> {
    async fn delete_older_than(&self, age: Duration) {
        let pool = &self.outbox.inner.pool;
        loop {
            let turn = self.outbox.turn().await;
            let expired = DB::expire(pool, &self.statements, age, CLEANED_AT_ONCE).await;
            drop(turn);
            match expired {
                Ok(rows) if rows < CLEANED_AT_ONCE as u64 => return,
                // Deliveries go first.
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(
                        target: "eventkit::inbox",
                        table = self.names.table(),
                        error = chain(&error),
                        "old rows could not be deleted, trying again later"
                    );
                    return;
                }
            }
        }
    }
}
