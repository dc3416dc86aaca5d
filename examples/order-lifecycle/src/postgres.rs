//! The shop on PostgreSQL: a schema for each service.

use std::fmt;

use eventkit::outbox::{Outbox, OutboxError};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool};

use crate::args::ServiceName;

/// The shop's own code, for this database.
#[path = "shop/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "the same code over another `Db`")]
pub(crate) mod shop;

pub(crate) type Db = sqlx::Postgres;

#[derive(Debug)]
pub(crate) struct Databases {
    options: PgConnectOptions,
}

impl Databases {
    pub(crate) fn at(url: &str) -> sqlx::Result<Self> {
        Ok(Self {
            options: url.parse()?,
        })
    }

    /// A service's own schema: its connections find no other tables.
    pub(crate) async fn open(&self, service: ServiceName) -> sqlx::Result<PgPool> {
        let options = self.options.clone();
        PgPoolOptions::new()
            .max_connections(8)
            .connect_with(options.options([("search_path", service.as_str())]))
            .await
    }

    pub(crate) async fn create_tables(
        service: ServiceName,
        pool: &PgPool,
        tables: &'static str,
    ) -> sqlx::Result<()> {
        let mut tx = pool.begin().await?;
        // Several processes may come here at once, and `IF NOT EXISTS` looks too early.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('order-lifecycle'))")
            .execute(&mut *tx)
            .await?;
        let schema = format!("CREATE SCHEMA IF NOT EXISTS \"{service}\"");
        sqlx::query(AssertSqlSafe(schema)).execute(&mut *tx).await?;
        sqlx::raw_sql(tables).execute(&mut *tx).await?;
        tx.commit().await
    }

    pub(crate) fn outbox(service: ServiceName, pool: PgPool) -> Result<Outbox<Db>, OutboxError> {
        Outbox::builder(service.as_str(), pool)
            .schema(service.as_str())
            .build()
    }

    /// A connection that sees every service's tables, each under its name.
    pub(crate) async fn all(&self) -> sqlx::Result<PgConnection> {
        self.options.connect().await
    }
}

impl fmt::Display for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        write!(f, "PostgreSQL at {host}:{port}")
    }
}
