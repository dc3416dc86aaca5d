//! An outbox by hand: a table in the order of its ids, and the relays that one
//! writes for it.

use anyhow::Result;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::publishing;
use crate::arrivals::TOPIC;
use crate::database::Database;
use crate::event::OrderPlaced;
use crate::fill::headers_of;
use crate::kafka;

const BATCH: i64 = 2_000;

pub async fn create(database: &Database) -> Result<()> {
    database
        .execute(
            "CREATE TABLE by_hand (\
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text NOT NULL, \
                event_type text NOT NULL, topic text NOT NULL, key text NOT NULL, \
                headers bytea NOT NULL, payload bytea NOT NULL, \
                created_at timestamptz NOT NULL DEFAULT now())",
        )
        .await
}

/// Inserts one row, of the size of a row of eventkit's outbox.
pub async fn insert(connection: &mut PgConnection, order: &OrderPlaced) -> Result<()> {
    sqlx::query(
        "INSERT INTO by_hand (event_id, event_type, topic, key, headers, payload) \
         VALUES ($1, 'OrderPlaced.v1', $2, $3, $4, $5)",
    )
    .bind(order.order_id.to_string())
    .bind(TOPIC)
    .bind(order.customer_id.to_string())
    .bind(&HEADERS[..])
    .bind(serde_json::to_vec(order)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// As many bytes as the headers of eventkit's rows.
const HEADERS: [u8; 230] = [b'h'; 230];

pub async fn fill(database: &Database, orders: impl Iterator<Item = OrderPlaced>) -> Result<()> {
    let mut tx = database.pool.begin().await?;
    for order in orders {
        insert(&mut tx, &order).await?;
    }
    Ok(tx.commit().await?)
}

/// One row after the other, each acknowledged and deleted before the next.
pub async fn relay_one_by_one(database: &Database) -> Result<()> {
    let producer: FutureProducer = kafka::config()?
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("partitioner", "murmur2_random")
        .create()?;
    let select = "SELECT id, event_id, key, payload FROM by_hand ORDER BY id LIMIT 1";
    while let Some(row) = sqlx::query(select).fetch_optional(&database.pool).await? {
        let sent = send(&producer, &row)?;
        sent.await?.map_err(|(error, _)| error)?;
        sqlx::query("DELETE FROM by_hand WHERE id = $1")
            .bind(row.try_get::<i64, _>(0)?)
            .execute(&database.pool)
            .await?;
    }
    Ok(())
}

/// A batch in a transaction: read and locked, sent, acknowledged, deleted.
pub async fn relay_in_batches(database: &Database) -> Result<()> {
    let producer: FutureProducer = publishing::config()?.create()?;
    loop {
        let mut tx = database.pool.begin().await?;
        let rows = sqlx::query(
            "SELECT id, event_id, key, payload FROM by_hand \
             ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        let (mut sent, mut ids) = (Vec::new(), Vec::new());
        for row in &rows {
            sent.push(send(&producer, row)?);
            ids.push(row.try_get::<i64, _>(0)?);
        }
        for one in sent {
            one.await?.map_err(|(error, _)| error)?;
        }
        sqlx::query("DELETE FROM by_hand WHERE id = ANY($1)")
            .bind(ids)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
}

fn send(producer: &FutureProducer, row: &PgRow) -> Result<rdkafka::producer::DeliveryFuture> {
    let (id, key): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    let record = FutureRecord::to(TOPIC)
        .key(key)
        .payload(row.try_get::<&[u8], _>(3)?)
        .headers(headers_of(id, key));
    // A batch always has room in librdkafka's queue.
    Ok(producer.send_result(record).map_err(|(error, _)| error)?)
}
