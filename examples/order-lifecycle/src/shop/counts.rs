//! How far the run is, by what stands in the databases.

use std::time::Duration;

use sqlx::Pool;
use tokio::sync::watch;

use super::{Connection, Databases, Db};
use crate::letters::Letter;
use crate::progress::Counts;

const LOOK: Duration = Duration::from_millis(50);

/// Looks again and again, until the task is aborted.
pub(crate) async fn follow(
    databases: &Databases,
    run: u32,
    counts: &watch::Sender<Counts>,
) -> sqlx::Result<()> {
    let mut connection = databases.all().await?;
    loop {
        let now = sqlx::query_as::<_, (i64, i64, i64, i64, i64, i64, i64)>(
            r#"SELECT
                COUNT(*),
                COUNT(CASE WHEN state = 'confirmed' THEN 1 END),
                COUNT(CASE WHEN state = 'cancelled for stock' THEN 1 END),
                COUNT(CASE WHEN state = 'cancelled for payment' THEN 1 END),
                (SELECT COUNT(DISTINCT number) FROM "order".letters
                 WHERE run = $1 AND waiting = 1 AND consumer <> 'analytics'),
                (SELECT COUNT(*) FROM notification.notices WHERE run = $1),
                (SELECT COUNT(*) FROM inventory.movements WHERE run = $1 AND taken < 0)
            FROM "order".orders WHERE run = $1"#,
        )
        .bind(i64::from(run))
        .fetch_one(&mut connection)
        .await?;
        let (placed, confirmed, stock, payment, dead_lettered, notices, releases) = now;
        counts.send_if_modified(|counts| {
            let now = Counts {
                placed,
                confirmed,
                cancelled_for_stock: stock,
                cancelled_for_payment: payment,
                dead_lettered,
                notices,
                releases,
            };
            std::mem::replace(counts, now) != now
        });
        tokio::time::sleep(LOOK).await;
    }
}

/// How many events wait in the outboxes.
pub(crate) async fn unpublished(connection: &mut Connection) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        r#"SELECT (SELECT COUNT(*) FROM "order".eventkit_outbox)
                + (SELECT COUNT(*) FROM inventory.eventkit_outbox)
                + (SELECT COUNT(*) FROM payment.eventkit_outbox)
                + (SELECT COUNT(*) FROM notification.eventkit_outbox)"#,
    )
    .fetch_one(connection)
    .await
}

/// Writes down a dead letter, once, however often it is read.
pub(crate) async fn write_letter(pool: &Pool<Db>, letter: &Letter) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO letters (run, topic, place, position, number, consumer, kind)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(i64::from(letter.order.run))
    .bind(&letter.topic)
    .bind(i64::from(letter.partition))
    .bind(letter.offset)
    .bind(i64::from(letter.order.number))
    .bind(&letter.group)
    .bind(&letter.kind)
    .execute(pool)
    .await?;
    Ok(())
}

/// What was dead-lettered goes on its way again.
pub(crate) async fn send_letters_back(pool: &Pool<Db>, run: u32) -> sqlx::Result<()> {
    sqlx::query("UPDATE letters SET waiting = 0 WHERE run = $1")
        .bind(i64::from(run))
        .execute(pool)
        .await?;
    Ok(())
}
