//! The workloads, one in each file: its load, its contenders, what is asked of
//! eventkit.

mod backlog;
mod dedup;
mod fan_out;
mod growth;
mod inbox;
mod io;
mod latency;
mod noop;
mod outbox_insert;
mod outbox_latency;
mod outbox_relay;
mod outbox_steady;
pub mod poison;
mod publish;
mod traced;

use anyhow::{Result, bail};

use crate::case::Case;
use crate::load::Scale;
use crate::rounds::Rounds;
use crate::verdict::Verdict;

#[derive(Clone)]
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// The figures worth showing.
    pub columns: &'static [&'static str],
    pub cases: fn(Scale) -> Vec<Case>,
    pub verdicts: fn(&Rounds) -> Vec<Verdict>,
}

const ALL: &[Workload] = &[
    noop::WORKLOAD,
    traced::WORKLOAD,
    io::WORKLOAD,
    io::ZIPF,
    dedup::WORKLOAD,
    poison::WORKLOAD,
    latency::WORKLOAD,
    publish::WORKLOAD,
    outbox_insert::WORKLOAD,
    outbox_relay::WORKLOAD,
    outbox_latency::WORKLOAD,
    outbox_steady::WORKLOAD,
    inbox::WORKLOAD,
    fan_out::WORKLOAD,
    growth::WORKLOAD,
    backlog::WORKLOAD,
];

/// The named ones in their usual order; all of them when none is named.
pub fn named(names: &[String]) -> Result<Vec<Workload>> {
    let known = |name: &String| ALL.iter().any(|workload| workload.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<_> = ALL.iter().map(|workload| workload.name).collect();
        bail!("no workload `{unknown}`; there are {}", all.join(", "));
    }
    let wanted =
        |workload: &&Workload| names.is_empty() || names.iter().any(|name| name == workload.name);
    Ok(ALL.iter().filter(wanted).cloned().collect())
}
