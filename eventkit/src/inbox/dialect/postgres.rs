use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{Dialect, ENTER, Statements};
use crate::database::{Answer, Names};
use crate::delivery::Entry;

impl Dialect for Postgres {
    const INBOX_MIGRATIONS: &[&str] =
        &[include_str!("../../../migrations/postgres/0002_inbox.sql")];

    fn statements(names: &Names) -> Statements {
        Statements::new(
            names,
            ENTER,
            "DELETE FROM {inbox} WHERE ctid = ANY (ARRAY(\
                SELECT ctid FROM {inbox} \
                WHERE handled_at < clock_timestamp() - make_interval(secs => $1) \
                ORDER BY handled_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        )
    }

    /// All but one, which is left for what a handler asks of the pool by itself:
    /// otherwise all could wait for one more connection.
    fn writers(pool: &PgPool) -> usize {
        pool.options()
            .get_max_connections()
            .saturating_sub(1)
            .max(1) as usize
    }

    async fn begin(pool: &PgPool) -> Answer<Transaction<'static, Postgres>> {
        pool.begin().await
    }

    async fn enter(
        connection: &mut PgConnection,
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

    /// A spoilt transaction answers COMMIT with success, and rolls back; it answers
    /// anything else with an error. Both go in one round trip. `AND CHAIN` leaves an
    /// empty transaction for `sqlx` to roll back, which knows nothing of our commit.
    async fn commit(mut transaction: Transaction<'static, Postgres>) -> Answer<()> {
        sqlx::raw_sql("SELECT; COMMIT AND CHAIN")
            .execute(&mut *transaction)
            .await
            .map(drop)
    }

    async fn expire(
        pool: &PgPool,
        statements: &Statements,
        age: Duration,
        rows: i64,
    ) -> Answer<u64> {
        let query = sqlx::query(statements.expire.clone())
            .bind(age.as_secs_f64())
            .bind(rows);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn look(pool: &PgPool, statements: &Statements) -> Answer<()> {
        let query = sqlx::query(statements.look.clone());
        query.execute(pool).await.map(drop)
    }
}
