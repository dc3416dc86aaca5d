//! What is fuzzed: everything that reads bytes which others wrote.
//!
//! `tests/fuzz/run` fuzzes for a minute, led by coverage. The seeds in `corpus`
//! also run as ordinary tests.

#![allow(missing_docs)]

use eventkit::__fuzz;
use eventkit::prelude::*;

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = id)]
pub struct OrderPlaced {
    pub id: u64,
    pub lines: Vec<String>,
    pub note: Option<String>,
}

/// Takes any bytes and panics where a promise is broken.
pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 3] = [
    ("attributes", __fuzz::attributes),
    ("envelope", __fuzz::envelope::<OrderPlaced>),
    ("dead_letter", __fuzz::dead_letter),
];

/// The target of this name.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.unwrap_or_else(|| panic!("no fuzz target is named `{name}`"));
    *target
}
