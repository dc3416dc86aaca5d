use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::kafka::{Connection, is_secret};

const PREFIX: &str = "EVENTKIT_";
/// `EVENTKIT_KAFKA__SECURITY_PROTOCOL` is librdkafka's `security.protocol`.
const KAFKA_PREFIX: &str = "KAFKA__";
const DEFAULT_FILE: &str = "eventkit.toml";

/// Settings of an App, from file and environment.
///
/// In the file each is a key of its name; in the environment it is
/// `EVENTKIT_` and the name in capitals: `EVENTKIT_BOOTSTRAP_SERVERS`.
/// Durations are texts like `25s` or `500ms`. A librdkafka property stands in
/// the table `[kafka]`, or in `EVENTKIT_KAFKA__SECURITY_PROTOCOL` for
/// `security.protocol`.
///
/// ```
/// let settings = eventkit::Settings::parse(r#"
///     bootstrap_servers = "kafka-1:9092,kafka-2:9092"
///     redis_url = "redis://redis:6379"
///     shutdown_timeout = "20s"
///
///     [kafka]
///     "session.timeout.ms" = 30000
/// "#)?;
/// assert_eq!(settings.kafka["session.timeout.ms"], "30000");
/// # Ok::<(), eventkit::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Where Kafka is, as `host:port,…`. Default: `localhost:9092`.
    pub bootstrap_servers: String,
    /// Where Redis is, for dedup.
    pub redis_url: Option<String>,
    /// Handle events without dedup while its store is away. Default: `false`.
    pub dedup_fail_open: bool,
    /// How long a claim holds when its process dies. Default: 30 s; at least 100 ms.
    #[serde(deserialize_with = "duration")]
    pub dedup_lease: Duration,
    /// Where a new consumer group begins. Default: `earliest`.
    pub start_from: StartFrom,
    /// Deliveries of one partition that run, or wait for their next attempt, at
    /// once. Default: 256.
    pub max_in_flight: usize,
    /// Records of one partition held before it is paused. Default: 4096.
    pub max_buffered: usize,
    /// Bytes held by a consumer group in this process, shared equally among its
    /// partitions; one that holds more than its share (of at least 256 KiB) is
    /// paused. Default: 64 MiB.
    pub max_buffered_bytes: usize,
    /// Records between a partition's oldest unsettled one and its newest before
    /// it is paused: what a crash may deliver again. Default: 100,000.
    pub max_uncommitted: usize,
    /// Create missing dead-letter topics at start, with as many partitions as
    /// the topic they belong to. Default: `true`.
    pub create_dead_letter_topics: bool,
    /// How long the start-up checks wait for Kafka and Redis. Default: 10 s.
    #[serde(deserialize_with = "duration")]
    pub startup_timeout: Duration,
    /// How long a revoked partition's running handlers may take. Default: 10 s.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// How long running handlers may take at shutdown; leaving the groups and
    /// flushing the publisher end at most 4 s later. Default: 25 s.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
    /// librdkafka properties.
    #[serde(deserialize_with = "properties")]
    pub kafka: BTreeMap<String, String>,
}

/// Where a consumer group begins that has committed nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartFrom {
    /// With the oldest event that the topic still has: a new consumer misses
    /// nothing. The default.
    #[default]
    Earliest,
    /// With what is published from now on.
    Latest,
    /// Not at all: somebody must have set the group's offsets.
    Fail,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".into(),
            redis_url: None,
            dedup_fail_open: false,
            dedup_lease: Duration::from_secs(30),
            start_from: StartFrom::Earliest,
            max_in_flight: 256,
            max_buffered: 4096,
            max_buffered_bytes: 64 << 20,
            max_uncommitted: 100_000,
            create_dead_letter_topics: true,
            startup_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(25),
            kafka: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads `eventkit.toml`, or the file that `EVENTKIT_CONFIG` names, and the
    /// environment over it.
    ///
    /// # Errors
    ///
    /// A named file that cannot be read, an unknown key, a value of the wrong type.
    pub fn load() -> Result<Self> {
        let named = std::env::var("EVENTKIT_CONFIG").ok();
        let path = named.as_deref().unwrap_or(DEFAULT_FILE);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => return Err(Error::Settings(format!("`{path}`: {error}"))),
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::assemble(&text, path, environment)
    }

    /// Reads settings from TOML, without the environment.
    ///
    /// # Errors
    ///
    /// An unknown key, a value of the wrong type, text that is not TOML.
    pub fn parse(toml: &str) -> Result<Self> {
        Self::assemble(toml, "settings", std::iter::empty())
    }

    fn assemble(
        text: &str,
        path: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self> {
        // As settings too, so that an error names its line in the file.
        let mut table = read::<Self>(text, path).and_then(|_| read::<toml::Table>(text, path))?;
        for (name, value) in environment {
            let Some(setting) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if let Some(property) = setting.strip_prefix(KAFKA_PREFIX) {
                let property = property.to_ascii_lowercase().replace('_', ".");
                let kafka = table
                    .entry("kafka")
                    .or_insert_with(|| toml::Table::new().into());
                if let Some(kafka) = kafka.as_table_mut() {
                    kafka.insert(property, value.into());
                }
                continue;
            }
            let key = setting.to_ascii_lowercase();
            if !KEYS.contains(&key.as_str()) {
                continue;
            }
            let one = toml::Table::from_iter([(key.clone(), typed(&key, &value))]);
            one.clone().try_into::<Self>().map_err(|error| {
                Error::Settings(format!(
                    "environment variable `{name}`: {}",
                    error.message()
                ))
            })?;
            table.extend(one);
        }
        table
            .try_into()
            .map_err(|error: toml::de::Error| Error::Settings(error.message().to_owned()))
    }

    pub(crate) fn connection(&self) -> Connection {
        Connection {
            bootstrap_servers: self.bootstrap_servers.clone(),
            properties: self.kafka.clone(),
        }
    }
}

/// Other variables with our prefix are not settings of an App.
const KEYS: &[&str] = &[
    "bootstrap_servers",
    "redis_url",
    "dedup_fail_open",
    "dedup_lease",
    "start_from",
    "max_in_flight",
    "max_buffered",
    "max_buffered_bytes",
    "max_uncommitted",
    "create_dead_letter_topics",
    "startup_timeout",
    "drain_timeout",
    "shutdown_timeout",
];

/// Environment variables are text; numbers and flags are read from it.
fn typed(key: &str, value: &str) -> toml::Value {
    let is_text = matches!(key, "bootstrap_servers" | "redis_url");
    match (is_text, value.parse::<i64>(), value.parse::<bool>()) {
        (false, Ok(number), _) => number.into(),
        (false, _, Ok(flag)) => flag.into(),
        _ => value.into(),
    }
}

fn read<T: DeserializeOwned>(text: &str, path: &str) -> Result<T> {
    toml::from_str(text)
        .map_err(|error| Error::Settings(format!("`{path}`: {}", without_values(&error))))
}

/// The error's message and place; the line itself may hold a secret.
fn without_values(error: &toml::de::Error) -> String {
    let message = error.message();
    match error.span() {
        Some(span) => format!("{message} (at byte {})", span.start),
        None => message.to_owned(),
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!(
            "`{text}` is no duration, such as `25s` or `500ms`: {error}"
        ))
    })
}

fn properties<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    table
        .into_iter()
        .map(|(name, value)| match value {
            toml::Value::String(text) => Ok((name, text)),
            toml::Value::Integer(number) => Ok((name, number.to_string())),
            toml::Value::Float(number) => Ok((name, number.to_string())),
            toml::Value::Boolean(flag) => Ok((name, flag.to_string())),
            _ => Err(serde::de::Error::custom(format!(
                "the librdkafka property `{name}` must be a text, a number or a flag \
                 (a name with dots is written in quotes: \"security.protocol\")"
            ))),
        })
        .collect()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kafka: BTreeMap<_, _> = self
            .kafka
            .iter()
            .map(|(name, value)| (name, if is_secret(name) { "[redacted]" } else { value }))
            .collect();
        f.debug_struct("Settings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("redis_url", &self.redis_url.as_ref().map(|_| "[redacted]"))
            .field("start_from", &self.start_from)
            .field("shutdown_timeout", &self.shutdown_timeout)
            .field("kafka", &kafka)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Settings> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Settings::assemble(text, "eventkit.toml", variables)
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let settings = with_environment(
            "bootstrap_servers = \"file:1\"\nmax_in_flight = 3",
            &[
                ("EVENTKIT_BOOTSTRAP_SERVERS", "env:2"),
                ("EVENTKIT_KAFKA__SECURITY_PROTOCOL", "ssl"),
                ("EVENTKIT_DEDUP_FAIL_OPEN", "true"),
                ("EVENTKIT_SHUTDOWN_TIMEOUT", "3s"),
                ("EVENTKIT_SOMETHING_ELSE", "x"),
            ],
        )
        .unwrap();
        assert_eq!(settings.bootstrap_servers, "env:2");
        assert_eq!(settings.max_in_flight, 3);
        assert_eq!(settings.kafka["security.protocol"], "ssl");
        assert!(settings.dedup_fail_open);
        assert_eq!(settings.shutdown_timeout, Duration::from_secs(3));
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        let error = with_environment("max_in_flight = \"many\"", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("eventkit.toml") && error.contains("expected"),
            "{error}"
        );
        let error = with_environment("", &[("EVENTKIT_MAX_IN_FLIGHT", "many")]).unwrap_err();
        assert!(
            error.to_string().contains("EVENTKIT_MAX_IN_FLIGHT"),
            "{error}"
        );
        let error = with_environment("shutdown_timeout = \"soon\"", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("soon"), "{error}");
        let error = with_environment("bootstrap_server = \"x\"", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("bootstrap_servers"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = with_environment(
            "redis_url = \"redis://:canary@host\"\n[kafka]\n\"sasl.password\" = \"canary\"",
            &[],
        )
        .unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
