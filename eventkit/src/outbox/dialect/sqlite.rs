use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, SqlStr, Sqlite, SqliteConnection, SqlitePool};

use super::{AROUND_BLOCKED, Backlog, Dialect, Limits, Shares, share};
use crate::database::{Answer, Names};
use crate::outbox::BlockedEvent;
use crate::outbox::row::{NewRow, Place, Row};
use crate::outbox::wake::Wake;

/// Rows of one INSERT; far from SQLite's limit of bound values.
const ROWS_OF_AN_INSERT: usize = 500;

/// Takes the write lock at once: a transaction that begins by reading can fail
/// when it goes on to write, without waiting for the lock.
const BEGIN: &str = "BEGIN IMMEDIATE";

#[derive(Debug)]
pub struct Sql {
    insert: SqlStr,
    alive: SqlStr,
    forget_dead: SqlStr,
    count_relays: SqlStr,
    release: SqlStr,
    renew: SqlStr,
    claim: SqlStr,
    goodbye: SqlStr,
    fetch: SqlStr,
    fetch_around: SqlStr,
    keep: SqlStr,
    delete: SqlStr,
    block: SqlStr,
    blocked: SqlStr,
    retry: SqlStr,
    put_aside: SqlStr,
    take_away: SqlStr,
    clean: SqlStr,
    backlog: SqlStr,
}

/// Milliseconds since 1970, by the database.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

impl Sql {
    fn new(names: &Names) -> Self {
        let sql = |text: &str| names.sql(&text.replace("now()", NOW));
        Self {
            insert: sql(
                "INSERT INTO {outbox} (bucket, event_id, event_type, topic, key, headers, payload) ",
            ),
            alive: sql(
                "INSERT INTO {outbox_relays} (relay, expires_at) VALUES (?1, now() + ?2) \
                 ON CONFLICT (relay) DO UPDATE SET expires_at = excluded.expires_at",
            ),
            forget_dead: sql("DELETE FROM {outbox_relays} WHERE expires_at <= now()"),
            count_relays: sql("SELECT count(*) FROM {outbox_relays}"),
            release: sql("UPDATE {outbox_leases} SET relay = NULL, expires_at = 0 \
                 WHERE relay = ?1 AND bucket NOT IN (SELECT value FROM json_each(?2))"),
            renew: sql("UPDATE {outbox_leases} SET expires_at = now() + ?3 \
                 WHERE relay = ?1 AND bucket IN (SELECT value FROM json_each(?2)) \
                    AND expires_at > now() RETURNING bucket"),
            claim: sql(
                "UPDATE {outbox_leases} SET relay = ?1, expires_at = now() + ?2 \
                 WHERE bucket IN (\
                    SELECT bucket FROM {outbox_leases} WHERE expires_at <= now() \
                    ORDER BY bucket LIMIT ?3) \
                 RETURNING bucket",
            ),
            goodbye: sql("DELETE FROM {outbox_relays} WHERE relay = ?1"),
            fetch: sql(&fetch("")),
            fetch_around: sql(&fetch(AROUND_BLOCKED)),
            keep: sql("INSERT INTO {outbox_sent} \
                    (id, event_id, event_type, topic, key, headers, payload, created_at) \
                 SELECT id, event_id, event_type, topic, key, headers, payload, created_at \
                 FROM {outbox} WHERE id IN (SELECT value FROM json_each(?1))"),
            delete: sql("DELETE FROM {outbox} WHERE id IN (SELECT value FROM json_each(?1))"),
            block: sql("UPDATE {outbox} SET blocked_at = now(), error = ?2 WHERE id = ?1"),
            blocked: sql(
                "SELECT id, event_id, event_type, topic, key, error, now() - blocked_at \
                 FROM {outbox} WHERE blocked_at IS NOT NULL ORDER BY id",
            ),
            retry: sql("UPDATE {outbox} SET blocked_at = NULL \
                 WHERE blocked_at IS NOT NULL AND (?1 IS NULL OR id = ?1)"),
            put_aside: sql("INSERT INTO {outbox_aside} \
                    (id, event_id, event_type, topic, key, headers, payload, created_at, error) \
                 SELECT id, event_id, event_type, topic, key, headers, payload, created_at, error \
                 FROM {outbox} WHERE blocked_at IS NOT NULL AND id = ?1"),
            take_away: sql("DELETE FROM {outbox} WHERE blocked_at IS NOT NULL AND id = ?1"),
            clean: sql("DELETE FROM {outbox_sent} WHERE id IN (\
                    SELECT id FROM {outbox_sent} WHERE sent_at < now() - ?1 \
                    ORDER BY sent_at LIMIT ?2)"),
            backlog: sql("SELECT (SELECT count(*) FROM {outbox}), \
                    (SELECT count(*) FROM {outbox} WHERE blocked_at IS NOT NULL), \
                    (SELECT now() - created_at FROM {outbox} ORDER BY id LIMIT 1)"),
        }
    }
}

/// One writer at a time: ids are in the order of commits.
///
/// A bare parameter as LIMIT would be looked at by the planner, and the statement be
/// prepared anew each time that it is bound.
fn fetch(around: &str) -> String {
    format!(
        "WITH held AS (\
            SELECT bucket FROM {{outbox_leases}} WHERE relay = ?1 \
            AND bucket IN (SELECT value FROM json_each(?2)) AND expires_at > now()), \
         batch AS (\
            SELECT o.*, o.blocked_at IS NOT NULL AS blocked, \
                length(o.headers) + length(o.payload) AS size FROM {{outbox}} AS o \
            WHERE o.bucket IN (SELECT bucket FROM held) {around} ORDER BY o.id LIMIT ?3 + 0), \
         measured AS (SELECT *, sum(size) OVER (ORDER BY id) - size AS bytes_before FROM batch) \
         SELECT bucket, id, event_id, event_type, topic, key, headers, payload, blocked \
         FROM measured WHERE bytes_before < ?4 ORDER BY id"
    )
}

impl Dialect for Sqlite {
    type Sql = Sql;

    const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/0001_outbox.sql")];
    const NOTIFIES: bool = false;
    const ONE_WRITER: bool = true;
    const LANES: usize = 1;

    fn sql(names: &Names) -> Sql {
        Sql::new(names)
    }

    /// The user's own: a database in memory is its connections'.
    fn relay_pool(pool: &SqlitePool, _: u32) -> SqlitePool {
        pool.clone()
    }

    async fn insert(
        connection: &mut SqliteConnection,
        sql: &Sql,
        rows: Vec<NewRow>,
        _: bool,
    ) -> Answer<()> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut query = QueryBuilder::<Sqlite>::new(sql.insert.as_str());
            query.push_values(rows.by_ref().take(ROWS_OF_AN_INSERT), |mut values, row| {
                values
                    .push_bind(row.bucket)
                    .push_bind(row.event_id)
                    .push_bind(row.event_type)
                    .push_bind(row.topic)
                    .push_bind(row.key)
                    .push_bind(row.headers)
                    .push_bind(row.payload);
            });
            query.build().execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn renew(
        pool: &SqlitePool,
        sql: &Sql,
        relay: &str,
        lease: Duration,
        keep: &[i16],
    ) -> Answer<Shares> {
        let keep = list(keep);
        let mut tx = pool.begin_with(BEGIN).await?;
        sqlx::query(sql.alive.clone())
            .bind(relay)
            .bind(millis(lease))
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql.forget_dead.clone())
            .execute(&mut *tx)
            .await?;
        let relays: i64 = sqlx::query_scalar(sql.count_relays.clone())
            .fetch_one(&mut *tx)
            .await?;
        sqlx::query(sql.release.clone())
            .bind(relay)
            .bind(&keep)
            .execute(&mut *tx)
            .await?;
        let mut held: Vec<i16> = sqlx::query_scalar(sql.renew.clone())
            .bind(relay)
            .bind(&keep)
            .bind(millis(lease))
            .fetch_all(&mut *tx)
            .await?;
        let share = share(relays);
        if held.len() < share {
            let claimed: Vec<i16> = sqlx::query_scalar(sql.claim.clone())
                .bind(relay)
                .bind(millis(lease))
                .bind((share - held.len()) as i64)
                .fetch_all(&mut *tx)
                .await?;
            held.extend(claimed);
        }
        tx.commit().await?;
        Ok(Shares { share, held })
    }

    async fn leave(pool: &SqlitePool, sql: &Sql, relay: &str) -> Answer<()> {
        let mut tx = pool.begin_with(BEGIN).await?;
        sqlx::query(sql.release.clone())
            .bind(relay)
            .bind("[]")
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql.goodbye.clone())
            .bind(relay)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn fetch(
        pool: &SqlitePool,
        sql: &Sql,
        relay: &str,
        buckets: &[i16],
        limits: Limits,
        around: bool,
    ) -> Answer<Vec<Row>> {
        let statement = if around {
            &sql.fetch_around
        } else {
            &sql.fetch
        };
        let rows = sqlx::query(statement.clone())
            .bind(relay)
            .bind(list(buckets))
            .bind(limits.rows)
            .bind(limits.bytes)
            .fetch_all(pool)
            .await?;
        rows.iter().map(row).collect()
    }

    async fn finish(pool: &SqlitePool, sql: &Sql, rows: &[Place], keep: bool) -> Answer<()> {
        let ids: Vec<i64> = rows.iter().map(|place| place.id).collect();
        let ids = list(&ids);
        let delete = sqlx::query(sql.delete.clone()).bind(&ids);
        if !keep {
            return delete.execute(pool).await.map(drop);
        }
        let mut tx = pool.begin_with(BEGIN).await?;
        sqlx::query(sql.keep.clone())
            .bind(&ids)
            .execute(&mut *tx)
            .await?;
        delete.execute(&mut *tx).await?;
        tx.commit().await
    }

    async fn block(pool: &SqlitePool, sql: &Sql, rows: &[(Place, String)]) -> Answer<()> {
        let mut tx = pool.begin_with(BEGIN).await?;
        for (place, error) in rows {
            sqlx::query(sql.block.clone())
                .bind(place.id)
                .bind(error)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    async fn blocked(pool: &SqlitePool, sql: &Sql) -> Answer<Vec<BlockedEvent>> {
        let rows = sqlx::query(sql.blocked.clone()).fetch_all(pool).await?;
        rows.iter()
            .map(|row| {
                let error: Option<String> = row.try_get(5)?;
                Ok(BlockedEvent {
                    id: row.try_get(0)?,
                    event_id: row.try_get(1)?,
                    event_type: row.try_get(2)?,
                    topic: row.try_get(3)?,
                    key: row.try_get(4)?,
                    reason: error.unwrap_or_default(),
                    blocked_for: age(row.try_get(6)?),
                })
            })
            .collect()
    }

    async fn retry(pool: &SqlitePool, sql: &Sql, id: Option<i64>) -> Answer<u64> {
        let query = sqlx::query(sql.retry.clone()).bind(id);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn set_aside(pool: &SqlitePool, sql: &Sql, id: i64) -> Answer<u64> {
        let mut tx = pool.begin_with(BEGIN).await?;
        sqlx::query(sql.put_aside.clone())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let moved = sqlx::query(sql.take_away.clone())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(moved.rows_affected())
    }

    async fn clean(pool: &SqlitePool, sql: &Sql, age: Duration, rows: i64) -> Answer<u64> {
        let query = sqlx::query(sql.clean.clone()).bind(millis(age)).bind(rows);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn backlog(pool: &SqlitePool, sql: &Sql) -> Answer<Backlog> {
        let row = sqlx::query(sql.backlog.clone()).fetch_one(pool).await?;
        Ok(Backlog {
            rows: row.try_get::<i64, _>(0)? as u64,
            blocked: row.try_get::<i64, _>(1)? as u64,
            oldest: row.try_get::<Option<i64>, _>(2)?.map(age),
        })
    }

    /// Nothing outside this process says that it has committed.
    async fn listen(_: &SqlitePool, _: &Names, _: &Wake) -> Answer<()> {
        std::future::pending().await
    }
}

/// A list of numbers as JSON, which SQLite reads as a table.
fn list<T: ToString>(numbers: &[T]) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    format!("[{}]", numbers.join(","))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

fn age(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn row(row: &SqliteRow) -> Answer<Row> {
    Ok(Row {
        place: Place {
            bucket: row.try_get(0)?,
            id: row.try_get(1)?,
        },
        event_id: row.try_get(2)?,
        event_type: row.try_get(3)?,
        topic: row.try_get(4)?,
        key: row.try_get(5)?,
        headers: row.try_get(6)?,
        payload: row.try_get(7)?,
        blocked: row.try_get(8)?,
    })
}
