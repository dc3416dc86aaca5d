use std::any::Any;

/// The database transaction that a handler with `inbox` runs in, of a type that
/// only its database knows.
#[doc(hidden)]
pub struct Transaction(
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), expect(dead_code))]
    Box<dyn Any + Send>,
);

impl Transaction {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn new<T: Send + 'static>(transaction: T) -> Self {
        Self(Box::new(transaction))
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn into_inner<T: 'static>(self) -> Option<T> {
        self.0.downcast().ok().map(|transaction| *transaction)
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transaction")
    }
}
