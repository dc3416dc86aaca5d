//! The command line and the environment.

use std::fmt;

use anyhow::{Context, bail};

pub(crate) const USAGE: &str = "\
order-lifecycle: five services sell the CDNOW orders, connected by events only

  --orders N       so many orders; past the file its purchases come again (default: 6919)
  --seed N         another seed, other faults (default: 1)
  --calm           no faults
  --service NAME   this service alone: order, inventory, payment, notification or analytics;
                   give all five the same --orders, --seed and --calm
  --kill           each service is a process of its own, killed (SIGKILL) and started again
                   three times while it works

  KAFKA_BOOTSTRAP_SERVERS       a Kafka instead of the embedded broker
  DATABASE_URL                  a PostgreSQL instead of SQLite in a temporary folder
  REDIS_URL                     a Redis for dedup instead of memory
  OTEL_EXPORTER_OTLP_ENDPOINT   traces over OTLP (gRPC)
  RUST_LOG                      logs, such as `info` or `eventkit=debug`";

/// What the embedded broker keeps: 8 partitions of 5 MiB for each topic, and
/// records of up to 1 KiB, headers included, spread unevenly over them.
const MOST_ORDERS_EMBEDDED: usize = 25_000;

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) orders: Option<usize>,
    pub(crate) seed: u64,
    pub(crate) calm: bool,
    pub(crate) service: Option<ServiceName>,
    pub(crate) kill: bool,
    /// One of the processes that `--kill` starts and kills.
    pub(crate) victim: bool,
    pub(crate) database: Option<String>,
    pub(crate) kafka: Option<String>,
    pub(crate) redis: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceName {
    Order,
    Inventory,
    Payment,
    Notification,
    Analytics,
}

impl ServiceName {
    pub(crate) const ALL: [Self; 5] = [
        Self::Order,
        Self::Inventory,
        Self::Payment,
        Self::Notification,
        Self::Analytics,
    ];

    /// Analytics has none: it counts in memory.
    pub(crate) const WITH_DATABASE: [Self; 4] = [
        Self::Order,
        Self::Inventory,
        Self::Payment,
        Self::Notification,
    ];

    /// The App's name, and so its consumer group.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Analytics => "analytics",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Args {
    /// `None`: help was asked for.
    pub(crate) fn read() -> anyhow::Result<Option<Self>> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut args = Self {
            orders: None,
            seed: 1,
            calm: false,
            service: None,
            kill: false,
            victim: false,
            database: set("DATABASE_URL"),
            kafka: set("KAFKA_BOOTSTRAP_SERVERS"),
            redis: set("REDIS_URL"),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} what?"));
            match word.as_str() {
                "--orders" => args.orders = Some(number(&value()?)?),
                "--seed" => args.seed = number(&value()?)?,
                "--calm" => args.calm = true,
                "--service" => args.service = Some(service(&value()?)?),
                "--kill" => args.kill = true,
                "--victim" => args.victim = true,
                "--help" | "-h" => return Ok(None),
                _ => bail!("`{word}` is no option\n\n{USAGE}"),
            }
        }
        args.check()?;
        Ok(Some(args))
    }

    pub(crate) fn services(&self) -> Vec<ServiceName> {
        match self.service {
            Some(service) => vec![service],
            None => ServiceName::ALL.to_vec(),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.orders == Some(0) {
            bail!("--orders 0: there is nothing to do");
        }
        let is_shared = self.kafka.is_some() && self.database.is_some();
        if let Some(service) = self.service
            && !is_shared
        {
            bail!(
                "--service {service}: one service alone needs servers that the others reach too, \
                 set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL"
            );
        }
        if self.kill && (!is_shared || self.redis.is_none()) {
            bail!(
                "--kill: processes that are killed need servers that outlive them, \
                 set KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL and REDIS_URL"
            );
        }
        if self.kill && self.service.is_some() {
            bail!("--kill starts every service by itself: leave out --service");
        }
        if self.kafka.is_some() {
            return Ok(());
        }
        if let Some(orders) = self.orders
            && orders > MOST_ORDERS_EMBEDDED
        {
            bail!(
                "--orders {orders}: the embedded broker keeps at most 5 MiB of a partition, \
                 enough for {MOST_ORDERS_EMBEDDED} orders; for more set KAFKA_BOOTSTRAP_SERVERS"
            );
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> anyhow::Result<T> {
    text.parse()
        .map_err(|_| anyhow::anyhow!("`{text}` is not a whole number"))
}

fn service(text: &str) -> anyhow::Result<ServiceName> {
    let found = ServiceName::ALL
        .into_iter()
        .find(|name| name.as_str() == text);
    found.with_context(|| {
        let names = ServiceName::ALL.map(ServiceName::as_str).join(", ");
        format!("`{text}` is no service; there are {names}")
    })
}
