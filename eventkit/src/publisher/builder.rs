use super::{Producer, Publisher};
use crate::embedded::EmbeddedBroker;
use crate::error::Result;
use crate::kafka::Connection;

/// Settings of a [`Publisher`] outside an App.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PublisherBuilder {
    source: String,
    connection: Connection,
}

impl PublisherBuilder {
    pub(super) fn new(source: String) -> Self {
        Self {
            source,
            connection: Connection::to("localhost:9092"),
        }
    }

    /// Where Kafka is, as `host:port,…`. Default: `localhost:9092`.
    pub fn bootstrap_servers(mut self, servers: impl Into<String>) -> Self {
        self.connection.bootstrap_servers = servers.into();
        self
    }

    /// The embedded broker instead of Kafka.
    pub fn broker(self, broker: &EmbeddedBroker) -> Self {
        self.bootstrap_servers(broker.bootstrap_servers())
    }

    /// A librdkafka property, such as `linger.ms` or `security.protocol`.
    pub fn kafka(mut self, property: impl Into<String>, value: impl Into<String>) -> Self {
        self.connection
            .properties
            .insert(property.into(), value.into());
        self
    }

    /// Makes the publisher; it connects in the background.
    ///
    /// # Errors
    ///
    /// A property that is unknown, malformed, or would break a guarantee.
    pub fn build(self) -> Result<Publisher> {
        Ok(Publisher::new(
            Producer::new(&self.connection)?,
            self.source,
        ))
    }
}
