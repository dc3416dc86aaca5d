//! Where the services run: on a broker inside the process, or on real servers.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use eventkit::App;
use eventkit::dedup::MemoryDedup;
use eventkit::embedded::EmbeddedBroker;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::args::Args;
use crate::events::{PARTITIONS, TOPICS};

const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) enum Platform {
    Embedded(EmbeddedBroker),
    Servers {
        kafka: String,
        redis: Option<String>,
        /// Its processes are killed.
        is_deadly: bool,
    },
}

impl Platform {
    /// Starts or finds the broker, and creates the topics that it does not have.
    pub(crate) async fn prepare(args: &Args) -> anyhow::Result<Self> {
        let Some(kafka) = &args.kafka else {
            let broker = EmbeddedBroker::start()?;
            for topic in TOPICS {
                broker.create_topic(topic, PARTITIONS)?;
            }
            return Ok(Self::Embedded(broker));
        };
        create_topics(kafka)
            .await
            .with_context(|| format!("creating topics on Kafka at {kafka}"))?;
        Ok(Self::Servers {
            kafka: kafka.clone(),
            redis: args.redis.clone(),
            is_deadly: args.victim,
        })
    }

    pub(crate) fn app(&self, name: &str) -> App {
        match self {
            Self::Embedded(broker) => App::new(name).broker(broker),
            Self::Servers {
                kafka,
                redis,
                is_deadly,
            } => {
                let mut app = App::new(name).bootstrap_servers(kafka);
                if *is_deadly {
                    // Its successor takes over at once, and need not wait until the
                    // group, or the dedup store, takes it for dead.
                    app = app
                        .kafka("group.instance.id", name)
                        // Nor does the group wait long for it after the run.
                        .kafka("session.timeout.ms", "6000")
                        .dedup_lease(Duration::from_secs(3));
                }
                match redis {
                    Some(url) => app.redis_url(url),
                    None => app.dedup(MemoryDedup::new()),
                }
            }
        }
    }

    pub(crate) fn bootstrap_servers(&self) -> &str {
        match self {
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Servers { kafka, .. } => kafka,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("The embedded broker, dedup in memory"),
            Self::Servers { kafka, redis, .. } => {
                let dedup = if redis.is_some() { "Redis" } else { "memory" };
                write!(f, "Kafka at {kafka}, dedup in {dedup}")
            }
        }
    }
}

async fn create_topics(kafka: &str) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topics = TOPICS.map(|topic| NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1)));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for answer in admin.create_topics(&topics, &options).await? {
        match answer {
            // Another of the five was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => bail!("topic `{topic}`: {code}"),
        }
    }
    let consumer: BaseConsumer = config.create()?;
    tokio::task::spawn_blocking(move || wait_for_topics(&consumer)).await?
}

/// A broker knows a new topic a moment after the controller does.
fn wait_for_topics(consumer: &BaseConsumer) -> anyhow::Result<()> {
    let asked = Instant::now();
    loop {
        let metadata = consumer.fetch_metadata(None, PATIENCE)?;
        let known = |topic: &&str| metadata.topics().iter().any(|known| known.name() == *topic);
        match TOPICS.into_iter().find(|topic| !known(topic)) {
            None => return Ok(()),
            Some(topic) if asked.elapsed() > PATIENCE => bail!("topic `{topic}` does not appear"),
            Some(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
