//! Transactions that a commit has begun for the next delivery.
//!
//! Under load that saves the round trip of a BEGIN. They hold nothing, but `now()` is
//! the time of their begin, so those that nobody wants at once are rolled back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sqlx::Transaction;
use tokio::time::Instant;

use super::Database;

/// How old one may be. Handlers see it as the greatest age of their `now()`.
const OLDEST: Duration = Duration::from_millis(5);

pub(super) struct Begun<DB: Database> {
    shelf: Arc<Mutex<Shelf<DB>>>,
}

struct Shelf<DB: Database> {
    /// Oldest first.
    transactions: Vec<(Instant, Transaction<'static, DB>)>,
    /// A task looks for old ones.
    is_watched: bool,
}

impl<DB: Database> Begun<DB> {
    pub(super) fn new() -> Self {
        let shelf = Shelf {
            transactions: Vec::new(),
            is_watched: false,
        };
        Self {
            shelf: Arc::new(Mutex::new(shelf)),
        }
    }

    pub(super) fn take(&self) -> Option<Transaction<'static, DB>> {
        let (begun, transaction) = lock(&self.shelf).transactions.pop()?;
        (begun.elapsed() < OLDEST).then_some(transaction)
    }

    pub(super) fn put(&self, transaction: Transaction<'static, DB>) {
        let mut shelf = lock(&self.shelf);
        shelf.transactions.push((Instant::now(), transaction));
        if !std::mem::replace(&mut shelf.is_watched, true) {
            tokio::spawn(roll_back_old(Arc::downgrade(&self.shelf)));
        }
    }
}

async fn roll_back_old<DB: Database>(shelf: Weak<Mutex<Shelf<DB>>>) {
    loop {
        tokio::time::sleep(OLDEST).await;
        let Some(shelf) = shelf.upgrade() else { return };
        let mut shelf = lock(&shelf);
        let young = |(begun, _): &(Instant, _)| begun.elapsed() < OLDEST;
        let first_young = shelf.transactions.iter().position(young);
        let old = first_young.unwrap_or(shelf.transactions.len());
        // Dropping them rolls them back.
        shelf.transactions.drain(..old);
        if shelf.transactions.is_empty() {
            shelf.is_watched = false;
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
