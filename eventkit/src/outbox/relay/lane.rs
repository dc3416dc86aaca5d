//! One batch after the other: read, send, remove.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::leases::Work;
use super::sender::{Sender, Sent};
use super::{LONGEST_PAUSE, Shared};
use crate::database::Database;
use crate::outbox::dialect::Limits;
use crate::outbox::row::{Place, Row};

/// Bytes of a batch.
const BATCH_BYTES: i64 = 8 << 20;

/// The first pauses after a hint that may have come before its commit.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Lane<DB: Database> {
    number: usize,
    shared: Arc<Shared<DB>>,
    sender: Sender,
    /// Published, and perhaps still in the table.
    published: Vec<Place>,
    rows_of_a_bucket: usize,
}

/// What a batch came to.
enum Batch {
    /// Nothing was there.
    Empty,
    /// All that was there is dealt with.
    Done,
    /// Something is not, for this reason.
    Waits(String),
}

impl<DB: Database> Lane<DB> {
    pub(super) fn new(number: usize, shared: Arc<Shared<DB>>, sender: Sender) -> Self {
        Self {
            number,
            sender,
            published: Vec::new(),
            rows_of_a_bucket: 0,
            shared,
        }
    }

    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut hints = shared.outbox.inner.wake.subscribe();
        let mut changes = shared.leases.subscribe();
        let poll = shared.settings.poll;
        // A hint at commit finds its rows at once; any other may be too early.
        let after_hint = if shared.outbox.is_told_of_commits() {
            poll
        } else {
            SHORTEST_PAUSE
        };
        let mut pause = poll;
        let mut failures = 0;
        while !shared.stop.is_cancelled() {
            hints.mark_unchanged();
            changes.mark_unchanged();
            let wait = match self.batch().await {
                Ok(Batch::Done) => {
                    failures = 0;
                    continue;
                }
                Ok(Batch::Empty) => {
                    failures = 0;
                    let wait = pause;
                    pause = (pause * 2).min(poll);
                    wait
                }
                Ok(Batch::Waits(reason)) => self.failed(&mut failures, &reason),
                Err(error) => self.failed(&mut failures, &error.to_string()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = hints.changed(), if failures == 0 => pause = after_hint,
                _ = changes.changed(), if failures == 0 => {}
                () = shared.stop.cancelled() => {}
            }
        }
        // What is known to be published should not be published again.
        if let Err(error) = self.remove_published().await {
            self.failed(&mut failures, &error.to_string());
        }
    }

    /// Says what is wrong, once until it is right again, and how long to wait.
    fn failed(&self, failures: &mut u32, reason: &str) -> Duration {
        if *failures == 0 {
            tracing::warn!(
                target: "eventkit::outbox",
                table = self.shared.table(),
                reason,
                "events cannot be published; they wait"
            );
        }
        *failures += 1;
        (Duration::from_millis(50) * 2_u32.pow((*failures).min(10))).min(LONGEST_PAUSE)
    }

    async fn batch(&mut self) -> Result<Batch, sqlx::Error> {
        self.remove_published().await?;
        let shared = self.shared.clone();
        let work = shared.leases.begin(self.number);
        if work.buckets.is_empty() {
            return Ok(Batch::Empty);
        }
        let rows = self.read(&work).await?;
        let Some(until) = work.until() else {
            return Ok(Batch::Empty);
        };
        if rows.is_empty() {
            return Ok(Batch::Empty);
        }
        let end = async {
            tokio::select! {
                () = work.lost() => {}
                () = shared.patience_ended() => {}
            }
        };
        let Sent {
            published,
            refused,
            waits,
        } = self.sender.send(&rows, until, end).await;
        shared.outbox.inner.counters.add(published.len());
        self.published = published;
        self.remove_published().await?;
        if !refused.is_empty() {
            let _turn = shared.outbox.turn_soon().await;
            DB::block(&shared.pool, &shared.outbox.inner.sql, &refused).await?;
            self.report(&rows, &refused);
        }
        Ok(waits.map_or(Batch::Done, Batch::Waits))
    }

    /// The rows to send next.
    async fn read(&mut self, work: &Work<'_>) -> Result<Vec<Row>, sqlx::Error> {
        let rows = self.fetch(work, false).await?;
        let read = rows.len();
        let free = without_blocked(rows);
        // Where blocked keys take up the room, it is worth while to ask without them.
        if free.len() == read || free.len() > self.shared.settings.batch / 2 {
            return Ok(free);
        }
        self.fetch(work, true).await
    }

    async fn fetch(&mut self, work: &Work<'_>, around: bool) -> Result<Vec<Row>, sqlx::Error> {
        let batch = self.shared.settings.batch;
        let even = batch.div_ceil(work.buckets.len());
        let limit = self.rows_of_a_bucket.clamp(even, batch);
        let limits = Limits {
            rows: batch as i64,
            rows_of_a_bucket: limit as i64,
            bytes: BATCH_BYTES,
        };
        let Shared {
            id, outbox, pool, ..
        } = &*self.shared;
        let sql = &outbox.inner.sql;
        let rows = DB::fetch(pool, sql, id, &work.buckets, limits, around).await?;
        let mut counts: HashMap<i16, usize> = HashMap::new();
        for row in &rows {
            *counts.entry(row.place.bucket).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or_default();
        // Few of each where all have rows, many where one has them all.
        self.rows_of_a_bucket = if rows.len() >= batch {
            limit / 2
        } else if most >= limit {
            limit * 2
        } else {
            limit
        };
        Ok(rows)
    }

    /// Safe without a lease: what the broker has acknowledged is published,
    /// whoever holds the bucket now.
    async fn remove_published(&mut self) -> Result<(), sqlx::Error> {
        if self.published.is_empty() {
            return Ok(());
        }
        let Shared {
            outbox,
            pool,
            settings,
            ..
        } = &*self.shared;
        let keep = settings.keep_sent.is_some();
        let _turn = outbox.turn_soon().await;
        DB::finish(pool, &outbox.inner.sql, &self.published, keep).await?;
        self.published.clear();
        Ok(())
    }

    fn report(&self, rows: &[Row], refused: &[(Place, String)]) {
        for (place, reason) in refused {
            let Some(row) = rows.iter().find(|row| row.place == *place) else {
                continue;
            };
            tracing::error!(
                target: "eventkit::outbox",
                table = self.shared.table(),
                id = place.id,
                event_id = row.event_id,
                event_type = row.event_type,
                topic = row.topic,
                reason,
                "the broker refuses an event for good; its key waits for `retry` or `set_aside`"
            );
        }
    }
}

/// A blocked row stands before those that it blocks, and so it is read with them.
fn without_blocked(mut rows: Vec<Row>) -> Vec<Row> {
    if rows.iter().all(|row| !row.blocked) {
        return rows;
    }
    let blocked: HashSet<_> = rows
        .iter()
        .filter(|row| row.blocked)
        .map(Row::line)
        .collect();
    let free: Vec<bool> = rows
        .iter()
        .map(|row| !blocked.contains(&row.line()))
        .collect();
    let mut free = free.into_iter();
    rows.retain(|_| free.next().unwrap_or_default());
    rows
}
