//! More events, more partitions: nothing may grow with what was seen.

use super::noop::eventkit;
use super::{Workload, noop};
use crate::case::Case;
use crate::load::{Load, Scale};
use crate::report::{CPU, MEMORY, RATE};
use crate::rounds::Rounds;
use crate::verdict::Verdict;

const SMALL: &str = "100 k events";
const MIDDLE: &str = "1 M events, 8 partitions";
const LARGE: &str = "5 M events";
const MORE: &str = "1 M events, 64 partitions";
const MANY: &str = "1 M events, 512 partitions";

pub const WORKLOAD: Workload = Workload {
    name: "growth",
    about: "the handler that does nothing, on more and more",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let middle = noop::load(scale);
        let events = |millions_tenth: u64| sized(scale, millions_tenth * 100_000);
        vec![
            Case::new(SMALL, &events(1), eventkit),
            Case::new(MIDDLE, &middle, eventkit),
            Case::new(LARGE, &events(50), eventkit),
            Case::new(MORE, &middle.clone().partitions(64), eventkit),
            Case::new(MANY, &middle.clone().partitions(512), eventkit),
        ]
    },
    verdicts: |rounds| {
        let rate = |case| by_middle(rounds, case, RATE);
        let memory = |case| by_middle(rounds, case, MEMORY);
        vec![
            Verdict::at_least("events/s at 100 k, by 1 M", rate(SMALL), 0.9),
            Verdict::at_least("events/s at 5 M, by 1 M", rate(LARGE), 0.9),
            Verdict::at_least("events/s with 64 partitions, by 8", rate(MORE), 0.9),
            Verdict::at_least("events/s with 512 partitions, by 8", rate(MANY), 0.9),
            Verdict::at_most("memory at 5 M, by 1 M", memory(LARGE), 1.1),
            Verdict::at_most("memory with 512 partitions, by 8", memory(MANY), 1.1),
        ]
    },
};

fn sized(scale: Scale, events: u64) -> Load {
    Load::new("orders", scale.events(events), scale.keys(10_000))
}

fn by_middle(rounds: &Rounds, case: &str, figure: &str) -> Vec<f64> {
    rounds.ratio(case, MIDDLE, figure)
}
