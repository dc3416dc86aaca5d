//! PostgreSQL: a schema for each run, in a server that loses nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use crate::case::Job;

/// A schema that statements without one find.
pub struct Database {
    pub pool: PgPool,
    schema: String,
}

impl Database {
    pub async fn create(job: &Job, connections: u32) -> Result<Self> {
        let options: PgConnectOptions = url()?.parse().context("DATABASE_URL")?;
        make_durable(&options).await?;
        let schema = job.group.replace('-', "_");
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .connect_with(options.options([("search_path", &schema)]))
            .await
            .context("PostgreSQL does not answer")?;
        let database = Self { pool, schema };
        database
            .execute(&format!("CREATE SCHEMA {}", database.schema))
            .await?;
        Ok(database)
    }

    /// Statements of the benchmark's own.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .with_context(|| sql.to_owned())?;
        Ok(())
    }

    pub async fn number(&self, sql: &str) -> Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .with_context(|| sql.to_owned())
    }

    pub async fn rows(&self, table: &str) -> Result<u64> {
        let rows = self.number(&format!("SELECT count(*) FROM {table}")).await;
        rows.map(i64::unsigned_abs)
    }

    /// Statistics as a table has them that was not filled a second ago, and
    /// nothing left to write for the next contender.
    pub async fn settle(&self) -> Result<()> {
        self.execute("VACUUM ANALYZE").await?;
        self.execute("CHECKPOINT").await
    }

    pub async fn drop(self) -> Result<()> {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.schema))
            .await?;
        self.execute("CHECKPOINT").await?;
        self.pool.close().await;
        Ok(())
    }
}

fn url() -> Result<String> {
    std::env::var("DATABASE_URL")
        .context("DATABASE_URL is not set: use tests/bench/run, or source target/stack/env")
}

/// Tests do without waiting for the disk; what is measured does not.
async fn make_durable(options: &PgConnectOptions) -> Result<()> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options.clone())
        .await
        .context("PostgreSQL does not answer")?;
    let show = async |setting: &str| -> Result<String> {
        let sql = AssertSqlSafe(format!("SHOW {setting}"));
        Ok(sqlx::query_scalar(sql).fetch_one(&pool).await?)
    };
    if show("fsync").await? != "on" {
        for sql in ["ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"] {
            sqlx::raw_sql(sql).execute(&pool).await?;
        }
        // The server tells its sessions a moment later.
        for _ in 0..100 {
            if show("fsync").await? == "on" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        ensure!(
            show(setting).await? == "on",
            "PostgreSQL's {setting} is off"
        );
    }
    pool.close().await;
    Ok(())
}
