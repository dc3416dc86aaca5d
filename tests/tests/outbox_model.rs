//! Random interleavings of transactions, relays and crashes in PostgreSQL against
//! a model: what is published is what was committed, and each key's first copies
//! are in the order in which its writers took turns.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventkit::outbox::RunningRelay;
use eventkit_tests::TestOutbox;
use proptest::prelude::*;
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::runtime::Runtime;

const SLOTS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Write {
        slot: usize,
        keys: Vec<u8>,
    },
    Savepoint {
        slot: usize,
        keys: Vec<u8>,
        kept: bool,
    },
    End {
        slot: usize,
        commit: bool,
    },
    Start,
    Stop,
    Crash,
    /// Somebody else has the leases for a moment.
    LoseLeases,
    Breathe,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    let keys = || proptest::collection::vec(0..8_u8, 1..6);
    prop_oneof![
        8 => (slot(), keys()).prop_map(|(slot, keys)| Step::Write { slot, keys }),
        2 => (slot(), keys(), any::<bool>())
            .prop_map(|(slot, keys, kept)| Step::Savepoint { slot, keys, kept }),
        6 => (slot(), proptest::bool::weighted(0.7))
            .prop_map(|(slot, commit)| Step::End { slot, commit }),
        2 => Just(Step::Start),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
        1 => Just(Step::LoseLeases),
        2 => Just(Step::Breathe),
    ]
}

/// A transaction that is open, and what it has written.
struct Open {
    tx: Transaction<'static, Postgres>,
    written: Vec<(u8, u64)>,
}

struct World {
    outbox: TestOutbox,
    slots: [Option<Open>; SLOTS],
    /// Which slot has a key's lock.
    locks: BTreeMap<u8, usize>,
    next: BTreeMap<u8, u64>,
    committed: BTreeMap<String, Vec<u64>>,
    /// Each on a runtime of its own, which can be torn away.
    relays: Vec<(Runtime, RunningRelay)>,
}

impl World {
    /// Takes the keys' locks, as far as nobody else has them.
    fn lock(&mut self, slot: usize, keys: &[u8]) -> Vec<(u8, u64)> {
        let mut taken = Vec::new();
        for key in keys {
            if *self.locks.entry(*key).or_insert(slot) == slot {
                let next = self.next.entry(*key).or_default();
                taken.push((*key, *next));
                *next += 1;
            }
        }
        taken
    }

    async fn write(&self, connection: &mut PgConnection, events: &[(u8, u64)]) {
        for (key, n) in events {
            let key = format!("k{key}");
            self.outbox.write(connection, &key, *n..*n + 1).await;
        }
    }

    async fn open(&mut self, slot: usize) -> Open {
        match self.slots[slot].take() {
            Some(open) => open,
            None => Open {
                tx: self.outbox.pool.begin().await.unwrap(),
                written: Vec::new(),
            },
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write { slot, keys } => {
                let mut open = self.open(*slot).await;
                let events = self.lock(*slot, keys);
                self.write(&mut open.tx, &events).await;
                open.written.extend(events);
                self.slots[*slot] = Some(open);
            }
            Step::Savepoint { slot, keys, kept } => {
                let mut open = self.open(*slot).await;
                let events = self.lock(*slot, keys);
                let mut savepoint = open.tx.begin().await.unwrap();
                self.write(&mut savepoint, &events).await;
                if *kept {
                    savepoint.commit().await.unwrap();
                    open.written.extend(events);
                } else {
                    savepoint.rollback().await.unwrap();
                }
                self.slots[*slot] = Some(open);
            }
            Step::End { slot, commit } => self.end(*slot, *commit).await,
            Step::Start if self.relays.len() < 3 => {
                let outbox = self.outbox.clone();
                let started = tokio::task::spawn_blocking(move || start(&outbox));
                self.relays.push(started.await.unwrap());
            }
            Step::Start => {}
            Step::Stop => {
                if let Some((runtime, relay)) = self.relays.pop() {
                    relay.shutdown().await.unwrap();
                    runtime.shutdown_background();
                }
            }
            Step::Crash => {
                if let Some((runtime, relay)) = self.relays.pop() {
                    runtime.shutdown_background();
                    drop(relay);
                }
            }
            Step::LoseLeases => {
                let steal = "UPDATE outbox_leases SET relay = 'thief', \
                             expires_at = clock_timestamp() + interval '50 ms'";
                self.outbox.execute(steal).await;
            }
            Step::Breathe => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }

    async fn end(&mut self, slot: usize, commit: bool) {
        let Some(open) = self.slots[slot].take() else {
            return;
        };
        if commit {
            open.tx.commit().await.unwrap();
            for (key, n) in open.written {
                self.committed.entry(format!("k{key}")).or_default().push(n);
            }
        } else {
            open.tx.rollback().await.unwrap();
        }
        self.locks.retain(|_, holder| *holder != slot);
    }
}

fn start(outbox: &TestOutbox) -> (Runtime, RunningRelay) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let relay = outbox.relay().lease(Duration::from_millis(500)).batch(7);
    let running = runtime.block_on(async { relay.start() }).unwrap();
    (runtime, running)
}

async fn run(steps: Vec<Step>) {
    let mut world = World {
        outbox: TestOutbox::new("model").await,
        slots: Default::default(),
        locks: BTreeMap::new(),
        next: BTreeMap::new(),
        committed: BTreeMap::new(),
        relays: Vec::new(),
    };
    for step in &steps {
        world.step(step).await;
    }
    for slot in 0..SLOTS {
        world.end(slot, true).await;
    }
    let last = world.outbox.relay().start().unwrap();
    world.outbox.drains_to(0).await;
    last.shutdown().await.unwrap();
    for (runtime, relay) in world.relays.drain(..) {
        relay.shutdown().await.unwrap();
        runtime.shutdown_background();
    }
    let published = world.outbox.published();
    assert_eq!(published.by_key(), world.committed);
    let steps: BTreeSet<_> = published.steps().into_iter().collect();
    let ids: BTreeSet<_> = published
        .0
        .iter()
        .map(|record| record.text("ce_id"))
        .collect();
    assert_eq!(steps.len(), ids.len(), "copies of one event have one id");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_what_was_committed(steps in proptest::collection::vec(step(), 20..80)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
