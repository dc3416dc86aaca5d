use std::time::Duration;

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{Dialect, ENTER, Statements};
use crate::database::{Answer, Names};
use crate::delivery::Entry;

impl Dialect for Sqlite {
    const INBOX_MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/0002_inbox.sql")];

    fn statements(names: &Names) -> Statements {
        Statements::new(
            names,
            ENTER,
            "DELETE FROM {inbox} WHERE rowid IN (\
                SELECT rowid FROM {inbox} \
                WHERE handled_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1 \
                ORDER BY handled_at LIMIT $2)",
        )
    }

    /// The write lock: who waits for it here in turn need not ask for it again
    /// and again.
    fn writers(_: &SqlitePool) -> usize {
        1
    }

    /// With the write lock from the start: a transaction that begins by reading
    /// can fail when it goes on to write.
    async fn begin(pool: &SqlitePool) -> Answer<Transaction<'static, Sqlite>> {
        pool.begin_with("BEGIN IMMEDIATE").await
    }

    async fn enter(
        connection: &mut SqliteConnection,
        statements: &Statements,
        entry: Entry<'_>,
    ) -> Answer<bool> {
        let entered = sqlx::query(statements.enter.clone())
            .bind(&*entry.event_id)
            .bind(entry.handler)
            .bind(entry.group)
            .bind(&*entry.source)
            .execute(connection)
            .await?;
        Ok(entered.rows_affected() == 1)
    }

    /// An error leaves the transaction as it was, or ends it, which its commit says.
    async fn commit(transaction: Transaction<'static, Sqlite>) -> Answer<()> {
        transaction.commit().await
    }

    async fn expire(
        pool: &SqlitePool,
        statements: &Statements,
        age: Duration,
        rows: i64,
    ) -> Answer<u64> {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        let query = sqlx::query(statements.expire.clone()).bind(age).bind(rows);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn look(pool: &SqlitePool, statements: &Statements) -> Answer<()> {
        let query = sqlx::query(statements.look.clone());
        query.execute(pool).await.map(drop)
    }
}
