//! The names of tables: checked, quoted, and put into SQL.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// What PostgreSQL keeps of a name; the longest suffix must fit too.
const LONGEST: usize = 63 - "_sent_by_time".len();

/// A legal table name, whose other tables' names begin with it, and perhaps a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// What it is: `outbox` in statements, `eventkit_outbox` in migrations.
    what: &'static str,
    schema: Option<String>,
    table: String,
}

impl Names {
    /// The default's.
    pub(crate) fn of(what: &'static str, schema: Option<String>) -> Self {
        Self {
            what,
            schema,
            table: format!("eventkit_{what}"),
        }
    }

    /// Says what is wrong where a name is none.
    pub(crate) fn new(
        what: &'static str,
        schema: Option<String>,
        table: Option<String>,
    ) -> Result<Self, String> {
        let table = table.unwrap_or_else(|| format!("eventkit_{what}"));
        for (name, longest) in schema
            .iter()
            .map(|name| (name, 63))
            .chain([(&table, LONGEST)])
        {
            if !is_identifier(name, longest) {
                return Err(format!(
                    "`{name}` is no name for a table or schema: take letters, digits and `_`, \
                     no digit first, {longest} at most"
                ));
            }
        }
        Ok(Self {
            what,
            schema,
            table,
        })
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Puts the names into a statement that says `{outbox}`, `{outbox_sent}` and so on.
    pub(crate) fn sql(&self, template: &str) -> SqlStr {
        let start = match &self.schema {
            Some(schema) => format!("\"{schema}\".\"{}", self.table),
            None => format!("\"{}", self.table),
        };
        let place = format!("{{{}", self.what);
        safe(template.replace(&place, &start).replace('}', "\""))
    }

    /// Puts the table's name into a migration, which names no schema.
    pub(super) fn migration(&self, text: &str) -> SqlStr {
        safe(text.replace(&format!("eventkit_{}", self.what), &self.table))
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
            assert!(
                Names::new("outbox", None, Some(good.to_owned())).is_ok(),
                "{good}"
            );
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
            let error = Names::new("outbox", None, Some(bad.to_owned())).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
        assert!(Names::new("outbox", Some("x".repeat(63)), None).is_ok());
        for bad in ["", "a.b", &"x".repeat(64)] {
            assert!(
                Names::new("outbox", Some(bad.to_owned()), None).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn quotes_the_names_in_statements() {
        let names = Names::new("outbox", Some("Shop".into()), Some("mail".into())).unwrap();
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
