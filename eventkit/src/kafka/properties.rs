use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;

use crate::error::{Error, Result};

/// Where to connect, and the librdkafka properties of the user.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    pub(crate) bootstrap_servers: String,
    pub(crate) properties: BTreeMap<String, String>,
}

impl Connection {
    pub(crate) fn to(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            properties: BTreeMap::new(),
        }
    }

    /// # Errors
    ///
    /// A property that would break a guarantee is refused by name.
    pub(crate) fn validate(&self) -> Result<()> {
        for name in self.properties.keys() {
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                return Err(Error::Settings(format!("`{name}` cannot be set: {reason}")));
            }
        }
        Ok(())
    }

    /// A configuration with our `defaults`, the user's properties over them.
    pub(crate) fn client(&self, role: Role, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            if role.takes(name) {
                config.set(name, value);
            }
        }
        config
    }
}

/// Which side a property is for; librdkafka warns about those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Consumer,
    Producer,
}

impl Role {
    fn takes(self, name: &str) -> bool {
        let other = match self {
            Role::Consumer => PRODUCER_ONLY,
            Role::Producer => CONSUMER_ONLY,
        };
        !other.contains(&name)
    }
}

const REFUSED: &[(&str, &str)] = &[
    (
        "bootstrap.servers",
        "use `App::bootstrap_servers` or the setting `bootstrap_servers`",
    ),
    (
        "group.id",
        "the group is the App's name, or the handler's `group = \"…\"`",
    ),
    (
        "enable.auto.offset.store",
        "offsets are stored when their events are settled, never before",
    ),
    (
        "enable.auto.commit",
        "stored offsets are committed by interval, on revoke and at shutdown",
    ),
    ("auto.offset.reset", "use `App::start_from`"),
    (
        "enable.idempotence",
        "without it a resent batch could be written twice or out of order",
    ),
    (
        "acks",
        "an event counts as published when all in-sync replicas have it",
    ),
    ("enable.partition.eof", "eventkit does not use it"),
    ("test.mock.num.brokers", "use `App::embedded`"),
];

const CONSUMER_ONLY: &[&str] = &[
    "auto.commit.interval.ms",
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

const PRODUCER_ONLY: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sticky.partitioning.linger.ms",
];

/// Whether a setting's value must not be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "secret",
        "pem",
        "jaas",
        "oauthbearer.config",
        "token",
        "key",
    ]
    .iter()
    .any(|word| name.contains(word))
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(name, value)| {
            (
                name,
                if is_secret(name) {
                    "[redacted]"
                } else {
                    value.as_str()
                },
            )
        });
        f.debug_map()
            .entry(&"bootstrap.servers", &self.bootstrap_servers)
            .entries(shown)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_break_a_guarantee_by_name() {
        let mut connection = Connection::to("localhost:9092");
        connection
            .properties
            .insert("enable.auto.offset.store".into(), "true".into());
        let error = connection.validate().unwrap_err().to_string();
        assert!(error.contains("enable.auto.offset.store"), "{error}");
        assert!(error.contains("settled"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut connection = Connection::to("localhost:9092");
        for name in [
            "sasl.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
        ] {
            connection.properties.insert(name.into(), "canary".into());
        }
        assert!(!format!("{connection:?}").contains("canary"));
    }
}
