use eventkit::inbox::Inbox;
use eventkit::prelude::*;
use eventkit::{HandlerDefinition, StartFrom};
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use crate::outbox::options;
use crate::servers::{app_at, database_url, kafka_servers, unique};
use crate::{Admin, Proxy, Published, RawRecord, RawWriter, Step, TestOutbox, on, read_all_at};

/// What handlers return for a step.
#[derive(Debug, Clone, Event, Serialize, Deserialize)]
#[event(type = "Reserved.v1", topic = "reserved", key = key)]
pub struct Reserved {
    pub key: String,
    pub n: u64,
}

/// Who a handler works for.
#[derive(Debug, Clone)]
pub struct By(pub String);

/// An inbox and its outbox in a schema of their own, with a topic to each side,
/// and a table of effects.
#[derive(Clone)]
pub struct TestInbox {
    pub name: String,
    pub input: String,
    pub group: String,
    /// Whatever is put in goes to its topic.
    pub outbox: TestOutbox,
    options: PgConnectOptions,
    servers: String,
}

impl TestInbox {
    pub async fn new(name: &str) -> Self {
        Self::in_database(&database_url(), name).await
    }

    /// In a database of the test's own.
    pub async fn in_database(url: &str, name: &str) -> Self {
        let (servers, name) = (kafka_servers(), unique(name));
        Admin::new().create(&format!("{name}-in"), 4, &[]).await;
        Self::beside(&servers, url, &name).await
    }

    /// The same beside an input that is there, in a Kafka of the test's own.
    pub async fn beside(servers: &str, url: &str, name: &str) -> Self {
        let this = Self::at(servers, url, name).await;
        let admin = Admin::at(servers);
        admin.create(&this.outbox.topic, 4, &[]).await;
        this.outbox.outbox.migrate().await.expect("migrated");
        this.inbox().migrate().await.expect("migrated");
        this.execute(
            "CREATE TABLE effects \
             (id bigserial PRIMARY KEY, key text NOT NULL, n bigint NOT NULL, by text)",
        )
        .await;
        // An event names its topic for good; each test wants one of its own.
        this.execute(&format!(
            "CREATE FUNCTION to_own_topic() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.topic := '{}'; RETURN NEW; END $$; \
             CREATE TRIGGER to_own_topic BEFORE INSERT ON eventkit_outbox \
             FOR EACH ROW EXECUTE FUNCTION to_own_topic()",
            this.outbox.topic
        ))
        .await;
        this
    }

    /// One that is there already.
    pub async fn open(url: &str, name: &str) -> Self {
        Self::at(&kafka_servers(), url, name).await
    }

    /// The same in a Kafka of the test's own.
    pub async fn at(servers: &str, url: &str, name: &str) -> Self {
        let schema = name.replace('-', "_");
        let options = options(url).options([("search_path", &schema)]);
        Self {
            servers: servers.to_owned(),
            name: name.to_owned(),
            input: format!("{name}-in"),
            group: format!("{name}-in-group"),
            outbox: TestOutbox::at(options.clone(), &schema, name).await,
            options,
        }
    }

    /// The same, by another way.
    pub async fn through(&self, proxy: &Proxy) -> Self {
        Self::open(&proxy.database_url(), &self.name).await
    }

    /// The same, with another setting for its connections.
    pub async fn with(&self, setting: &str, value: &str) -> Self {
        let options = self.options.clone().options([(setting, value)]);
        let (schema, topic) = (&self.outbox.schema, &self.outbox.topic);
        Self {
            outbox: TestOutbox::at(options.clone(), schema, topic).await,
            options,
            ..self.clone()
        }
    }

    pub fn inbox(&self) -> Inbox<sqlx::Postgres> {
        Inbox::new(&self.outbox.outbox)
    }

    /// An App with the inbox, its outbox and the relay; handlers have the topic of
    /// this test, and the inbox and `by` as their state.
    pub fn app(&self, by: &str, handlers: Vec<HandlerDefinition>) -> App {
        app_at(&self.servers, &self.group)
            .inbox(self.inbox())
            .outbox(self.outbox.relay_to(&self.servers))
            .state(By(by.to_owned()))
            .state(self.clone())
            .handlers(on(self.input.clone(), handlers))
            .start_from(StartFrom::Earliest)
    }

    /// The effect of a step.
    pub async fn reserve(
        transaction: &mut PgConnection,
        step: &Step,
        By(by): &By,
    ) -> sqlx::Result<Reserved> {
        sqlx::query("INSERT INTO effects (key, n, by) VALUES ($1, $2, $3)")
            .bind(&step.key)
            .bind(step.n as i64)
            .bind(by)
            .execute(transaction)
            .await?;
        Ok(Reserved {
            key: step.key.clone(),
            n: step.n,
        })
    }

    pub async fn write<'r>(&self, records: impl IntoIterator<Item = &'r RawRecord>) {
        RawWriter::new().write_all(&self.input, records).await;
    }

    /// Steps of so many keys, each in one of the four partitions.
    pub async fn write_steps(&self, keys: u64, numbers: std::ops::Range<u64>) {
        let steps = numbers.flat_map(|n| (0..keys).map(move |key| (key, n)));
        let steps: Vec<_> = steps
            .map(|(key, n)| Step::record(format!("k{key}"), n).partition((key % 4) as i32))
            .collect();
        self.write(&steps).await;
    }

    pub async fn execute(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let done = sqlx::raw_sql(sql).execute(&self.outbox.pool).await;
        done.expect("executed");
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let number = sqlx::query_scalar(sql).fetch_one(&self.outbox.pool).await;
        number.expect("a number")
    }

    pub async fn effects(&self) -> i64 {
        self.number("SELECT count(*) FROM effects").await
    }

    pub async fn notes(&self) -> i64 {
        self.number("SELECT count(*) FROM eventkit_inbox").await
    }

    /// Waits until so many of its connections wait for a lock.
    pub async fn waits_for_locks(&self, connections: i64) {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN \
                   (SELECT pid FROM pg_locks WHERE relation = 'eventkit_inbox'::regclass)";
        crate::eventually("connections wait for locks", async || {
            self.number(sql).await == connections
        })
        .await;
    }

    /// Waits until all events are settled and all that was returned is published.
    pub async fn comes_to_rest(&self) {
        Admin::new()
            .committed_to_the_end(&self.group, &self.input)
            .await;
        self.outbox.drains_to(0).await;
    }

    /// What stands in its outbox's topic.
    pub fn published(&self) -> Published {
        Published(read_all_at(&self.servers, &self.outbox.topic))
    }

    /// Every step has one effect and was published, and nothing else was.
    pub async fn assert_once(&self, keys: usize, each: u64) {
        let wanted = (keys as u64 * each) as i64;
        let distinct = "SELECT count(*) FROM (SELECT DISTINCT key, n FROM effects) AS e";
        assert_eq!(self.number(distinct).await, wanted, "steps with an effect");
        assert_eq!(self.effects().await, wanted, "effects");
        assert_eq!(self.notes().await, wanted, "notes");
        self.outbox.published().assert_complete(keys, each);
    }
}
