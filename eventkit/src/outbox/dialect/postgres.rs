use std::time::Duration;

use sqlx::postgres::{PgListener, PgRow};
use sqlx::{PgConnection, PgPool, Postgres, Row as _, SqlStr};

use super::{AROUND_BLOCKED, Backlog, Dialect, Limits, Shares, share};
use crate::database::{Answer, Names};
use crate::outbox::BlockedEvent;
use crate::outbox::row::{NewRow, Place, Row};
use crate::outbox::wake::Wake;

#[derive(Debug)]
pub struct Sql {
    insert_one: SqlStr,
    insert_one_and_notify: SqlStr,
    insert: SqlStr,
    insert_and_notify: SqlStr,
    alive: SqlStr,
    forget_dead: SqlStr,
    count_relays: SqlStr,
    release: SqlStr,
    renew: SqlStr,
    claim: SqlStr,
    goodbye: SqlStr,
    fetch: SqlStr,
    fetch_around: SqlStr,
    delete: SqlStr,
    keep: SqlStr,
    block: SqlStr,
    blocked: SqlStr,
    retry: SqlStr,
    set_aside: SqlStr,
    clean: SqlStr,
    backlog: SqlStr,
    channel: String,
}

const COLUMNS: &str = "bucket, event_id, event_type, topic, key, headers, payload";

impl Sql {
    fn new(names: &Names) -> Self {
        let insert_one =
            format!("INSERT INTO {{outbox}} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)");
        // Rows get their ids in the order in which they are inserted.
        let insert = format!(
            "INSERT INTO {{outbox}} ({COLUMNS}) \
             SELECT {COLUMNS} FROM unnest($1::int2[], $2::text[], $3::text[], $4::text[], \
                $5::bytea[], $6::bytea[], $7::bytea[]) \
                WITH ORDINALITY AS rows ({COLUMNS}, at) ORDER BY at"
        );
        // PostgreSQL delivers equal notifications of one transaction once.
        let notified =
            |insert: &str| format!("WITH inserted AS ({insert}) SELECT pg_notify($8, '')");
        let sql = |text: &str| names.sql(text);
        Self {
            insert_one_and_notify: sql(&notified(&insert_one)),
            insert_and_notify: sql(&notified(&insert)),
            insert_one: sql(&insert_one),
            insert: sql(&insert),
            alive: sql("INSERT INTO {outbox_relays} (relay, expires_at) \
                 VALUES ($1, clock_timestamp() + make_interval(secs => $2)) \
                 ON CONFLICT (relay) DO UPDATE SET expires_at = excluded.expires_at"),
            forget_dead: sql("DELETE FROM {outbox_relays} WHERE relay IN (\
                    SELECT relay FROM {outbox_relays} WHERE expires_at <= clock_timestamp() \
                    FOR UPDATE SKIP LOCKED)"),
            count_relays: sql(
                "SELECT count(*) FROM {outbox_relays} WHERE expires_at > clock_timestamp()",
            ),
            release: sql(
                "UPDATE {outbox_leases} SET relay = NULL, expires_at = '-infinity' \
                 WHERE relay = $1 AND bucket <> ALL($2)",
            ),
            renew: sql("UPDATE {outbox_leases} \
                 SET expires_at = clock_timestamp() + make_interval(secs => $3) \
                 WHERE relay = $1 AND bucket = ANY($2) AND expires_at > clock_timestamp() \
                 RETURNING bucket"),
            claim: sql("UPDATE {outbox_leases} \
                 SET relay = $1, expires_at = clock_timestamp() + make_interval(secs => $2) \
                 WHERE bucket IN (\
                    SELECT bucket FROM {outbox_leases} WHERE expires_at <= clock_timestamp() \
                    ORDER BY bucket LIMIT $3 FOR UPDATE SKIP LOCKED) \
                 RETURNING bucket"),
            goodbye: sql("DELETE FROM {outbox_relays} WHERE relay = $1"),
            fetch: sql(&fetch("")),
            fetch_around: sql(&fetch(AROUND_BLOCKED)),
            delete: sql(&format!("DELETE FROM {{outbox}} AS o {PUBLISHED}")),
            keep: sql(&format!(
                "WITH moved AS (DELETE FROM {{outbox}} AS o {PUBLISHED} RETURNING o.*) \
                 INSERT INTO {{outbox_sent}} \
                    (id, event_id, event_type, topic, key, headers, payload, created_at) \
                 SELECT id, event_id, event_type, topic, key, headers, payload, created_at \
                 FROM moved"
            )),
            block: sql(
                "UPDATE {outbox} AS o SET blocked_at = clock_timestamp(), error = given.error \
                 FROM unnest($1::int2[], $2::int8[], $3::text[]) AS given (bucket, id, error) \
                 WHERE o.bucket = given.bucket AND o.id = given.id",
            ),
            blocked: sql("SELECT id, event_id, event_type, topic, key, error, \
                    extract(epoch FROM clock_timestamp() - blocked_at)::float8 AS since \
                 FROM {outbox} WHERE blocked_at IS NOT NULL ORDER BY id"),
            retry: sql("UPDATE {outbox} SET blocked_at = NULL \
                 WHERE blocked_at IS NOT NULL AND ($1::int8 IS NULL OR id = $1)"),
            set_aside: sql("WITH moved AS (\
                    DELETE FROM {outbox} WHERE blocked_at IS NOT NULL AND id = $1 RETURNING *) \
                 INSERT INTO {outbox_aside} \
                    (id, event_id, event_type, topic, key, headers, payload, created_at, error) \
                 SELECT id, event_id, event_type, topic, key, headers, payload, created_at, error \
                 FROM moved"),
            clean: sql("DELETE FROM {outbox_sent} WHERE id IN (\
                    SELECT id FROM {outbox_sent} \
                    WHERE sent_at < clock_timestamp() - make_interval(secs => $1) \
                    ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED)"),
            // The oldest of each bucket stands at its beginning.
            backlog: sql("SELECT (SELECT count(*) FROM {outbox}) AS rows, \
                    (SELECT count(*) FROM {outbox} WHERE blocked_at IS NOT NULL) AS blocked, \
                    (SELECT extract(epoch FROM clock_timestamp() - min(first.created_at))::float8 \
                     FROM {outbox_leases} AS l CROSS JOIN LATERAL (\
                        SELECT o.created_at FROM {outbox} AS o WHERE o.bucket = l.bucket \
                        ORDER BY o.id LIMIT 1) AS first) AS oldest"),
            channel: channel(names),
        }
    }
}

/// The innermost part of a fetch must be one walk along the primary key, whatever
/// statistics say of a table that is empty one minute and full the next.
const BEGIN_WALK: &str = "BEGIN READ ONLY; \
    SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off";

/// Reads bucket by bucket, each from its beginning: no position is kept, so a
/// transaction that commits late is not passed by. Its row has a lower id than
/// rows of its key that were written after its commit, and is read before them.
fn fetch(around: &str) -> String {
    format!(
        "WITH held AS MATERIALIZED (\
            SELECT bucket FROM {{outbox_leases}} \
            WHERE relay = $1 AND bucket = ANY($2) AND expires_at > clock_timestamp()) \
         SELECT bucket, id, event_id, event_type, topic, key, headers, payload, blocked FROM (\
            SELECT *, sum(size) OVER (ORDER BY id) - size AS bytes_before FROM (\
                SELECT next.* FROM held CROSS JOIN LATERAL (\
                    SELECT o.bucket, o.id, o.event_id, o.event_type, o.topic, o.key, \
                        o.headers, o.payload, o.blocked_at IS NOT NULL AS blocked, \
                        octet_length(o.headers) + octet_length(o.payload) AS size \
                    FROM {{outbox}} AS o WHERE o.bucket = held.bucket {around} \
                    ORDER BY o.id LIMIT $3) AS next \
                ORDER BY next.id LIMIT $4) AS batch) AS measured \
         WHERE bytes_before < $5 ORDER BY id"
    )
}

/// Each row is looked up by its key: `OFFSET 0` leaves the planner no other way, as
/// it would take for a table that was empty when its statistics were gathered.
///
/// That a published row is gone need not survive a crash of the database: it is
/// published again then, with the same id. So the relay does not wait for the disk.
const PUBLISHED: &str = "\
    USING (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried \
    WHERE o.ctid = ANY (ARRAY(\
        SELECT found.ctid FROM unnest($1::int2[], $2::int8[]) AS done (bucket, id) \
        CROSS JOIN LATERAL (\
            SELECT p.ctid FROM {outbox} AS p \
            WHERE p.bucket = done.bucket AND p.id = done.id OFFSET 0) AS found))";

/// Channels have no schemas; one that several share wakes more than it need.
fn channel(names: &Names) -> String {
    names.table().to_owned()
}

impl Dialect for Postgres {
    type Sql = Sql;

    const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_outbox.sql")];
    const NOTIFIES: bool = true;
    const ONE_WRITER: bool = false;
    const LANES: usize = 2;

    fn sql(names: &Names) -> Sql {
        Sql::new(names)
    }

    fn relay_pool(pool: &PgPool, connections: u32) -> PgPool {
        let options = (*pool.connect_options()).clone();
        // With the user's hooks, which may set the search path.
        pool.options()
            .clone()
            .min_connections(0)
            .max_connections(connections)
            .connect_lazy_with(options)
    }

    async fn insert(
        connection: &mut PgConnection,
        sql: &Sql,
        mut rows: Vec<NewRow>,
        notify: bool,
    ) -> Answer<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if rows.len() > 1 {
            return insert_many(connection, sql, &rows, notify).await;
        }
        let row = rows.remove(0);
        let statement = if notify {
            &sql.insert_one_and_notify
        } else {
            &sql.insert_one
        };
        let mut query = sqlx::query(statement.clone())
            .bind(row.bucket)
            .bind(row.event_id)
            .bind(row.event_type)
            .bind(row.topic)
            .bind(row.key)
            .bind(row.headers)
            .bind(row.payload);
        if notify {
            query = query.bind(&sql.channel);
        }
        query.execute(connection).await.map(drop)
    }

    async fn renew(
        pool: &PgPool,
        sql: &Sql,
        relay: &str,
        lease: Duration,
        keep: &[i16],
    ) -> Answer<Shares> {
        let mut tx = pool.begin().await?;
        sqlx::query(sql.alive.clone())
            .bind(relay)
            .bind(seconds(lease))
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
            .bind(keep)
            .execute(&mut *tx)
            .await?;
        let mut held: Vec<i16> = sqlx::query_scalar(sql.renew.clone())
            .bind(relay)
            .bind(keep)
            .bind(seconds(lease))
            .fetch_all(&mut *tx)
            .await?;
        let share = share(relays);
        if held.len() < share {
            let claimed: Vec<i16> = sqlx::query_scalar(sql.claim.clone())
                .bind(relay)
                .bind(seconds(lease))
                .bind((share - held.len()) as i64)
                .fetch_all(&mut *tx)
                .await?;
            held.extend(claimed);
        }
        tx.commit().await?;
        Ok(Shares { share, held })
    }

    async fn leave(pool: &PgPool, sql: &Sql, relay: &str) -> Answer<()> {
        let none: &[i16] = &[];
        let mut tx = pool.begin().await?;
        sqlx::query(sql.release.clone())
            .bind(relay)
            .bind(none)
            .execute(&mut *tx)
            .await?;
        sqlx::query(sql.goodbye.clone())
            .bind(relay)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn fetch(
        pool: &PgPool,
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
        let mut tx = pool.begin_with(BEGIN_WALK).await?;
        let rows = sqlx::query(statement.clone())
            .bind(relay)
            .bind(buckets)
            .bind(limits.rows_of_a_bucket)
            .bind(limits.rows)
            .bind(limits.bytes)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        rows.iter().map(row).collect()
    }

    async fn finish(pool: &PgPool, sql: &Sql, rows: &[Place], keep: bool) -> Answer<()> {
        let statement = if keep { &sql.keep } else { &sql.delete };
        let (buckets, ids) = columns(rows.iter().copied());
        sqlx::query(statement.clone())
            .bind(buckets)
            .bind(ids)
            .execute(pool)
            .await
            .map(drop)
    }

    async fn block(pool: &PgPool, sql: &Sql, rows: &[(Place, String)]) -> Answer<()> {
        let (buckets, ids) = columns(rows.iter().map(|(place, _)| *place));
        let errors: Vec<&str> = rows.iter().map(|(_, error)| error.as_str()).collect();
        sqlx::query(sql.block.clone())
            .bind(buckets)
            .bind(ids)
            .bind(errors)
            .execute(pool)
            .await
            .map(drop)
    }

    async fn blocked(pool: &PgPool, sql: &Sql) -> Answer<Vec<BlockedEvent>> {
        let rows = sqlx::query(sql.blocked.clone()).fetch_all(pool).await?;
        rows.iter()
            .map(|row| {
                let error: Option<String> = row.try_get(5)?;
                let since: f64 = row.try_get(6)?;
                Ok(BlockedEvent {
                    id: row.try_get(0)?,
                    event_id: row.try_get(1)?,
                    event_type: row.try_get(2)?,
                    topic: row.try_get(3)?,
                    key: row.try_get(4)?,
                    reason: error.unwrap_or_default(),
                    blocked_for: Duration::from_secs_f64(since.max(0.0)),
                })
            })
            .collect()
    }

    async fn retry(pool: &PgPool, sql: &Sql, id: Option<i64>) -> Answer<u64> {
        let query = sqlx::query(sql.retry.clone()).bind(id);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn set_aside(pool: &PgPool, sql: &Sql, id: i64) -> Answer<u64> {
        let query = sqlx::query(sql.set_aside.clone()).bind(id);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn clean(pool: &PgPool, sql: &Sql, age: Duration, rows: i64) -> Answer<u64> {
        let query = sqlx::query(sql.clean.clone()).bind(seconds(age)).bind(rows);
        query.execute(pool).await.map(|done| done.rows_affected())
    }

    async fn backlog(pool: &PgPool, sql: &Sql) -> Answer<Backlog> {
        let row = sqlx::query(sql.backlog.clone()).fetch_one(pool).await?;
        let oldest: Option<f64> = row.try_get("oldest")?;
        Ok(Backlog {
            rows: row.try_get::<i64, _>("rows")? as u64,
            blocked: row.try_get::<i64, _>("blocked")? as u64,
            oldest: oldest.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        })
    }

    async fn listen(pool: &PgPool, names: &Names, wake: &Wake) -> Answer<()> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(&channel(names)).await?;
        // What was committed while nobody listened.
        wake.hint();
        loop {
            listener.recv().await?;
            while listener.next_buffered().is_some() {}
            wake.hint();
        }
    }
}

async fn insert_many(
    connection: &mut PgConnection,
    sql: &Sql,
    rows: &[NewRow],
    notify: bool,
) -> Answer<()> {
    let statement = if notify {
        &sql.insert_and_notify
    } else {
        &sql.insert
    };
    let texts = |of: fn(&NewRow) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let bytes = |of: fn(&NewRow) -> &[u8]| rows.iter().map(of).collect::<Vec<_>>();
    let mut query = sqlx::query(statement.clone())
        .bind(rows.iter().map(|row| row.bucket).collect::<Vec<_>>())
        .bind(texts(|row| &row.event_id))
        .bind(texts(|row| row.event_type))
        .bind(texts(|row| row.topic))
        .bind(
            rows.iter()
                .map(|row| row.key.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(bytes(|row| &row.headers))
        .bind(bytes(|row| &row.payload));
    if notify {
        query = query.bind(&sql.channel);
    }
    query.execute(connection).await.map(drop)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn columns(places: impl Iterator<Item = Place>) -> (Vec<i16>, Vec<i64>) {
    places.map(|place| (place.bucket, place.id)).unzip()
}

fn row(row: &PgRow) -> Answer<Row> {
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
