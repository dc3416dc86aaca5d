//! Effects that stand in a database, copied into the journal.
//!
//! They are there once their transactions have committed, which no handler can
//! write down by itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventkit_tests::TestInbox;
use tokio::runtime::Handle;

use crate::journal::{Event, Journal, What};

/// Rows whose numbers are this far behind the last one do not come any more: more
/// transactions are never open at once.
const REACH: i64 = 1000;

pub(crate) struct Ledger {
    inbox: TestInbox,
    journal: Journal,
    runtime: Handle,
    seen: HashSet<i64>,
    last: i64,
}

impl Ledger {
    pub(crate) fn new(inbox: TestInbox, journal: Journal) -> Self {
        Self {
            inbox,
            journal,
            runtime: Handle::current(),
            seen: HashSet::new(),
            last: 0,
        }
    }

    /// Copies what is new. Waits for a database that is away, as long as nobody
    /// wants it to stop.
    pub(crate) fn copy(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let runtime = self.runtime.clone();
            if runtime.block_on(self.try_copy()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    async fn try_copy(&mut self) -> anyhow::Result<()> {
        let sql = "SELECT id, key, n FROM effects WHERE id > $1 ORDER BY id";
        let rows = sqlx::query_as(sql).bind(self.last - REACH);
        let rows = rows.fetch_all(&self.inbox.outbox.pool);
        let rows: Vec<(i64, String, i64)> =
            tokio::time::timeout(Duration::from_secs(2), rows).await??;
        for (id, key, n) in rows {
            if self.seen.insert(id) {
                let event = Event::parse(&key, n as u64);
                let event = event.ok_or_else(|| anyhow::anyhow!("a key of the suite's own"))?;
                self.journal.write(What::Done, event)?;
                self.last = self.last.max(id);
            }
        }
        Ok(())
    }
}
