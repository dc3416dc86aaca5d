//! Random histories of writers, relays and crashes against a model: what is
//! published is what was committed, and each key's first copies are in order.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::consume_at;
use eventkit::embedded::EmbeddedBroker;
use eventkit::outbox::{Outbox, Relay, RunningRelay};
use eventkit::prelude::*;
use proptest::prelude::*;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Connection, Sqlite, SqlitePool};
use tokio::runtime::Runtime;

#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(type = "Counted.v1", topic = "counts", key = key)]
struct Counted {
    key: u8,
    n: u64,
}

#[derive(Debug, Clone)]
enum Step {
    /// Events for these keys; whether a savepoint in between, and all, is kept.
    Write {
        keys: Vec<u8>,
        savepoint: Option<(Vec<u8>, bool)>,
        commit: bool,
    },
    Start,
    Stop,
    Crash,
    /// Somebody else has the leases for a moment.
    LoseLeases,
    Breathe,
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..6_u8, 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    let savepoint = proptest::option::of((keys(), any::<bool>()));
    prop_oneof![
        8 => (keys(), savepoint, proptest::bool::weighted(0.7))
            .prop_map(|(keys, savepoint, commit)| Step::Write { keys, savepoint, commit }),
        2 => Just(Step::Start),
        1 => Just(Step::Stop),
        2 => Just(Step::Crash),
        1 => Just(Step::LoseLeases),
        3 => Just(Step::Breathe),
    ]
}

struct World {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
    servers: String,
    /// Each on a runtime of its own, which can be torn away.
    relays: Vec<(Runtime, RunningRelay)>,
    next: BTreeMap<u8, u64>,
    committed: BTreeMap<u8, Vec<u64>>,
}

impl World {
    fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let relay = Relay::new(&self.outbox)
            .bootstrap_servers(&self.servers)
            .lease(Duration::from_millis(500))
            .poll_interval(Duration::from_millis(10))
            .batch(7);
        let running = runtime.block_on(async { relay.start() }).unwrap();
        self.relays.push((runtime, running));
    }

    async fn write(&mut self, keys: &[u8], savepoint: Option<&(Vec<u8>, bool)>, commit: bool) {
        let mut tx = self.pool.begin().await.unwrap();
        let mut written = self.publish(&mut tx, keys).await;
        if let Some((keys, kept)) = savepoint {
            let mut savepoint = tx.begin().await.unwrap();
            let inner = self.publish(&mut savepoint, keys).await;
            if *kept {
                savepoint.commit().await.unwrap();
                written.extend(inner);
            } else {
                savepoint.rollback().await.unwrap();
            }
        }
        if commit {
            tx.commit().await.unwrap();
            for event in written {
                self.committed.entry(event.key).or_default().push(event.n);
            }
        } else {
            tx.rollback().await.unwrap();
        }
    }

    async fn publish(&mut self, tx: &mut sqlx::SqliteConnection, keys: &[u8]) -> Vec<Counted> {
        let mut written = Vec::new();
        for key in keys {
            let n = self.next.entry(*key).or_default();
            let event = Counted { key: *key, n: *n };
            *n += 1;
            self.outbox.publish(&mut *tx, &event).await.unwrap();
            written.push(event);
        }
        written
    }

    async fn lose_leases(&self) {
        let stolen = sqlx::query(
            "UPDATE eventkit_outbox_leases SET relay = 'thief', \
             expires_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + 50",
        );
        stolen.execute(&self.pool).await.unwrap();
    }

    async fn unsent(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM eventkit_outbox");
        count.fetch_one(&self.pool).await.unwrap()
    }
}

async fn run(steps: Vec<Step>) {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("counts", 2).unwrap();
    let file = format!("eventkit-model-{}.sqlite", uuid::Uuid::new_v4());
    let file = std::env::temp_dir().join(file);
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    let outbox = Outbox::new("model", pool.clone());
    outbox.migrate().await.unwrap();
    let mut world = World {
        pool,
        outbox,
        servers: broker.bootstrap_servers().to_owned(),
        relays: Vec::new(),
        next: BTreeMap::new(),
        committed: BTreeMap::new(),
    };
    for step in &steps {
        match step {
            Step::Write {
                keys,
                savepoint,
                commit,
            } => world.write(keys, savepoint.as_ref(), *commit).await,
            Step::Start if world.relays.len() < 3 => {
                world = tokio::task::spawn_blocking(move || {
                    world.start();
                    world
                })
                .await
                .unwrap();
            }
            Step::Stop => {
                if let Some((runtime, relay)) = world.relays.pop() {
                    relay.shutdown().await.unwrap();
                    runtime.shutdown_background();
                }
            }
            Step::Crash => {
                if let Some((runtime, relay)) = world.relays.pop() {
                    runtime.shutdown_background();
                    drop(relay);
                }
            }
            Step::LoseLeases => world.lose_leases().await,
            Step::Start => {}
            Step::Breathe => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let last = Relay::new(&world.outbox)
        .bootstrap_servers(&world.servers)
        .lease(Duration::from_millis(500))
        .poll_interval(Duration::from_millis(10));
    let last = last.start().unwrap();
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while world.unsent().await > 0 {
        assert!(
            tokio::time::Instant::now() < patience,
            "rows stay in the outbox"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    last.shutdown().await.unwrap();
    for (runtime, relay) in world.relays.drain(..) {
        relay.shutdown().await.unwrap();
        runtime.shutdown_background();
    }
    let published = first_copies(&world.servers).await;
    world.pool.close().await;
    std::fs::remove_file(file).unwrap();
    assert_eq!(published, world.committed);
}

/// Each key's numbers, in the order of their first copies.
async fn first_copies(servers: &str) -> BTreeMap<u8, Vec<u64>> {
    let mut ids = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut keys: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
    for record in consume_at(servers, "counts", common::len_at(servers, "counts").await).await {
        let event: Counted = serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap();
        let id = record.get("ce_id");
        let first = ids
            .entry((event.key, event.n))
            .or_insert_with(|| id.clone());
        assert_eq!(*first, id, "copies of one event have one id");
        if seen.insert((event.key, event.n)) {
            keys.entry(event.key).or_default().push(event.n);
        }
    }
    keys
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_what_was_committed(steps in proptest::collection::vec(step(), 10..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
