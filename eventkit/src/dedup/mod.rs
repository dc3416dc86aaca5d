//! Dedup: one state machine that knows, for each handler and event, whether
//! the event is being handled, was handled, or was given up.
//!
//! ```text
//! absent ─claim─► claimed(token, lease) ─┬─ done         any further copy is a duplicate
//!    ▲                                   ├─ dead(round)  stands in the dead-letter topic
//!    └─────── release, lease ends ───────┘
//! dead(round) ─claim by a replay of a later round─► claimed
//! ```
//!
//! A claim ends with its lease, also when its process died; so a claim that is
//! neither marked nor given back leaves the event absent, whatever it was before.
//!
//! One effect per event, unless the process dies, or the handler is cut off when
//! its partition moves away or the App ends, between the effect and the
//! mark: then the effect happens twice. Only an inbox inside the effect's own
//! transaction closes that gap.

mod key;
#[cfg(test)]
mod machine;
mod memory;
#[cfg(feature = "redis")]
mod redis;

pub use key::DedupKey;
pub use memory::MemoryDedup;
#[cfg(feature = "redis")]
pub use redis::{RedisDedup, RedisStats};

use std::pin::Pin;
use std::time::Duration;

/// The answer of a [`DedupStore`], on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DedupError>> + Send + 'a>>;

/// Where the state machine is kept. All its steps are atomic per key.
///
/// A step that ends in an error may have happened all the same, and may still
/// happen later. Each can be asked for again: a claim that was granted without
/// our knowing ends with its lease, and the others answer the same token as
/// they did, or would have done, the first time.
pub trait DedupStore: Send + Sync + 'static {
    /// Asks for the right to handle an event, for the length of a lease.
    ///
    /// `round` is 0 for an original and the replay's count for a replay; a dead
    /// event is claimed only by a later round than the one that buried it.
    fn claim<'a>(&'a self, key: &'a DedupKey, round: u32, lease: Duration) -> Answer<'a, Claim>;

    /// Prolongs a lease. `false`: the claim is not ours any more.
    fn renew<'a>(&'a self, key: &'a DedupKey, token: Token, lease: Duration) -> Answer<'a, bool>;

    /// Marks the event as handled for `ttl`. `false`: the claim is not ours any
    /// more, and no mark was made with this token.
    fn complete<'a>(&'a self, key: &'a DedupKey, token: Token, ttl: Duration) -> Answer<'a, bool>;

    /// Marks the event as dead in `round`, for `ttl`. `false`: the claim is not
    /// ours any more, and no such mark was made with this token.
    fn bury<'a>(
        &'a self,
        key: &'a DedupKey,
        token: Token,
        round: u32,
        ttl: Duration,
    ) -> Answer<'a, bool>;

    /// Gives the claim back, without waiting for an answer: what does not
    /// arrive ends with its lease.
    fn release(&self, key: DedupKey, token: Token);

    /// Whether the store answers; what to warn about, in words.
    fn check(&self) -> Answer<'_, Vec<String>>;

    /// What it is, without secrets: `memory`, `redis://host:port`.
    fn describe(&self) -> String;
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Ours; handle the event.
    Claimed(Token),
    /// Handled before: a duplicate.
    Done,
    /// Given up before, in this round or a later one: a duplicate.
    Dead,
    /// Somebody handles it now, and must say so again within this time.
    InProgress(Duration),
}

/// Proves a claim. A claim whose lease ended and that somebody else took over
/// has another token, so the old one can mark nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u128);

impl Token {
    /// A token that nobody else holds.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u128())
    }

    /// Its number, for stores that keep it elsewhere.
    pub fn as_u128(self) -> u128 {
        self.0
    }
}

/// The store did not answer, or answered with an error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("dedup store {store}: {reason}")]
pub struct DedupError {
    store: String,
    reason: String,
}

impl DedupError {
    /// An error of the named store.
    pub fn new(store: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            reason: reason.into(),
        }
    }
}
