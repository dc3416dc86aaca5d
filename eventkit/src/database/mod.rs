//! What outbox and inbox have in common: the databases they can be in, the names
//! of their tables, how these are created, and what a database's errors mean.

mod fault;
mod names;
mod tables;

pub(crate) use fault::{Fault, fault, is_conflict, is_undefined_table};
pub(crate) use names::Names;
pub(crate) use tables::Tables;

use crate::{inbox, outbox};

/// A database that an outbox and an inbox can be in: `sqlx::Postgres` or
/// `sqlx::Sqlite`.
///
/// Sealed: what they need differs too much from one to the next.
pub trait Database: outbox::Dialect + inbox::Dialect {}

#[cfg(feature = "postgres")]
impl Database for sqlx::Postgres {}
#[cfg(feature = "sqlite")]
impl Database for sqlx::Sqlite {}

/// A database's answer.
pub(crate) type Answer<T> = Result<T, sqlx::Error>;
