use crate::error::EncodeError;

/// What can go wrong with an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The event cannot be written in its format; trying again changes nothing.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A table or schema name that is none.
    #[error(
        "outbox: `{name}` is no name for a table or schema: take letters, digits and `_`, \
         no digit first, {longest} at most"
    )]
    Name {
        /// The name.
        name: String,
        /// How long it may be.
        longest: usize,
    },
    /// A setting that this database does not have.
    #[error("outbox: {0}")]
    Setting(String),
    /// The outbox's tables are not there.
    #[error("outbox `{table}`: its tables are not there; `Outbox::migrate` creates them")]
    NotMigrated {
        /// The table's name, as it is set.
        table: String,
    },
    /// The database refused something, or could not be reached.
    #[error("outbox `{table}`: {doing}")]
    Database {
        /// The table's name, as it is set.
        table: String,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
}

impl OutboxError {
    pub(super) fn database(table: &str, doing: &'static str, source: sqlx::Error) -> Self {
        let table = table.to_owned();
        // By code: the message's language is the server's.
        let code = source.as_database_error().and_then(|error| error.code());
        if code.is_some_and(|code| code == UNDEFINED_TABLE) {
            return Self::NotMigrated { table };
        }
        Self::Database {
            table,
            doing,
            source,
        }
    }
}

/// PostgreSQL's SQLSTATE. SQLite has no code of its own for this.
const UNDEFINED_TABLE: &str = "42P01";
