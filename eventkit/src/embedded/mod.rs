//! A Kafka broker inside the process, for trying out, examples and tests.
//!
//! It is librdkafka's mock cluster: real clients speak the real protocol to it
//! over loopback, nothing is installed, and it is up within milliseconds.
//!
//! Its limits: everything is in memory and gone at the end; a partition keeps
//! 5 MiB or 100,000 batches of records and then forgets the oldest;
//! transactions are not isolated; there are no ACLs and no TLS; a group that all
//! members have left lets the next one in after about a second. A consumer that
//! finds records forgotten before it read them reports their number, like on
//! any broker, so a run beyond the limits is never silently short.

use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::error::{Error, Result};
use crate::ffi;

/// Partitions of a topic that nobody created with a number of its own.
const DEFAULT_PARTITIONS: i32 = 4;

/// The broker. Cheap to clone; it lives as long as its last clone.
///
/// ```
/// use eventkit::embedded::EmbeddedBroker;
///
/// let broker = EmbeddedBroker::start()?;
/// broker.create_topic("orders", 8)?;
/// println!("Kafka is at {}", broker.bootstrap_servers());
/// # Ok::<(), eventkit::Error>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedBroker {
    // The mock cluster lives inside a client that is never used for producing.
    host: Arc<BaseProducer>,
    bootstrap_servers: Arc<str>,
}

impl EmbeddedBroker {
    /// Starts a broker on a free loopback port.
    ///
    /// # Errors
    ///
    /// When librdkafka cannot open its sockets.
    pub fn start() -> Result<Self> {
        let host: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            // The host client itself says nothing of interest.
            .set("log_level", "0")
            .create()
            .map_err(|error| Error::kafka("starting the embedded broker", error))?;
        ffi::no_initial_rebalance_delay(host.client());
        let bootstrap_servers = host
            .client()
            .mock_cluster()
            .ok_or_else(|| Error::Embedded("librdkafka started no mock cluster".into()))?
            .bootstrap_servers();
        Ok(Self {
            host: Arc::new(host),
            bootstrap_servers: bootstrap_servers.into(),
        })
    }

    /// Its address, for any Kafka client.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Creates a topic; one that exists already stays as it is.
    ///
    /// # Errors
    ///
    /// When the name or the number of partitions is not legal.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let cluster = self.host.client().mock_cluster();
        let cluster = cluster.ok_or_else(|| Error::Embedded("the broker is gone".into()))?;
        match cluster.create_topic(name, partitions, 1) {
            Ok(()) => Ok(()),
            Err(error) if error.to_string().contains("TopicAlreadyExists") => Ok(()),
            Err(error) => Err(Error::Embedded(format!("creating topic `{name}`: {error}"))),
        }
    }

    pub(crate) fn ensure_topic(&self, name: &str) -> Result<()> {
        self.create_topic(name, DEFAULT_PARTITIONS)
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedBroker")
            .field(&self.bootstrap_servers)
            .finish()
    }
}
