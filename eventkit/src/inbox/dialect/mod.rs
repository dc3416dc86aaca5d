//! What an inbox asks of a database.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::future::Future;
use std::time::Duration;

use sqlx::{Pool, SqlStr, Transaction};

use crate::database::{Answer, Names, Tables};
use crate::delivery::Entry;

/// The statements with the table's name in them.
#[derive(Debug)]
pub struct Statements {
    enter: SqlStr,
    expire: SqlStr,
    look: SqlStr,
}

impl Statements {
    fn new(names: &Names, enter: &str, expire: &str) -> Self {
        Self {
            enter: names.sql(enter),
            expire: names.sql(expire),
            look: names.sql("SELECT 1 FROM {inbox} LIMIT 1"),
        }
    }
}

/// Puts the event's row in, unless it is there. Where another transaction has just
/// put it in, this waits for its end.
const ENTER: &str = "INSERT INTO {inbox} (event_id, handler, consumer_group, source) \
    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

/// How one database does it.
pub trait Dialect: Tables {
    const INBOX_MIGRATIONS: &[&str];

    fn statements(names: &Names) -> Statements;

    /// How many transactions of a pool can make progress side by side.
    fn writers(pool: &Pool<Self>) -> usize;

    fn begin(pool: &Pool<Self>) -> impl Future<Output = Answer<Transaction<'static, Self>>> + Send;

    /// `false`: the event was handled before.
    fn enter(
        connection: &mut Self::Connection,
        statements: &Statements,
        entry: Entry<'_>,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Commits, and fails where an earlier error has spoilt the transaction, so that
    /// its commit would roll it back.
    fn commit(transaction: Transaction<'static, Self>) -> impl Future<Output = Answer<()>> + Send;

    /// Deletes at most `rows` rows that are older than `age`.
    fn expire(
        pool: &Pool<Self>,
        statements: &Statements,
        age: Duration,
        rows: i64,
    ) -> impl Future<Output = Answer<u64>> + Send;

    /// Fails where the table is not there.
    fn look(pool: &Pool<Self>, statements: &Statements) -> impl Future<Output = Answer<()>> + Send;
}
