//! Inventory's shelf, and the ledger of what is taken off it.

use sqlx::Transaction;

use super::Db;
use crate::events::{LedgerLine, OrderId};

/// Takes units off the run's shelf, if it has so many, and says whether it had.
pub(crate) async fn take(
    tx: &mut Transaction<'static, Db>,
    at_start: u32,
    order: OrderId,
    units: u32,
) -> sqlx::Result<(bool, LedgerLine)> {
    // One statement, which holds the shelf until the commit.
    let (line, remaining, taken): (i64, i64, i64) = sqlx::query_as(
        "INSERT INTO shelves (run, line, remaining, taken) VALUES (
             $1, 1,
             CASE WHEN $2 >= $3 THEN $2 - $3 ELSE $2 END,
             CASE WHEN $2 >= $3 THEN $3 ELSE 0 END)
         ON CONFLICT (run) DO UPDATE SET
             line = shelves.line + 1,
             remaining = CASE WHEN shelves.remaining >= $3 THEN shelves.remaining - $3
                              ELSE shelves.remaining END,
             taken = CASE WHEN shelves.remaining >= $3 THEN $3 ELSE 0 END
         RETURNING line, remaining, taken",
    )
    .bind(i64::from(order.run))
    .bind(i64::from(at_start))
    .bind(i64::from(units))
    .fetch_one(&mut **tx)
    .await?;
    write_line(tx, order, line, remaining, taken, true).await?;
    Ok((taken > 0, told(line, remaining)))
}

/// Puts units back.
pub(crate) async fn put_back(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    units: u32,
) -> sqlx::Result<LedgerLine> {
    let (line, remaining): (i64, i64) = sqlx::query_as(
        "UPDATE shelves SET line = line + 1, remaining = remaining + $2, taken = -$2
         WHERE run = $1 RETURNING line, remaining",
    )
    .bind(i64::from(order.run))
    .bind(i64::from(units))
    .fetch_one(&mut **tx)
    .await?;
    let taken = -i64::from(units);
    write_line(tx, order, line, remaining, taken, false).await?;
    Ok(told(line, remaining))
}

async fn write_line(
    tx: &mut Transaction<'static, Db>,
    order: OrderId,
    line: i64,
    remaining: i64,
    taken: i64,
    is_decision: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO movements (run, line, number, taken, remaining, is_decision)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(i64::from(order.run))
    .bind(line)
    .bind(i64::from(order.number))
    .bind(taken)
    .bind(remaining)
    .bind(i64::from(is_decision))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn told(line: i64, left: i64) -> LedgerLine {
    LedgerLine {
        line: line as u64,
        left: left as u32,
    }
}
