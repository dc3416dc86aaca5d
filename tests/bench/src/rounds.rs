//! Runs the contenders in turn, several times, and keeps what they report.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::case::{Case, Job};
use crate::load::Scale;
use crate::report::Report;
use crate::workloads::Workload;
use crate::{fill, table};

/// All reports of one workload.
pub struct Rounds {
    pub cases: Vec<(String, Vec<Report>)>,
}

impl Rounds {
    pub fn figures(&self, case: &str, figure: &str) -> Vec<f64> {
        self.of(case)
            .iter()
            .filter_map(|report| report.figures.get(figure).copied())
            .collect()
    }

    /// One case's figure by another's, in each round.
    pub fn ratio(&self, case: &str, by: &str, figure: &str) -> Vec<f64> {
        let (these, those) = (self.figures(case, figure), self.figures(by, figure));
        these
            .iter()
            .zip(those)
            .map(|(this, that)| this / that)
            .collect()
    }

    /// Whether nothing was lost, repeated, disordered or left uncommitted.
    pub fn count(&self) -> bool {
        self.cases
            .iter()
            .all(|(_, reports)| reports.iter().all(Report::counts))
    }

    fn of(&self, case: &str) -> &[Report] {
        self.cases
            .iter()
            .find(|(name, _)| name == case)
            .map_or(&[], |(_, reports)| reports)
    }
}

/// Runs and prints the workloads; whether every row counts.
pub fn run_all(workloads: &[Workload], scale: Scale, rounds: usize) -> Result<bool> {
    let mut log = results()?;
    let mut all_count = true;
    for workload in workloads {
        let result = run(workload, scale, rounds, &mut log)
            .with_context(|| format!("workload {}", workload.name))?;
        table::print(workload, &result, scale);
        all_count &= result.count();
    }
    Ok(all_count)
}

fn run(workload: &Workload, scale: Scale, rounds: usize, log: &mut File) -> Result<Rounds> {
    let cases = (workload.cases)(scale);
    let mut result = Rounds {
        cases: cases
            .iter()
            .map(|case| (case.name.clone(), Vec::new()))
            .collect(),
    };
    for round in 0..rounds {
        for (place, Case { name, load, .. }) in turns(&cases, round) {
            if !load.fresh {
                fill::ensure_filled(load)?;
            }
            let report = Job::new(workload.name, name, scale, None)?.run_apart()?;
            let line = json!({
                "workload": workload.name,
                "case": name,
                "round": round,
                "short": scale == Scale::Short,
                "figures": report.figures,
                "checks": report.checks,
            });
            writeln!(log, "{line}")?;
            result.cases[place].1.push(report);
        }
    }
    Ok(result)
}

/// Each round begins with another case, so that none always follows the same.
fn turns(cases: &[Case], round: usize) -> impl Iterator<Item = (usize, &Case)> {
    let start = round % cases.len();
    let order = (start..cases.len()).chain(0..start);
    order.map(|place| (place, &cases[place]))
}

fn results() -> Result<File> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("results.jsonl");
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())
}
