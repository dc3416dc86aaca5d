//! What the suite says: a line while it works, a table at the end, and JSON lines.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::arguments::Arguments;
use crate::faults::{Duplicates, Fault};
use crate::place;
use crate::scene::{Findings, Protocol};

pub(crate) struct Report {
    seed: u64,
    long: bool,
    lines: File,
    rows: Vec<[String; 11]>,
    complaints: Vec<String>,
}

const HEAD: [&str; 11] = [
    "fault",
    "protocol",
    "rounds",
    "events",
    "lost",
    "duplicate effects",
    "order violations",
    "commits past in-flight work",
    "commits back",
    "time to recover (median, worst)",
    "held",
];

impl Report {
    pub(crate) fn begin(arguments: &Arguments) -> anyhow::Result<Self> {
        let path = place::root().join("results.jsonl");
        let lines = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self {
            seed: arguments.seed,
            long: arguments.long,
            lines,
            rows: Vec::new(),
            complaints: Vec::new(),
        })
    }

    pub(crate) fn begins(&self, fault: &Fault, protocol: Protocol) {
        println!("{} ({}): {}", fault.name, protocol.name(), fault.what);
    }

    pub(crate) fn add(
        &mut self,
        fault: &Fault,
        protocol: Protocol,
        mut findings: Findings,
    ) -> anyhow::Result<()> {
        let verdict = findings.verdict.clone();
        let mut none = |count: usize, what: &str| {
            findings.unless(count == 0, format!("{count} {what}"));
        };
        none(verdict.lost, "events lost");
        none(verdict.disorder, "order violations");
        none(verdict.commits_past, "commits past in-flight work");
        none(verdict.commits_back, "commits that went back");
        if fault.duplicates == Duplicates::None {
            none(verdict.duplicates, "duplicate effects");
        }
        let held = findings.complaints.is_empty();
        findings.recovered.sort_unstable();
        let worst = findings.recovered.last();
        let median = findings.recovered.get(findings.recovered.len() / 2);
        let recovery = match (median, worst) {
            (Some(median), Some(worst)) => {
                format!(
                    "{:.1} s, {:.1} s",
                    median.as_secs_f64(),
                    worst.as_secs_f64()
                )
            }
            _ => "–".into(),
        };
        println!(
            "  {} after {:.1} s",
            if held { "held" } else { "BROKEN" },
            findings.took.as_secs_f64()
        );
        for complaint in &findings.complaints {
            println!("  {complaint}");
            let name = fault.name;
            self.complaints
                .push(format!("{name} ({}): {complaint}", protocol.name()));
        }
        let millis = |time: Option<&Duration>| time.map(|time| time.as_millis() as u64);
        let line = json!({
            "fault": fault.name,
            "protocol": protocol.name(),
            "long": self.long,
            "seed": self.seed,
            "rounds": findings.rounds,
            "events": verdict.events,
            "lost": verdict.lost,
            "duplicate_effects": verdict.duplicates,
            "order_violations": verdict.disorder,
            "commits_past_in_flight_work": verdict.commits_past,
            "commits_back": verdict.commits_back,
            "recover_median_ms": millis(median),
            "recover_worst_ms": millis(worst),
            "took_ms": findings.took.as_millis() as u64,
            "held": held,
            "complaints": findings.complaints,
        });
        writeln!(self.lines, "{line}")?;
        self.rows.push([
            fault.name.into(),
            protocol.name().into(),
            findings.rounds.to_string(),
            verdict.events.to_string(),
            verdict.lost.to_string(),
            verdict.duplicates.to_string(),
            verdict.disorder.to_string(),
            verdict.commits_past.to_string(),
            verdict.commits_back.to_string(),
            recovery,
            if held { "yes" } else { "NO" }.into(),
        ]);
        Ok(())
    }

    /// Prints the table; says whether everything held.
    pub(crate) fn end(&self) -> bool {
        let head = HEAD.map(str::to_owned);
        let width = |column: usize| {
            let rows = self.rows.iter().chain([&head]);
            rows.map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let print = |row: &[String; 11]| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            println!("| {} |", cells.join(" | "));
        };
        println!();
        print(&head);
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        println!("| {} |", rule.join(" | "));
        self.rows.iter().for_each(print);
        println!("\nseed {}", self.seed);
        for complaint in &self.complaints {
            println!("BROKEN: {complaint}");
        }
        self.complaints.is_empty()
    }
}
