//! Creates dead-letter topics that have room for whatever their sources hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::configs::Admin;
use crate::error::{Error, Result};
use crate::kafka::Connection;

const LIMIT: &str = "max.message.bytes";
/// A limit that is enough for the usual limit of a source, twice over.
const USUAL_LIMIT: i32 = 2 << 20;
/// Our headers around a record are some 2 KiB, most of it the error's text.
const HEADER_ROOM: i32 = 64 << 10;

/// Creates each `missing` topic, for the source topics whose letters it takes;
/// `known` are the partitions of topics that exist. Says what went wrong.
pub(super) async fn create(
    connection: &Connection,
    known: &BTreeMap<String, i32>,
    missing: &BTreeMap<&str, BTreeSet<&str>>,
    timeout: Duration,
) -> Result<Vec<String>> {
    let failed = |error| Error::kafka("creating topics", error);
    let admin = Admin::new(connection, timeout).map_err(failed)?;
    let sources: BTreeSet<&str> = missing.values().flatten().copied().collect();
    let limits = limits(&admin, &sources).await;
    let limits: Vec<String> = missing
        .values()
        .map(|sources| limit(sources.iter().filter_map(|source| limits.get(*source))))
        .collect();
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&limits)
        .map(|((name, sources), limit)| NewTopic {
            name,
            num_partitions: sources
                .iter()
                .filter_map(|source| known.get(*source).copied())
                .max()
                .unwrap_or(1),
            // The broker's own default.
            replication: TopicReplication::Fixed(-1),
            config: vec![(LIMIT, limit)],
        })
        .collect();
    let answers = admin
        .client
        .create_topics(&topics, &admin.options)
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

/// How large the topics' records may be, where the broker says so.
async fn limits(admin: &Admin, topics: &BTreeSet<&str>) -> BTreeMap<String, i32> {
    match admin.settings(topics, &[LIMIT]).await {
        Ok(settings) => settings
            .into_iter()
            .filter_map(|(topic, settings)| Some((topic, settings.get(LIMIT)?.parse().ok()?)))
            .collect(),
        Err(error) => {
            tracing::warn!(
                target: "eventkit::app",
                %error,
                "the topics' `{LIMIT}` cannot be read: their dead-letter topics get {USUAL_LIMIT}, \
                 give them more if their records may be larger"
            );
            BTreeMap::new()
        }
    }
}

fn limit<'a>(sources: impl Iterator<Item = &'a i32>) -> String {
    sources
        .map(|limit| limit.saturating_add(HEADER_ROOM))
        .fold(USUAL_LIMIT, i32::max)
        .to_string()
}
