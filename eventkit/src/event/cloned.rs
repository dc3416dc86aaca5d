//! Clones an event if its type can: the derive asks, and need not know.
//!
//! A method is looked for on `&Cloner<T>` before `&&Cloner<T>`, so the first
//! trait serves where `T: Clone` and the second everywhere else. This only works
//! where `T` is a concrete type, as it is in what the derive writes.

/// What the derive asks.
#[derive(Debug)]
pub struct Cloner<'a, T>(pub &'a T);

/// Answers for types that are [`Clone`].
pub trait Clones<T> {
    /// A clone.
    fn cloned(&self) -> Option<T>;
}

impl<T: Clone> Clones<T> for Cloner<'_, T> {
    fn cloned(&self) -> Option<T> {
        Some(self.0.clone())
    }
}

/// Answers for all others.
pub trait ClonesNot<T> {
    /// None.
    fn cloned(&self) -> Option<T> {
        None
    }
}

impl<T> ClonesNot<T> for &Cloner<'_, T> {}
