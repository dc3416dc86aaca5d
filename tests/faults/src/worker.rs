//! The service that is hit: one handler of one kind, which writes down what it does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use eventkit::inbox::Tx;
use eventkit::prelude::*;
use eventkit::{Settings, handlers};
use eventkit_tests::{By, Reserved, Step, TestInbox, on};
use serde::{Deserialize as De, Serialize as Ser};
use sqlx::Postgres;

use crate::journal::{Event as Worked, Journal, What};

/// What a worker process is told, as JSON in its argument.
#[derive(Debug, Clone, Ser, De)]
pub(crate) struct Orders {
    pub(crate) kind: Kind,
    pub(crate) servers: String,
    pub(crate) redis: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) journal: PathBuf,
    /// An event takes between these two, in milliseconds.
    pub(crate) work_ms: (u64, u64),
    pub(crate) lease_ms: u64,
    pub(crate) shutdown_ms: u64,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) sabotage: Option<Sabotage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Ser, De)]
pub(crate) enum Kind {
    /// Without dedup.
    Plain,
    /// With dedup.
    Once,
    /// Begins and never returns.
    Stuck,
    /// With an inbox, whose database has the effects.
    Inbox,
    /// With dedup; what [`is_poison`] fails every attempt.
    Poison,
}

/// A worker that breaks a promise, to see that the oracle finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Ser, De)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sabotage {
    /// Some events have no effect.
    Skip,
    /// Some effects come after their handler has ended.
    Late,
    /// Some effects come twice.
    Twice,
}

impl Sabotage {
    /// Spread over all keys, and rare enough to be hard to find.
    fn hits(self, event: Worked) -> bool {
        (u64::from(event.key) * 7 + event.n) % 50 == 3
    }
}

pub(crate) fn is_poison(event: Worked) -> bool {
    (u64::from(event.key) + event.n).is_multiple_of(10)
}

#[derive(Clone)]
struct Bench {
    journal: Journal,
    work_ms: (u64, u64),
    sabotage: Option<Sabotage>,
}

impl Bench {
    async fn work(&self, step: &Step) -> anyhow::Result<()> {
        let event = event(step)?;
        self.journal.write(What::Begun, event)?;
        let (least, most) = self.work_ms;
        let mut rng = crate::rng::Rng::new(u64::from(event.key) << 32 | event.n);
        let time = Duration::from_millis(rng.within(least..most + 1));
        match self.sabotage.filter(|sabotage| sabotage.hits(event)) {
            Some(Sabotage::Skip) => return Ok(()),
            Some(Sabotage::Late) => {
                let journal = self.journal.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    journal.write(What::Done, event)
                });
                return Ok(());
            }
            Some(Sabotage::Twice) => self.journal.write(What::Done, event)?,
            None => {}
        }
        tokio::time::sleep(time).await;
        self.journal.write(What::Done, event)
    }
}

fn event(step: &Step) -> anyhow::Result<Worked> {
    Worked::parse(&step.key, step.n).ok_or_else(|| anyhow::anyhow!("a key of the suite's own"))
}

#[handler(event = "Step.v1")]
async fn plain(step: Step, State(bench): State<Bench>) -> anyhow::Result<()> {
    bench.work(&step).await
}

#[handler(event = "Step.v1", dedup(ttl = "1h"))]
async fn once(step: Step, State(bench): State<Bench>) -> anyhow::Result<()> {
    bench.work(&step).await
}

#[handler(event = "Step.v1")]
async fn stuck(step: Step, State(bench): State<Bench>) -> anyhow::Result<()> {
    bench.journal.write(What::Begun, event(&step)?)?;
    std::future::pending().await
}

#[handler(
    event = "Step.v1",
    retry(attempts = 2, backoff = "10ms..50ms"),
    dedup(ttl = "1h")
)]
async fn poison(step: Step, State(bench): State<Bench>) -> anyhow::Result<()> {
    anyhow::ensure!(!is_poison(event(&step)?), "every attempt fails");
    bench.work(&step).await
}

/// Its effect is a row; sabotaged, it has one more outside its transaction.
#[handler(event = "Step.v1", inbox, retry(attempts = 1))]
async fn reserve(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(inbox): State<TestInbox>,
    State(bench): State<Bench>,
) -> anyhow::Result<Reserved> {
    let hit = event(&step)?;
    match bench.sabotage.filter(|sabotage| sabotage.hits(hit)) {
        Some(Sabotage::Skip) => {}
        Some(Sabotage::Late | Sabotage::Twice) => {
            let mut outside = inbox.outbox.pool.acquire().await?;
            TestInbox::reserve(&mut outside, &step, &by).await?;
            TestInbox::reserve(tx, &step, &by).await?;
        }
        None => {
            TestInbox::reserve(tx, &step, &by).await?;
        }
    }
    let Step { key, n } = step;
    Ok(Reserved { key, n })
}

/// The whole life of a worker process.
pub(crate) async fn run(orders: &str) -> anyhow::Result<()> {
    let orders: Orders = serde_json::from_str(orders)?;
    let _telemetry = eventkit::telemetry::init("fault-worker")?;
    let handlers = match orders.kind {
        Kind::Plain => handlers![plain],
        Kind::Once => handlers![once],
        Kind::Stuck => handlers![stuck],
        Kind::Inbox => handlers![reserve],
        Kind::Poison => handlers![poison],
    };
    let mut settings = Settings::default();
    settings.dedup_lease = Duration::from_millis(orders.lease_ms);
    settings.redis_url = orders.redis;
    settings.shutdown_timeout = Duration::from_millis(orders.shutdown_ms);
    settings.kafka = orders.properties;
    let bench = Bench {
        journal: Journal::open(&orders.journal)?,
        work_ms: orders.work_ms,
        sabotage: orders.sabotage,
    };
    let app = match orders.database {
        Some(url) => {
            let name = orders.topic.trim_end_matches("-in");
            let inbox = TestInbox::at(&orders.servers, &url, name).await;
            inbox.app(&std::process::id().to_string(), handlers)
        }
        None => App::new(orders.group).handlers(on(orders.topic, handlers)),
    };
    app.settings(settings)
        .bootstrap_servers(orders.servers)
        .state(bench)
        .run()
        .await?;
    Ok(())
}
