//! Connections that go from one delivery to the next.
//!
//! To give one back to the pool and to take it out again costs round trips: what
//! `sqlx` rolls back, and asks it, in between. Under load the next delivery is there
//! already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Transaction;
use tokio::time::Instant;

use super::Database;

/// How long one waits for the next delivery.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// How long one may go from delivery to delivery: others want it too, and the pool has
/// rules of its own.
const LONGEST_LOAN: Duration = Duration::from_secs(1);

pub(super) struct Loans<DB: Database> {
    waiting: Arc<Mutex<Waiting<DB>>>,
}

/// A transaction on a connection that the pool has lent.
pub(super) struct Loan<DB: Database> {
    /// Once it has been committed, the next may begin on its connection.
    pub(super) transaction: Transaction<'static, DB>,
    pub(super) since: Instant,
}

struct Waiting<DB: Database> {
    loans: Vec<(Instant, Loan<DB>)>,
    /// A task gives back those that wait for too long.
    is_watched: bool,
}

impl<DB: Database> Loan<DB> {
    pub(super) fn new(transaction: Transaction<'static, DB>) -> Self {
        Self {
            transaction,
            since: Instant::now(),
        }
    }
}

impl<DB: Database> Loans<DB> {
    pub(super) fn new() -> Self {
        let waiting = Waiting {
            loans: Vec::new(),
            is_watched: false,
        };
        Self {
            waiting: Arc::new(Mutex::new(waiting)),
        }
    }

    /// One whose transaction was committed; the next has not begun.
    pub(super) fn take(&self) -> Option<Loan<DB>> {
        lock(&self.waiting).loans.pop().map(|(_, loan)| loan)
    }

    /// Keeps one whose transaction was committed for the next delivery. `wanted`: others
    /// wait for connections of the pool.
    pub(super) fn keep(&self, loan: Loan<DB>, wanted: bool) {
        if wanted || loan.since.elapsed() >= LONGEST_LOAN {
            tokio::spawn(give_back(loan));
            return;
        }
        let mut waiting = lock(&self.waiting);
        waiting.loans.push((Instant::now(), loan));
        if !std::mem::replace(&mut waiting.is_watched, true) {
            tokio::spawn(watch(self.waiting.clone()));
        }
    }
}

async fn watch<DB: Database>(waiting: Arc<Mutex<Waiting<DB>>>) {
    loop {
        tokio::time::sleep(LONGEST_WAIT).await;
        for (_, loan) in late(&waiting) {
            give_back(loan).await;
        }
        let mut waiting = lock(&waiting);
        if waiting.loans.is_empty() {
            waiting.is_watched = false;
            return;
        }
    }
}

/// Those that have waited for long enough: the longest waiting stand first.
fn late<DB: Database>(waiting: &Mutex<Waiting<DB>>) -> Vec<(Instant, Loan<DB>)> {
    let loans = &mut lock(waiting).loans;
    let is_late = |(since, _): &(Instant, _)| since.elapsed() >= LONGEST_WAIT;
    let count = loans.iter().take_while(|loan| is_late(loan)).count();
    loans.drain(..count).collect()
}

/// `sqlx` rolls back what it takes for a transaction, so there has to be one.
async fn give_back<DB: Database>(mut loan: Loan<DB>) {
    // A connection that fails here is found out by the pool.
    let _ = DB::begin_again(&mut loan.transaction).await;
    let _ = loan.transaction.rollback().await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
