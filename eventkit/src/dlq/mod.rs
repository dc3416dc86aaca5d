//! Dead letters: what could not be handled, kept byte for byte with the story
//! of its failure, and the way back.
//!
//! The topic is `<topic>.<group>.dlq`. A dead letter has the original key,
//! payload and headers, in order, and `eventkit-…` headers behind them:
//!
//! | header | content |
//! |---|---|
//! | `eventkit-original-topic`, `-partition`, `-offset`, `-timestamp` | where it came from; the timestamp in ms since the epoch |
//! | `eventkit-group`, `eventkit-handler` | whose failure it is; no handler where the type was not known |
//! | `eventkit-error-kind` | `exhausted`, `rejected`, `undecodable`, `timeout` or `panic` |
//! | `eventkit-error-message` | the last error, at most 1 KiB, without payload |
//! | `eventkit-attempts` | how often the handler ran |
//! | `eventkit-first-failure-time`, `eventkit-last-failure-time` | RFC 3339 |
//! | `eventkit-replay-count` | how often it was replayed before |

mod letter;
mod replay;
mod story;

pub(crate) use letter::{DeadLetter, Failure, default_topic};
pub use replay::{ReplayReport, replay};
#[cfg(feature = "__fuzz")]
pub(crate) use story::Story;
