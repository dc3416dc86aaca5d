//! Which buckets are ours, and until when.
//!
//! The database decides by its clock. Here each lease ends earlier: it counts from
//! before the question was sent, and a tenth is kept for records on their way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Shared;
use crate::database::Database;
use crate::outbox::dialect::Shares;
use crate::outbox::row::BUCKETS;

#[derive(Debug)]
pub(in crate::outbox) struct Leases {
    lanes: usize,
    slots: Mutex<[Slot; BUCKETS as usize]>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// When we must have stopped; `None`: not ours.
    until: Option<Instant>,
    /// A lane has rows of it in its hands.
    busy: bool,
    /// Another relay is to have it.
    leaving: bool,
}

/// Buckets that a lane works on; no lease is given back meanwhile.
#[derive(Debug)]
pub(super) struct Work<'a> {
    leases: &'a Leases,
    pub(super) buckets: Vec<i16>,
}

impl Leases {
    pub(in crate::outbox) fn new(lanes: usize) -> Self {
        Self {
            lanes,
            slots: Mutex::new([Slot::default(); BUCKETS as usize]),
            changed: watch::Sender::new(()),
        }
    }

    /// The buckets of a lane that it may work on now.
    pub(super) fn begin(&self, lane: usize) -> Work<'_> {
        let now = Instant::now();
        let mut slots = self.slots();
        let mut buckets = Vec::new();
        for (bucket, slot) in slots.iter_mut().enumerate() {
            if bucket % self.lanes == lane
                && !slot.leaving
                && slot.until.is_some_and(|until| until > now)
            {
                slot.busy = true;
                buckets.push(bucket as i16);
            }
        }
        drop(slots);
        Work {
            leases: self,
            buckets,
        }
    }

    /// Whether all of these are ours.
    pub(in crate::outbox) fn hold(&self, mut buckets: impl Iterator<Item = i16>) -> bool {
        let now = Instant::now();
        let slots = self.slots();
        buckets.all(|bucket| {
            let slot = &slots[bucket as usize];
            !slot.leaving && slot.until.is_some_and(|until| until > now)
        })
    }

    #[cfg(test)]
    pub(in crate::outbox) fn hold_for_a_minute(&self, buckets: &[i16]) {
        let shares = Shares {
            share: buckets.len(),
            held: buckets.to_vec(),
        };
        self.renewed(&shares, Instant::now() + Duration::from_secs(60));
    }

    /// Sees which leases come and go from now on; not that they are renewed.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What to renew: all but what is leaving and no longer in work.
    fn kept(&self) -> Vec<i16> {
        let slots = self.slots();
        (0..BUCKETS)
            .filter(|bucket| {
                let slot = &slots[*bucket as usize];
                slot.until.is_some() && (slot.busy || !slot.leaving)
            })
            .collect()
    }

    fn renewed(&self, shares: &Shares, until: Instant) {
        let mut slots = self.slots();
        let before = slots.map(|slot| (slot.until.is_some(), slot.leaving));
        for (bucket, slot) in slots.iter_mut().enumerate() {
            let held = shares.held.contains(&(bucket as i16));
            slot.until = held.then_some(until);
            slot.leaving &= held;
        }
        let held = slots.iter().filter(|slot| slot.until.is_some()).count();
        let leaving = held.saturating_sub(shares.share);
        let ours = slots.iter_mut().filter(|slot| slot.until.is_some());
        // Always the same ones, so that one that is on its way out goes.
        for (number, slot) in ours.rev().enumerate() {
            slot.leaving = number < leaving;
        }
        let after = slots.map(|slot| (slot.until.is_some(), slot.leaving));
        drop(slots);
        if after != before {
            self.changed.send_replace(());
        }
    }

    /// How many we hold and do not give away.
    fn staying(&self) -> usize {
        let slots = self.slots();
        slots
            .iter()
            .filter(|slot| slot.until.is_some() && !slot.leaving)
            .count()
    }

    fn slots(&self) -> MutexGuard<'_, [Slot; BUCKETS as usize]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work<'_> {
    /// Until when all of it is ours; `None` when it no longer is.
    pub(super) fn until(&self) -> Option<Instant> {
        let slots = self.leases.slots();
        let until = self
            .buckets
            .iter()
            .map(|bucket| slots[*bucket as usize].until);
        let until = until.min().flatten()?;
        (until > Instant::now()).then_some(until)
    }

    /// Resolves when some of it is no longer ours.
    pub(super) async fn lost(&self) {
        let mut changed = self.leases.subscribe();
        while let Some(until) = self.until() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = changed.changed() => {}
            }
        }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut slots = self.leases.slots();
        for bucket in &self.buckets {
            slots[*bucket as usize].busy = false;
        }
    }
}

/// Keeps the leases until the relay has to stop and its lanes have ended, then
/// gives them back.
pub(super) async fn keep<DB: Database>(shared: Arc<Shared<DB>>, mut lanes: JoinSet<()>) {
    let mut failing = false;
    loop {
        match renew(&shared).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(
                        target: "eventkit::outbox",
                        table = shared.table(),
                        %error,
                        "leases cannot be renewed; publishing stops when they end"
                    );
                }
                failing = true;
            }
        }
        let lease = shared.settings.lease;
        let pause = if failing || shared.leases.staying() == 0 {
            lease / 10
        } else {
            lease / 5
        };
        tokio::select! {
            () = all_ended(&mut lanes) => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    let left = async {
        let _turn = shared.outbox.turn().await;
        DB::leave(&shared.pool, &shared.outbox.inner.sql, &shared.id).await
    };
    if tokio::time::timeout(Duration::from_secs(1), left)
        .await
        .is_err()
    {
        tracing::warn!(
            target: "eventkit::outbox",
            table = shared.table(),
            "the leases could not be given back; they end by themselves"
        );
    }
}

async fn renew<DB: Database>(shared: &Shared<DB>) -> Result<(), String> {
    let begun = Instant::now();
    let lease = shared.settings.lease;
    let kept = shared.leases.kept();
    let renewed = async {
        let Shared {
            id, outbox, pool, ..
        } = shared;
        let _turn = outbox.turn_soon().await;
        DB::renew(pool, &outbox.inner.sql, id, lease, &kept).await
    };
    // One that does not answer must not keep us from asking again.
    match tokio::time::timeout(lease / 3, renewed).await {
        Ok(Ok(shares)) => {
            shared.leases.renewed(&shares, begun + lease * 9 / 10);
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the database does not answer".into()),
    }
}

async fn all_ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
