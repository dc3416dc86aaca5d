//! Asks the broker, and tells it, of topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::error::KafkaError;

use crate::kafka::{Connection, LoggedContext, Role};

pub(super) struct Admin {
    pub(super) client: AdminClient<LoggedContext>,
    pub(super) options: AdminOptions,
}

impl Admin {
    pub(super) fn new(connection: &Connection, timeout: Duration) -> Result<Self, KafkaError> {
        let client = connection
            .client(Role::Producer, &[])
            .create_with_context(LoggedContext)?;
        let options = AdminOptions::new()
            .operation_timeout(Some(timeout))
            .request_timeout(Some(timeout));
        Ok(Self { client, options })
    }

    /// The topics' settings of these names, where they have them.
    pub(super) async fn settings(
        &self,
        topics: &BTreeSet<&str>,
        names: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, KafkaError> {
        let asked: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let mut settings = BTreeMap::new();
        for described in self.client.describe_configs(&asked, &self.options).await? {
            let described = described.map_err(KafkaError::AdminOp)?;
            let values = names.iter().filter_map(|name| {
                let value = described.get(name)?.value.clone()?;
                Some(((*name).to_owned(), value))
            });
            let values = values.collect();
            if let OwnedResourceSpecifier::Topic(topic) = described.specifier {
                settings.insert(topic, values);
            }
        }
        Ok(settings)
    }
}
