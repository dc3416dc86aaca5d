use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventkit::outbox::{Outbox, Relay};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres};

use crate::servers::{database_url, kafka_servers, unique};
use crate::{Admin, Proxy, RawRecord, Step, eventually, read_all};

/// An outbox in a schema of its own, and a topic of its own.
#[derive(Clone)]
pub struct TestOutbox {
    pub pool: PgPool,
    pub outbox: Outbox<Postgres>,
    pub schema: String,
    pub topic: String,
}

impl TestOutbox {
    pub async fn new(name: &str) -> Self {
        Self::with_topic(name, &[]).await
    }

    pub async fn with_topic(name: &str, settings: &[(&str, &str)]) -> Self {
        let topic = unique(name);
        Admin::new().create(&topic, 4, settings).await;
        let this = Self::open(&topic.replace('-', "_"), &topic).await;
        this.outbox.migrate().await.expect("migrated");
        this
    }

    /// One that is there already.
    pub async fn open(schema: &str, topic: &str) -> Self {
        Self::at(options(&database_url()), schema, topic).await
    }

    /// The same, by another way.
    pub async fn through(&self, proxy: &Proxy) -> Self {
        Self::at(options(&proxy.database_url()), &self.schema, &self.topic).await
    }

    pub(crate) async fn at(options: PgConnectOptions, schema: &str, topic: &str) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .expect("PostgreSQL answers");
        let outbox = Outbox::builder("tests", pool.clone())
            .schema(schema)
            .build();
        Self {
            outbox: outbox.expect("a legal schema"),
            schema: schema.to_owned(),
            topic: topic.to_owned(),
            pool,
        }
    }

    /// A relay with short leases, that takes little from the tests' patience.
    pub fn relay(&self) -> Relay<Postgres> {
        self.relay_to(&kafka_servers())
    }

    pub(crate) fn relay_to(&self, servers: &str) -> Relay<Postgres> {
        Relay::new(&self.outbox)
            .bootstrap_servers(servers)
            .lease(Duration::from_secs(2))
    }

    /// Publishes steps of a key within a transaction.
    pub async fn write(
        &self,
        transaction: &mut PgConnection,
        key: &str,
        numbers: std::ops::Range<u64>,
    ) {
        let key = key.to_owned();
        let steps: Vec<Step> = numbers
            .map(|n| Step {
                key: key.clone(),
                n,
            })
            .collect();
        let ids = self.outbox.publish_all(&mut *transaction, steps).await;
        let ids = ids.expect("inserted");
        // An event names its topic for good; each test wants one of its own.
        self.update(
            transaction,
            "UPDATE outbox SET topic = $1 WHERE event_id = ANY($2)",
            &ids,
        )
        .await;
    }

    async fn update(&self, transaction: &mut PgConnection, sql: &str, ids: &[String]) {
        let updated = sqlx::query(AssertSqlSafe(self.sql(sql)))
            .bind(&self.topic)
            .bind(ids)
            .execute(transaction)
            .await;
        updated.expect("updated");
    }

    /// The same in a transaction of its own.
    pub async fn commit(&self, key: &str, numbers: std::ops::Range<u64>) {
        let mut tx = self.pool.begin().await.expect("begun");
        self.write(&mut tx, key, numbers).await;
        tx.commit().await.expect("committed");
    }

    /// A statement that says `outbox` or `outbox_leases`, for this schema.
    pub fn sql(&self, text: &str) -> String {
        text.replace("outbox", &format!("\"{}\".eventkit_outbox", self.schema))
    }

    pub async fn execute(&self, text: &str) {
        let done = sqlx::query(AssertSqlSafe(self.sql(text))).execute(&self.pool);
        done.await.expect("executed");
    }

    pub async fn rows(&self) -> i64 {
        self.number("SELECT count(*) FROM outbox").await
    }

    pub async fn number(&self, text: &str) -> i64 {
        let counted = sqlx::query_scalar(AssertSqlSafe(self.sql(text))).fetch_one(&self.pool);
        counted.await.expect("counted")
    }

    /// Waits until only so many rows are unsent.
    pub async fn drains_to(&self, left: i64) {
        eventually("the outbox drains", async || self.rows().await == left).await;
    }

    /// Waits until so many relays hold all buckets between them.
    pub async fn is_shared_by(&self, relays: i64) {
        eventually("the relays share the buckets", async || {
            self.number("SELECT count(DISTINCT relay) FROM outbox_leases WHERE expires_at > clock_timestamp()")
                .await
                == relays
                && self
                    .number("SELECT count(*) FROM outbox_leases WHERE expires_at > clock_timestamp()")
                    .await
                    == 64
        })
        .await;
    }

    /// What stands in the topic.
    pub fn published(&self) -> Published {
        Published(read_all(&self.topic))
    }
}

pub(crate) fn options(url: &str) -> PgConnectOptions {
    url.parse().expect("a database's address")
}

/// The records of a topic.
pub struct Published(pub Vec<RawRecord>);

impl Published {
    /// Each key's numbers, in the order of their first copies.
    pub fn by_key(&self) -> BTreeMap<String, Vec<u64>> {
        let mut seen = BTreeSet::new();
        let mut keys: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (key, n) in self.steps() {
            if seen.insert((key.clone(), n)) {
                keys.entry(key).or_default().push(n);
            }
        }
        keys
    }

    pub fn steps(&self) -> Vec<(String, u64)> {
        let step = |record: &RawRecord| {
            let payload = record.payload.as_deref().expect("a payload");
            let step: Step = serde_json::from_slice(payload).expect("a step");
            (step.key, step.n)
        };
        self.0.iter().map(step).collect()
    }

    /// Every key's first copies must be 0, 1, 2, … and copies of one step must
    /// have one id, which no other step has.
    pub fn assert_complete(&self, keys: usize, each: u64) {
        let by_key = self.by_key();
        assert_eq!(by_key.len(), keys, "keys");
        let wanted: Vec<u64> = (0..each).collect();
        for (key, numbers) in by_key {
            assert_eq!(numbers, wanted, "key {key}");
        }
        let mut ids = BTreeMap::new();
        for (step, record) in self.steps().into_iter().zip(&self.0) {
            let id = record.text("ce_id").expect("an id");
            let first = ids.entry(step.clone()).or_insert_with(|| id.clone());
            assert_eq!(*first, id, "copies of {step:?}");
        }
        let distinct: BTreeSet<_> = ids.values().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
