//! A handler that does nothing: what the delivery itself costs.

use anyhow::Result;
use eventkit::prelude::*;

use super::Workload;
#[cfg(feature = "rival")]
use crate::baselines::rival;
use crate::baselines::{bare, defaults};
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::load::{Load, Scale};
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::rounds::Rounds;
use crate::subject;
use crate::verdict::Verdict;

pub const WORKLOAD: Workload = Workload {
    name: "noop",
    about: "typed decode and full delivery, no dedup, tracing off",
    columns: &[RATE, CPU, MEMORY],
    cases,
    verdicts,
};

pub fn load(scale: Scale) -> Load {
    Load::new("orders", scale.events(1_000_000), scale.keys(10_000))
}

fn cases(scale: Scale) -> Vec<Case> {
    let load = load(scale);
    vec![
        Case::new("eventkit", &load, eventkit),
        Case::new("bare", &load, bare::run),
        Case::new("bare, by type", &load, bare::run_by_type),
        Case::new("defaults", &load, defaults::run),
        #[cfg(feature = "rival")]
        Case::new("ruststream", &load, rival::noop_run),
    ]
}

fn verdicts(rounds: &Rounds) -> Vec<Verdict> {
    vec![
        #[cfg(feature = "rival")]
        Verdict::at_least(
            "events/s, by ruststream",
            rounds.ratio("eventkit", "ruststream", RATE),
            1.0,
        ),
        Verdict::at_least(
            "events per CPU second, by the bare loop",
            rounds.ratio("bare", "eventkit", CPU),
            0.9,
        ),
        Verdict::at_least(
            "events/s, by the bare loop",
            rounds.ratio("eventkit", "bare", RATE),
            1.0,
        ),
        Verdict::at_least(
            "events/s, by the default loop",
            rounds.ratio("eventkit", "defaults", RATE),
            2.5,
        ),
        Verdict::at_most(
            "memory, by the bare loop",
            rounds.ratio("eventkit", "bare", MEMORY),
            1.5,
        ),
    ]
}

#[handler(event = "OrderPlaced.v1")]
async fn noop(order: OrderPlaced, State(check): State<Check>) {
    check.handled(&order);
}

pub fn eventkit(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    subject::run(job, subject::app(job, handlers![noop])?, &check)
}
