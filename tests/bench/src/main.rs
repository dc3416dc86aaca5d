//! The benchmark: eventkit and hand-written loops on the same topics, in turn.
//!
//! `tests/bench/run` starts the servers and this program; `contender` runs one
//! case once, in a process of its own, so that CPU time and memory are its own.

#![allow(missing_docs)]

mod arguments;
mod arrivals;
mod baselines;
mod case;
mod check;
mod database;
mod event;
mod fill;
mod kafka;
mod load;
mod report;
mod rounds;
mod subject;
mod table;
mod usage;
mod verdict;
mod workloads;

use std::process::ExitCode;

use anyhow::Result;

use arguments::Arguments;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every row counts.
fn run() -> Result<bool> {
    match Arguments::parse(std::env::args().skip(1))? {
        Arguments::Contender(job) => job.run().map(|()| true),
        Arguments::Bench {
            scale,
            rounds,
            workloads,
        } => rounds::run_all(&workloads, scale, rounds),
    }
}
