//! Do the topics exist, and does Kafka answer at all?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::plan::{Plan, Topology};
use crate::dlq::default_topic;
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
    let mut missing = BTreeMap::new();
    for (group, declared) in &plan.topology.groups {
        for topic in &declared.topics {
            if !known.contains_key(topic) {
                found.push(format!(
                    "topic `{topic}` of group `{group}` does not exist: create it"
                ));
            }
            let letters = default_topic(topic, group);
            if !known.contains_key(&letters) {
                missing.insert(letters, known.get(topic).copied().unwrap_or(1));
            }
        }
        for topic in &declared.dead_letter_topics {
            if !known.contains_key(topic) {
                missing.entry(topic.clone()).or_insert(1);
            }
        }
    }
    if found.is_empty() && !missing.is_empty() {
        found.extend(dead_letter_topics(plan, missing, timeout).await);
    }
    found
}

fn embedded(broker: &EmbeddedBroker, topology: &Topology) -> Vec<String> {
    topology
        .groups
        .values()
        .flat_map(|declared| declared.topics.iter().chain(&declared.dead_letter_topics))
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
    missing: BTreeMap<String, i32>,
    timeout: Duration,
) -> Vec<String> {
    if !plan.settings.create_dead_letter_topics {
        return missing
            .keys()
            .map(|topic| format!("dead-letter topic `{topic}` does not exist: create it"))
            .collect();
    }
    match create(&plan.topology.connection, &missing, timeout).await {
        Ok(problems) => problems,
        Err(error) => vec![format!("creating dead-letter topics: {}", chain(&error))],
    }
}

async fn create(
    connection: &Connection,
    missing: &BTreeMap<String, i32>,
    timeout: Duration,
) -> Result<Vec<String>, Error> {
    let failed = |error| Error::kafka("creating topics", error);
    let admin: AdminClient<LoggedContext> = connection
        .client(Role::Producer, &[])
        .create_with_context(LoggedContext)
        .map_err(failed)?;
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|(name, partitions)| NewTopic {
            name,
            num_partitions: *partitions,
            // The broker's own default.
            replication: TopicReplication::Fixed(-1),
            // Room for our headers around a payload of the usual largest size.
            config: vec![("max.message.bytes", "2097152")],
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(timeout))
        .request_timeout(Some(timeout));
    let answers = admin
        .create_topics(&topics, &options)
        .await
        .map_err(failed)?;
    Ok(answers
        .into_iter()
        .filter_map(Result::err)
        // Another instance of the service was faster.
        .filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists)
        .map(|(topic, code)| format!("dead-letter topic `{topic}` cannot be created: {code}"))
        .collect())
}
