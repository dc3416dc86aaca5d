//! One event, up to eight handlers: what does each further one cost?

use std::sync::Arc;

use anyhow::{Context, Result};
use eventkit::HandlerDefinition;
use eventkit::prelude::*;

use super::Workload;
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report, SECONDS};
use crate::rounds::Rounds;
use crate::subject;
use crate::verdict::Verdict;

pub const WORKLOAD: Workload = Workload {
    name: "fan-out",
    about: "one topic, several handlers that do nothing in one App",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load = Load::new("orders", scale.events(200_000), scale.keys(10_000));
        vec![
            Case::new("1 handler", &load, |job| eventkit(job, 1)),
            Case::new("2 handlers", &load, |job| eventkit(job, 2)),
            Case::new("4 handlers", &load, |job| eventkit(job, 4)),
            Case::new("8 handlers", &load, |job| eventkit(job, 8)),
        ]
    },
    verdicts: |rounds| {
        vec![
            Verdict::at_most(
                "CPU of each further handler, by the first",
                further(rounds, CPU),
                0.15,
            ),
            Verdict::at_most(
                "time of each further handler, by the first",
                further(rounds, SECONDS),
                0.15,
            ),
        ]
    },
};

/// What seven more handlers cost, each, in parts of the first.
fn further(rounds: &Rounds, figure: &str) -> Vec<f64> {
    let ratio = rounds.ratio("8 handlers", "1 handler", figure);
    ratio.into_iter().map(|ratio| (ratio - 1.0) / 7.0).collect()
}

/// A check for each handler.
#[derive(Clone)]
struct Checks(Arc<[Check]>);

macro_rules! noop {
    ($($name:ident $number:literal),+) => {
        $(
            #[handler(event = "OrderPlaced.v1")]
            async fn $name(order: OrderPlaced, State(checks): State<Checks>) {
                checks.0[$number].handled(&order);
            }
        )+

        fn all() -> Vec<HandlerDefinition> {
            handlers![$($name),+]
        }
    };
}

noop!(first 0, second 1, third 2, fourth 3, fifth 4, sixth 5, seventh 6, eighth 7);

fn eventkit(job: &Job, handlers: usize) -> Result<Report> {
    let checks: Arc<[Check]> = (0..handlers).map(|_| Check::new(job.load())).collect();
    let handlers = all().into_iter().take(handlers).collect();
    let app = subject::app(job, handlers)?.state(Checks(checks.clone()));
    subject::runtime()?.block_on(async {
        let running = app.start().await.context("the App does not start")?;
        for check in checks.iter() {
            check.done().await;
        }
        let reports: Vec<_> = checks.iter().map(Report::of).collect();
        running
            .shutdown()
            .await
            .context("the App does not end in order")?;
        Ok(slowest(reports))
    })
}

/// The last to end, with the checks of all.
fn slowest(reports: Vec<Report>) -> Report {
    let seconds = |report: &Report| report.figures[SECONDS];
    let mut slowest = Report::default();
    for report in reports {
        let mut checks = report.checks.clone();
        for (name, value) in &slowest.checks {
            *checks.entry(name.clone()).or_default() += value;
        }
        if slowest.figures.is_empty() || seconds(&report) > seconds(&slowest) {
            slowest.figures = report.figures;
        }
        slowest.checks = checks;
    }
    slowest
}
