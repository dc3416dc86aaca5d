//! The shop on SQLite: a file for each service, in a folder that is gone at the end.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use eventkit::outbox::{Outbox, OutboxError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::args::ServiceName;

/// The shop's own code, for this database.
#[path = "shop/mod.rs"]
pub(crate) mod shop;

#[cfg(test)]
mod tests;

pub(crate) type Db = sqlx::Sqlite;

#[derive(Debug)]
pub(crate) struct Databases {
    folder: PathBuf,
}

impl Databases {
    pub(crate) fn create() -> std::io::Result<Self> {
        let name = format!("order-lifecycle-{}", Uuid::new_v4());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// A service's own database.
    pub(crate) async fn open(&self, service: ServiceName) -> sqlx::Result<SqlitePool> {
        let options = SqliteConnectOptions::new()
            .filename(self.file(service))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL, a process that dies loses no commit; a power failure may.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(30));
        SqlitePoolOptions::new()
            // One writes, one reads. More would empty one another's caches.
            .max_connections(2)
            // A file does not go away.
            .test_before_acquire(false)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options)
            .await
    }

    pub(crate) async fn create_tables(
        _: ServiceName,
        pool: &SqlitePool,
        tables: &'static str,
    ) -> sqlx::Result<()> {
        sqlx::raw_sql(tables).execute(pool).await?;
        Ok(())
    }

    pub(crate) fn outbox(
        service: ServiceName,
        pool: SqlitePool,
    ) -> Result<Outbox<Db>, OutboxError> {
        Ok(Outbox::new(service.as_str(), pool))
    }

    /// A connection that sees every service's tables, each under its name.
    pub(crate) async fn all(&self) -> sqlx::Result<SqliteConnection> {
        // A file too: what is attached to a database in memory is in memory.
        let options = SqliteConnectOptions::new()
            .filename(self.folder.join("books.sqlite"))
            .create_if_missing(true);
        let mut connection = options.connect().await?;
        for service in ServiceName::WITH_DATABASE {
            let attach = format!("ATTACH DATABASE $1 AS \"{service}\"");
            sqlx::query(AssertSqlSafe(attach))
                .bind(self.file(service).to_string_lossy().into_owned())
                .execute(&mut connection)
                .await?;
        }
        Ok(connection)
    }

    fn file(&self, service: ServiceName) -> PathBuf {
        self.folder.join(format!("{service}.sqlite"))
    }
}

impl fmt::Display for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SQLite")
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        // What is left of it is left to the system.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
