//! Do the topics exist, and does Kafka answer at all?

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::plan::{Plan, Topology};
use super::{letters, retention};
use crate::embedded::EmbeddedBroker;
use crate::error::{Error, chain};
use crate::kafka::{Connection, LoggedContext, Role};

/// Says what is wrong; creates what may be created.
pub(super) async fn check(plan: &Plan) -> Vec<String> {
    if let Some(broker) = &plan.broker {
        return embedded(broker, &plan.topology);
    }
    let timeout = plan.settings.startup_timeout;
    let known = match partitions(plan.topology.connection.clone(), timeout).await {
        Ok(known) => known,
        Err(problem) => return vec![problem],
    };
    let mut found = Vec::new();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (group, declared) in &plan.topology.groups {
        for topic in &declared.topics {
            if !known.contains_key(topic) {
                found.push(format!(
                    "topic `{topic}` of group `{group}` does not exist: create it"
                ));
            }
        }
        for (topic, sources) in &declared.dead_letter_topics {
            if !known.contains_key(topic) {
                let sources = sources.iter().map(String::as_str);
                missing.entry(topic).or_default().extend(sources);
            }
        }
    }
    if found.is_empty() {
        retention::compare(plan).await;
    }
    if found.is_empty() && !missing.is_empty() {
        found.extend(dead_letter_topics(plan, &known, &missing).await);
    }
    found
}

fn embedded(broker: &EmbeddedBroker, topology: &Topology) -> Vec<String> {
    topology
        .groups
        .values()
        .flat_map(|declared| {
            declared
                .topics
                .iter()
                .chain(declared.dead_letter_topics.keys())
        })
        .filter_map(|topic| broker.ensure_topic(topic).err())
        .map(|error| error.to_string())
        .collect()
}

/// The cluster's topics and their numbers of partitions.
async fn partitions(
    connection: Connection,
    timeout: Duration,
) -> Result<BTreeMap<String, i32>, String> {
    let servers = connection.bootstrap_servers.clone();
    let asked = Instant::now();
    let answer = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer<LoggedContext> = connection
            .client(Role::Consumer, &[])
            .create_with_context(LoggedContext)
            .map_err(|error| chain(&Error::kafka("settings", error)))?;
        let metadata = client
            .fetch_metadata(None, timeout)
            .map_err(|error| unreachable(&servers, asked.elapsed(), &error))?;
        Ok(metadata
            .topics()
            .iter()
            .map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32))
            .collect())
    })
    .await;
    match answer {
        Ok(answer) => answer,
        Err(error) => Err(format!("asking Kafka for its topics: {error}")),
    }
}

fn unreachable(servers: &str, waited: Duration, error: &rdkafka::error::KafkaError) -> String {
    format!(
        "Kafka at {servers} does not answer ({:.1} s waited): {error}",
        waited.as_secs_f32()
    )
}

async fn dead_letter_topics(
    plan: &Plan,
    known: &BTreeMap<String, i32>,
    missing: &BTreeMap<&str, BTreeSet<&str>>,
) -> Vec<String> {
    if !plan.settings.create_dead_letter_topics {
        return missing
            .keys()
            .map(|topic| format!("dead-letter topic `{topic}` does not exist: create it"))
            .collect();
    }
    let timeout = plan.settings.startup_timeout;
    match letters::create(&plan.topology.connection, known, missing, timeout).await {
        Ok(problems) => problems,
        Err(error) => vec![format!("creating dead-letter topics: {}", chain(&error))],
    }
}
