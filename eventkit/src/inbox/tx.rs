use sqlx::Transaction as SqlTransaction;

use super::Database;
use super::store::Held;
use crate::handler::{HandlerError, Transaction};

/// The transaction that a handler with `inbox` runs in, as its parameter.
///
/// Statements run on `&mut **tx`; `tx.begin()` makes a savepoint.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # mod example {
/// # use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "PaymentCharged.v1", topic = "payments")]
/// # struct PaymentCharged { order_id: i64 }
/// use eventkit::inbox::Tx;
/// use sqlx::Sqlite;
///
/// #[handler(event = "PaymentCharged.v1", inbox)]
/// async fn mark_as_paid(paid: PaymentCharged, Tx(tx): Tx<Sqlite>) -> sqlx::Result<()> {
///     sqlx::query("UPDATE orders SET paid = TRUE WHERE id = $1")
///         .bind(paid.order_id)
///         .execute(&mut **tx)
///         .await?;
///     Ok(())
/// }
/// # }
/// ```
///
/// The macro knows this parameter by its name: do not import it under another.
#[derive(Debug)]
pub struct Tx<'t, DB: Database>(pub &'t mut SqlTransaction<'static, DB>);

/// What `#[handler(…, inbox)]` makes of a parameter `Tx<DB>`.
#[doc(hidden)]
pub fn __tx<DB: Database>(
    transaction: Option<&mut Transaction>,
) -> Result<Tx<'_, DB>, HandlerError> {
    transaction
        .and_then(|transaction| transaction.get_mut::<Held<DB>>())
        .map(|held| Tx(&mut held.transaction))
        .ok_or_else(|| {
            HandlerError::retry(format!(
                "the App's inbox is not in the database of `Tx<{}>`",
                DB::NAME
            ))
        })
}
