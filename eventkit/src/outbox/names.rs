//! The names of the outbox's tables: checked, quoted, and put into SQL.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::OutboxError;

/// The name that the migrations use.
const DEFAULT: &str = "eventkit_outbox";

/// What PostgreSQL keeps of a name; the longest suffix must fit too.
const LONGEST: usize = 63 - "_sent_by_time".len();

/// A legal table name and, perhaps, a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    schema: Option<String>,
    table: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            schema: None,
            table: DEFAULT.to_owned(),
        }
    }
}

impl Names {
    pub(super) fn new(schema: Option<String>, table: Option<String>) -> Result<Self, OutboxError> {
        let table = table.unwrap_or_else(|| DEFAULT.to_owned());
        for (name, longest) in schema
            .iter()
            .map(|name| (name, 63))
            .chain([(&table, LONGEST)])
        {
            if !is_identifier(name, longest) {
                return Err(OutboxError::Name {
                    name: name.clone(),
                    longest,
                });
            }
        }
        Ok(Self { schema, table })
    }

    #[cfg(feature = "postgres")]
    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Puts the names into a statement that says `{outbox}`, `{outbox_sent}` and so on.
    pub(super) fn sql(&self, template: &str) -> SqlStr {
        let start = match &self.schema {
            Some(schema) => format!("\"{schema}\".\"{}", self.table),
            None => format!("\"{}", self.table),
        };
        safe(template.replace("{outbox", &start).replace('}', "\""))
    }

    /// Puts the table's name into a migration, which names no schema.
    pub(super) fn migration(&self, text: &str) -> SqlStr {
        safe(text.replace(DEFAULT, &self.table))
    }
}

/// Only names that [`Names::new`] let through, and our own text, get here.
pub(super) fn safe(text: String) -> SqlStr {
    AssertSqlSafe(std::sync::Arc::<str>::from(text)).into_sql_str()
}

fn is_identifier(name: &str, longest: usize) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_plain_identifiers() {
        for good in ["outbox", "_o1", "Outbox", &"x".repeat(LONGEST)] {
            assert!(Names::new(None, Some(good.to_owned())).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1x",
            "a-b",
            "a\"b",
            "a b",
            "a;drop table x",
            "schema.table",
            "ü",
            &"x".repeat(LONGEST + 1),
        ] {
            let error = Names::new(None, Some(bad.to_owned())).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
        assert!(Names::new(Some("x".repeat(63)), None).is_ok());
        for bad in ["", "a.b", &"x".repeat(64)] {
            assert!(Names::new(Some(bad.to_owned()), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn quotes_the_names_in_statements() {
        let names = Names::new(Some("Shop".into()), Some("mail".into())).unwrap();
        assert_eq!(
            names
                .sql("SELECT 1 FROM {outbox} JOIN {outbox_leases}")
                .as_str(),
            r#"SELECT 1 FROM "Shop"."mail" JOIN "Shop"."mail_leases""#
        );
        assert_eq!(
            names
                .migration(r#"CREATE TABLE "eventkit_outbox_sent""#)
                .as_str(),
            r#"CREATE TABLE "mail_sent""#
        );
    }
}
