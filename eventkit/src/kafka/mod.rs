//! What every Kafka client of ours shares: where it connects, which properties
//! it takes, and where its logs go.

mod context;
mod properties;

pub(crate) use context::{LoggedContext, log, log_error};
pub(crate) use properties::is_secret;
pub(crate) use properties::{Connection, Role};
