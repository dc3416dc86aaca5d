//! What runs beside the lanes: listening for commits, cleaning, reporting.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{LONGEST_PAUSE, Shared};
use crate::database::Database;

const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// A backlog that is older is worth a warning.
const LATE: Duration = Duration::from_secs(60);

/// Sent rows that one statement deletes.
const CLEANED_AT_ONCE: i64 = 1000;

/// Passes on what the database says of commits.
pub(super) async fn listen<DB: Database>(shared: Arc<Shared<DB>>) {
    if !shared.outbox.is_told_of_commits() {
        return;
    }
    let inner = &shared.outbox.inner;
    let listening = async {
        loop {
            if let Err(error) = DB::listen(&shared.pool, &inner.names, &inner.wake).await {
                tracing::debug!(
                    target: "eventkit::outbox",
                    table = shared.table(),
                    %error,
                    "not told of commits, rows are found by polling"
                );
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    };
    tokio::select! {
        () = listening => {}
        () = shared.stop.cancelled() => {}
    }
}

/// Cleans and reports until the relay stops.
pub(super) async fn care<DB: Database>(shared: Arc<Shared<DB>>) {
    let keep = shared.settings.keep_sent;
    let interval = keep.map_or(REPORT_INTERVAL, |keep| {
        keep.clamp(Duration::from_millis(100), REPORT_INTERVAL)
    });
    let mut reported = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shared.stop.cancelled() => return,
        }
        if let Some(keep) = keep {
            clean(&shared, keep).await;
        }
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            report(&shared).await;
        }
    }
}

async fn clean<DB: Database>(shared: &Shared<DB>, keep: Duration) {
    let sql = &shared.outbox.inner.sql;
    while !shared.stop.is_cancelled() {
        let _turn = shared.outbox.turn_soon().await;
        match DB::clean(&shared.pool, sql, keep, CLEANED_AT_ONCE).await {
            Ok(deleted) if deleted == CLEANED_AT_ONCE as u64 => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(
                    target: "eventkit::outbox",
                    table = shared.table(),
                    %error,
                    "published events could not be cleaned away"
                );
                return;
            }
        }
    }
}

async fn report<DB: Database>(shared: &Shared<DB>) {
    let table = shared.table();
    let stats = match shared.outbox.stats().await {
        Ok(stats) if stats.backlog == 0 => return,
        Ok(stats) => stats,
        Err(error) => {
            let error = crate::error::chain(&error);
            tracing::warn!(target: "eventkit::outbox", table, error, "the backlog is not known");
            return;
        }
    };
    let (backlog, blocked, rate) = (stats.backlog, stats.blocked, stats.rate.round());
    let oldest = stats.oldest.unwrap_or_default();
    if oldest >= LATE {
        tracing::warn!(target: "eventkit::outbox", table, backlog, ?oldest, blocked, rate, "events wait for publishing");
    } else {
        tracing::info!(target: "eventkit::outbox", table, backlog, ?oldest, blocked, rate, "events wait for publishing");
    }
}
