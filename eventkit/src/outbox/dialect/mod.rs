//! What an outbox asks of a database. Each answer is one round trip, and what a
//! relay must know for sure, the database decides by its own clock.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::future::Future;
use std::time::Duration;

use sqlx::Pool;

use super::BlockedEvent;
use super::row::{NewRow, Place, Row};
use super::wake::Wake;
use crate::database::{Answer, Names, Tables};

/// What one batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows in all.
    pub(super) rows: i64,
    /// Rows of one bucket, where the database reads bucket by bucket.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code))]
    pub(super) rows_of_a_bucket: i64,
    /// Bytes of headers and payload, at least one row aside.
    pub(super) bytes: i64,
}

/// How far behind publishing is.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    pub(super) rows: u64,
    pub(super) oldest: Option<Duration>,
    pub(super) blocked: u64,
}

/// What a relay's renewal brought.
#[derive(Debug, Clone)]
pub struct Shares {
    /// How many buckets are one relay's share now.
    pub(super) share: usize,
    /// The buckets that it holds for another lease.
    pub(super) held: Vec<i16>,
}

/// The statements of one database.
pub trait Dialect: Tables {
    /// The statements with the tables' names in them.
    type Sql: Send + Sync + 'static;

    const MIGRATIONS: &[&str];

    /// Whether [`insert`](Self::insert) can make the database wake relays at commit.
    const NOTIFIES: bool;

    /// Whether one transaction at a time can write. A relay and the deliveries of an
    /// inbox then take turns, and need not ask the database again and again.
    const ONE_WRITER: bool;

    /// How many batches a relay has on their way side by side.
    const LANES: usize;

    fn sql(names: &Names) -> Self::Sql;

    /// The relay's connections: its own where that is possible, so that a busy
    /// service cannot make it lose its leases.
    fn relay_pool(pool: &Pool<Self>, connections: u32) -> Pool<Self>;

    fn insert(
        connection: &mut Self::Connection,
        sql: &Self::Sql,
        rows: Vec<NewRow>,
        notify: bool,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Says that the relay is alive, renews what it keeps, gives back the rest
    /// and takes what it is short of.
    fn renew(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        relay: &str,
        lease: Duration,
        keep: &[i16],
    ) -> impl Future<Output = Answer<Shares>> + Send;

    /// Gives back all that a relay holds.
    fn leave(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        relay: &str,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// The next rows of those of the buckets that the relay holds, each key's in
    /// order. With `around` blocked rows, and those behind them, are left out;
    /// without, they are there, which costs less.
    fn fetch(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        relay: &str,
        buckets: &[i16],
        limits: Limits,
        around: bool,
    ) -> impl Future<Output = Answer<Vec<Row>>> + Send;

    /// Removes published rows; `keep` moves them to the sent ones.
    fn finish(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        rows: &[Place],
        keep: bool,
    ) -> impl Future<Output = Answer<()>> + Send;

    fn block(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        rows: &[(Place, String)],
    ) -> impl Future<Output = Answer<()>> + Send;

    fn blocked(
        pool: &Pool<Self>,
        sql: &Self::Sql,
    ) -> impl Future<Output = Answer<Vec<BlockedEvent>>> + Send;

    /// Lets a blocked row, or all of them, be tried again.
    fn retry(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        id: Option<i64>,
    ) -> impl Future<Output = Answer<u64>> + Send;

    fn set_aside(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        id: i64,
    ) -> impl Future<Output = Answer<u64>> + Send;

    /// Deletes at most `rows` sent rows that are older than `age`.
    fn clean(
        pool: &Pool<Self>,
        sql: &Self::Sql,
        age: Duration,
        rows: i64,
    ) -> impl Future<Output = Answer<u64>> + Send;

    fn backlog(pool: &Pool<Self>, sql: &Self::Sql) -> impl Future<Output = Answer<Backlog>> + Send;

    /// Wakes relays when another process commits; ends only with an error.
    fn listen(
        pool: &Pool<Self>,
        names: &Names,
        wake: &Wake,
    ) -> impl Future<Output = Answer<()>> + Send;
}

/// Leaves out blocked rows and those behind them.
const AROUND_BLOCKED: &str = "AND o.blocked_at IS NULL AND NOT EXISTS (\
    SELECT 1 FROM {outbox} AS b \
    WHERE b.bucket = o.bucket AND b.blocked_at IS NOT NULL \
        AND b.topic = o.topic AND b.key = o.key)";

/// A relay's share of the buckets.
fn share(relays: i64) -> usize {
    (super::row::BUCKETS as usize).div_ceil(relays.max(1) as usize)
}
