use crate::database::is_undefined_table;

/// What can go wrong with an inbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// A name that is none.
    #[error("inbox: {0}")]
    Setting(String),
    /// The inbox's table is not there.
    #[error("inbox `{table}`: its table is not there; `Inbox::migrate` creates it")]
    NotMigrated {
        /// The table's name, as it is set.
        table: String,
    },
    /// The database refused something, or could not be reached.
    #[error("inbox `{table}`: {doing}")]
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

impl InboxError {
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
}
