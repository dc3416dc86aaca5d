//! Instructions per event, held to the figures in `expected.toml`.
//!
//! `tests/counts/run` runs `benches/counts.rs` under callgrind and gives what it
//! counted to this crate's program.

mod figures;
mod report;

pub use figures::Figures;
pub use report::Report;

/// Events of the shorter run.
pub const SHORT: usize = 2_500;
/// Events of the longer run.
pub const LONG: usize = 10_500;
