//! Handlers that wait 5 ms, as for a database: how many keys run side by side?

use std::time::Duration;

use anyhow::Result;
use eventkit::prelude::*;

use super::Workload;
#[cfg(feature = "rival")]
use crate::baselines::rival;
use crate::baselines::{per_key, per_partition};
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::load::{Load, Scale};
use crate::report::{CPU, MEMORY, RATE, Report};
use crate::rounds::Rounds;
use crate::subject;
use crate::verdict::Verdict;

const WAIT: Duration = Duration::from_millis(5);

pub const WORKLOAD: Workload = Workload {
    name: "io",
    about: "5 ms of waiting each, order for each key",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        let load = load(scale);
        vec![
            Case::new("eventkit", &load, eventkit),
            Case::new("task per key", &load, by_key),
            #[cfg(feature = "rival")]
            Case::new("ruststream", &load, rival::wait_run),
        ]
    },
    verdicts: |rounds| {
        vec![
            by_task_per_key(rounds),
            #[cfg(feature = "rival")]
            Verdict::at_least(
                "events/s, by ruststream",
                rounds.ratio("eventkit", "ruststream", RATE),
                1.0,
            ),
        ]
    },
};

pub const ZIPF: Workload = Workload {
    name: "io-zipf",
    about: "the same with keys as often as Zipf's law says, exponent 1.1",
    columns: &[RATE, CPU, MEMORY],
    cases: |scale| {
        // One key has every sixth event: all the others pass it by, or wait.
        let load = Load::new("zipf", scale.events(20_000), scale.keys(10_000)).zipf(1.1);
        // A tenth is enough for the rate of a loop that is this slow.
        let less = Load::new("zipf", scale.events(2_000), scale.keys(10_000)).zipf(1.1);
        vec![
            Case::new("eventkit", &load, eventkit),
            Case::new("task per key", &load, by_key),
            Case::new("task per partition", &less, by_partition),
        ]
    },
    verdicts: |rounds| {
        let ordered = rounds.ratio("eventkit", "task per partition", RATE);
        vec![
            by_task_per_key(rounds),
            Verdict::at_least("events/s, by a task per partition", ordered, 1.0),
        ]
    },
};

fn load(scale: Scale) -> Load {
    Load::new("keys", scale.events(40_000), scale.keys(10_000))
}

fn by_task_per_key(rounds: &Rounds) -> Verdict {
    let ratio = rounds.ratio("eventkit", "task per key", RATE);
    Verdict::at_least("events/s, by a task per key", ratio, 0.95)
}

#[handler(event = "OrderPlaced.v1")]
async fn wait(order: OrderPlaced, State(check): State<Check>) {
    work(order, check).await;
}

async fn work(order: OrderPlaced, check: Check) {
    check.begun();
    tokio::time::sleep(WAIT).await;
    check.handled(&order);
}

fn eventkit(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    subject::run(job, subject::app(job, handlers![wait])?, &check)
}

fn by_key(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    let handler = {
        let check = check.clone();
        move |order| work(order, check.clone())
    };
    subject::runtime()?.block_on(per_key::consume(job, handler))?;
    Ok(Report::of(&check))
}

fn by_partition(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    let handler = {
        let check = check.clone();
        move |order| work(order, check.clone())
    };
    subject::runtime()?.block_on(per_partition::consume(job, handler))?;
    Ok(Report::of(&check))
}
