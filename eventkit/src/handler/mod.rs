//! What a handler is: its definition, its parameters, its outcome, its policy.
//!
//! This room knows nothing of partitions and offsets. The engine calls a
//! handler through [`Call`] and gets an [`Outcome`] back.

mod call;
mod definition;
mod delivery;
mod error;
mod extract;
mod outcome;
mod policy;
mod transaction;

pub use call::{__blocking, __dedup_key, __spawned, Call};
pub(crate) use call::{Scope, with_current};
pub(crate) use definition::linked;
pub use definition::{__MISWRITTEN, __define, HandlerDefinition, Linked, Registered, Requirements};
pub use delivery::Delivery;
pub(crate) use delivery::{Among, AppContext, Shared};
pub use error::HandlerError;
pub(crate) use error::{FailureKind, Verdict};
pub use extract::{Attempt, FromDelivery, State};
pub use outcome::{IntoOutcome, Outcome};
pub(crate) use policy::ContentKey;
pub use policy::{Dedup, Jitter, Order, Policy, Retry};

pub use transaction::Transaction;

pub use tokio_util::sync::CancellationToken;
