use std::future::Future;

use sqlx::Pool;

use super::{Answer, Names};

/// How a database creates tables.
pub trait Tables: sqlx::Database {
    const HAS_SCHEMAS: bool;

    /// Runs the migrations, each of which may have run before, and creates the
    /// schema where it is missing.
    fn create(
        pool: &Pool<Self>,
        names: &Names,
        migrations: &[&str],
    ) -> impl Future<Output = Answer<()>> + Send;
}

#[cfg(feature = "postgres")]
impl Tables for sqlx::Postgres {
    const HAS_SCHEMAS: bool = true;

    async fn create(pool: &sqlx::PgPool, names: &Names, migrations: &[&str]) -> Answer<()> {
        use super::names::safe;

        let mut tx = pool.begin().await?;
        // Several instances of a service start at once.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('eventkit migrations'))")
            .execute(&mut *tx)
            .await?;
        if let Some(schema) = names.schema() {
            let known: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
                    .bind(schema)
                    .fetch_one(&mut *tx)
                    .await?;
            // Even IF NOT EXISTS asks for the right to create one.
            if !known {
                sqlx::raw_sql(safe(format!("CREATE SCHEMA \"{schema}\"")))
                    .execute(&mut *tx)
                    .await?;
            }
            sqlx::raw_sql(safe(format!("SET LOCAL search_path TO \"{schema}\"")))
                .execute(&mut *tx)
                .await?;
        }
        for migration in migrations {
            sqlx::raw_sql(names.migration(migration))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}

#[cfg(feature = "sqlite")]
impl Tables for sqlx::Sqlite {
    const HAS_SCHEMAS: bool = false;

    async fn create(pool: &sqlx::SqlitePool, names: &Names, migrations: &[&str]) -> Answer<()> {
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
        for migration in migrations {
            sqlx::raw_sql(names.migration(migration))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}
