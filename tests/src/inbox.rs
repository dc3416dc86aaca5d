use eventkit::App;
use eventkit::inbox::Inbox;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use crate::servers::{app, database_url};
use crate::{Admin, Proxy, RawRecord, RawWriter, Step, TestOutbox};

/// An inbox beside a test's outbox, and a table that handlers write into.
#[derive(Clone)]
pub struct TestInbox {
    pub base: TestOutbox,
    pub group: String,
}

impl TestInbox {
    pub async fn new(name: &str) -> Self {
        let base = TestOutbox::new(name).await;
        Inbox::new(&base.outbox).migrate().await.expect("migrated");
        let this = Self::of(base);
        this.execute("CREATE TABLE effects (key text NOT NULL, n bigint NOT NULL)")
            .await;
        this
    }

    /// One that is there already.
    pub async fn open(schema: &str, topic: &str) -> Self {
        Self::of(TestOutbox::open(schema, topic).await)
    }

    fn of(base: TestOutbox) -> Self {
        Self {
            group: base.topic.clone(),
            base,
        }
    }

    /// The same, by another way.
    pub async fn through(&self, proxy: &Proxy) -> Self {
        Self::of(self.base.through(proxy).await)
    }

    /// The same, each connection with settings of its own.
    pub async fn with_settings(&self, settings: &[(&str, &str)]) -> Self {
        let options: PgConnectOptions = database_url().parse().expect("an address");
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(options.options(settings.iter().copied()))
            .await
            .expect("PostgreSQL answers");
        let outbox = eventkit::outbox::Outbox::builder("tests", pool.clone())
            .schema(&self.base.schema)
            .build();
        Self::of(TestOutbox {
            outbox: outbox.expect("a legal schema"),
            pool,
            ..self.base.clone()
        })
    }

    pub fn pool(&self) -> &PgPool {
        &self.base.pool
    }

    /// An App with this inbox; its handlers are to be listed.
    pub fn app(&self) -> App {
        app(&self.group)
            .inbox(Inbox::new(&self.base.outbox))
            .state(self.clone())
            .kafka("session.timeout.ms", "6000")
            .kafka("heartbeat.interval.ms", "500")
    }

    /// A statement that says `effects`, `inbox` or `outbox`, for this schema.
    pub fn sql(&self, text: &str) -> String {
        let table = |name: &str| format!("\"{}\".{name}", self.base.schema);
        self.base
            .sql(text)
            .replace("inbox", &table("eventkit_inbox"))
            .replace("effects", &table("effects"))
    }

    pub async fn execute(&self, text: &str) {
        let done = sqlx::query(AssertSqlSafe(self.sql(text))).execute(self.pool());
        done.await.expect("executed");
    }

    pub async fn number(&self, text: &str) -> i64 {
        let counted = sqlx::query_scalar(AssertSqlSafe(self.sql(text))).fetch_one(self.pool());
        counted.await.expect("counted")
    }

    /// Effects, rows of the inbox, events in the outbox.
    pub async fn counts(&self) -> (i64, i64, i64) {
        (
            self.number("SELECT count(*) FROM effects").await,
            self.number("SELECT count(*) FROM inbox").await,
            self.number("SELECT count(*) FROM outbox").await,
        )
    }

    /// What handlers do in these tests.
    pub async fn effect(
        &self,
        tx: &mut sqlx::Transaction<'_, sqlx::Postgres>,
        step: &Step,
    ) -> sqlx::Result<()> {
        sqlx::query(AssertSqlSafe(
            self.sql("INSERT INTO effects VALUES ($1, $2)"),
        ))
        .bind(&step.key)
        .bind(step.n as i64)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    pub async fn write(&self, records: &[RawRecord]) {
        RawWriter::new().write_all(&self.base.topic, records).await;
    }

    /// Waits until everything in the topic is settled.
    pub async fn settles(&self) {
        Admin::new()
            .committed_to_the_end(&self.group, &self.base.topic)
            .await;
    }
}
