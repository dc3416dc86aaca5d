use crate::database::is_undefined_table;
use crate::error::EncodeError;

/// What can go wrong with an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The event cannot be written in its format; trying again changes nothing.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A name that is none, or a setting that this database does not have.
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
        if is_undefined_table(&source) {
            return Self::NotMigrated { table };
        }
        Self::Database {
            table,
            doing,
            source,
        }
    }

    pub(crate) fn database_error(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database { source, .. } => Some(source),
            _ => None,
        }
    }
}
