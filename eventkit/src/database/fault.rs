use std::error::Error as StdError;

use sqlx::error::DatabaseError;

/// What an error of a database means for the transaction that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It lost against another transaction; the same again may well succeed.
    Conflict,
    /// The database cannot be reached, or takes no writes at present.
    Away,
    /// Something else, which trying again need not mend.
    Other,
}

/// By code, never by text, which is in the server's language.
pub(crate) fn fault(error: &sqlx::Error) -> Fault {
    use sqlx::Error as E;
    match error {
        E::Database(error) => error.code().map_or(Fault::Other, |code| of_code(&code)),
        E::Io(_)
        | E::Tls(_)
        | E::Protocol(_)
        | E::PoolTimedOut
        | E::PoolClosed
        | E::WorkerCrashed => Fault::Away,
        _ => Fault::Other,
    }
}

/// Whether a conflict is among the causes of an error, wrapped as it may be.
pub(crate) fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error: &&(dyn StdError + 'static)| {
        (*error).source()
    });
    causes.any(|cause| {
        let fault = match cause.downcast_ref::<sqlx::Error>() {
            Some(error) => Some(fault(error)),
            // What wraps a `sqlx::Error` without a trace of it still has its source.
            None => cause
                .downcast_ref::<Box<dyn DatabaseError>>()
                .and_then(|error| error.code())
                .map(|code| of_code(&code)),
        };
        fault == Some(Fault::Conflict)
    })
}

/// Known of PostgreSQL only: SQLite has no code of its own for this.
pub(crate) fn is_undefined_table(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == "42P01")
}

/// PostgreSQL's SQLSTATE, which has five characters, or SQLite's result code, a
/// shorter number.
fn of_code(code: &str) -> Fault {
    if code.len() == 5 {
        sqlstate(code)
    } else {
        code.parse().map_or(Fault::Other, result_code)
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn sqlstate(code: &str) -> Fault {
    match code {
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => Fault::Conflict,
        // admin_shutdown, crash_shutdown, cannot_connect_now; a standby's
        // read_only_sql_transaction.
        "57P01" | "57P02" | "57P03" | "25006" => Fault::Away,
        // connection_exception, insufficient_resources
        _ if code.starts_with("08") || code.starts_with("53") => Fault::Away,
        _ => Fault::Other,
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn result_code(code: u32) -> Fault {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const IO_ERROR: u32 = 10;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    match code & 0xff {
        BUSY | LOCKED => Fault::Conflict,
        IO_ERROR | FULL | CANNOT_OPEN => Fault::Away,
        _ => Fault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_may_be_tried_again() {
        for (code, meant) in [
            ("40001", Fault::Conflict),
            ("40P01", Fault::Conflict),
            ("5", Fault::Conflict),
            ("517", Fault::Conflict),
            ("262", Fault::Conflict),
            ("57P01", Fault::Away),
            ("08006", Fault::Away),
            ("53300", Fault::Away),
            ("25006", Fault::Away),
            ("13", Fault::Away),
            ("23505", Fault::Other),
            ("40002", Fault::Other),
            ("2067", Fault::Other),
            ("", Fault::Other),
            ("nonsense", Fault::Other),
        ] {
            assert_eq!(of_code(code), meant, "{code}");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot reserve")]
    struct Wrapped(#[source] sqlx::Error);

    #[derive(Debug)]
    struct Refused(&'static str);

    impl std::fmt::Display for Refused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Refused {}

    impl DatabaseError for Refused {
        fn message(&self) -> &str {
            "sérialisation impossible"
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn refused(code: &'static str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Refused(code)))
    }

    #[test]
    fn a_conflict_is_known_however_it_is_wrapped() {
        let plain: crate::BoxError = Box::new(refused("40001"));
        assert!(is_conflict(&*plain));
        let own: crate::BoxError = Box::new(Wrapped(refused("40P01")));
        assert!(is_conflict(&*own));
        let anyhow: crate::BoxError = anyhow::Error::from(refused("40001")).into();
        assert!(is_conflict(&*anyhow));
        let context = anyhow::Error::from(refused("517")).context("reserving");
        let context: crate::BoxError = context.into();
        assert!(is_conflict(&*context));
        for other in [refused("23505"), sqlx::Error::PoolTimedOut] {
            let other: crate::BoxError = Box::new(Wrapped(other));
            assert!(!is_conflict(&*other));
        }
    }
}
