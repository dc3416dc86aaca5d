//! What each service has in its database. Both databases understand the same SQL.

use eventkit::inbox::Inbox;
use eventkit::outbox::Outbox;
use sqlx::Pool;

use super::{Databases, Db};
use crate::args::ServiceName;

/// A service's own database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) service: ServiceName,
    pub(crate) pool: Pool<Db>,
    pub(crate) outbox: Outbox<Db>,
}

impl Store {
    /// Opens it, and creates the tables that are missing.
    pub(crate) async fn open(service: ServiceName, databases: &Databases) -> anyhow::Result<Self> {
        let pool = databases.open(service).await?;
        Databases::create_tables(service, &pool, tables(service)).await?;
        let outbox = Databases::outbox(service, pool.clone())?;
        outbox.migrate().await?;
        Inbox::new(&outbox).migrate().await?;
        Ok(Self {
            service,
            pool,
            outbox,
        })
    }
}

fn tables(service: ServiceName) -> &'static str {
    match service {
        ServiceName::Order => include_str!("../../sql/order.sql"),
        ServiceName::Inventory => include_str!("../../sql/inventory.sql"),
        ServiceName::Payment => include_str!("../../sql/payment.sql"),
        ServiceName::Notification => include_str!("../../sql/notification.sql"),
        ServiceName::Analytics => "",
    }
}
