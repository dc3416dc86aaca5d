//! Dedup over Redis, where one delivery in six repeats an earlier event.

use anyhow::Result;
use eventkit::prelude::*;

use super::Workload;
use crate::baselines::redis::{self, Redis};
use crate::baselines::{inline, per_key};
use crate::case::{Case, Job};
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::load::Load;
use crate::report::{CPU, MEMORY, RATE, Report, SECONDS};
use crate::subject;
use crate::verdict::Verdict;

/// Redis commands for each delivery, those inside scripts included.
const COMMANDS: &str = "commands/event";

pub const WORKLOAD: Workload = Workload {
    name: "dedup",
    about: "claimed and marked in Redis, one delivery in six a duplicate",
    columns: &[RATE, CPU, MEMORY, COMMANDS],
    cases: |scale| {
        let load =
            Load::new("repeated", scale.events(200_000), scale.keys(10_000)).duplicate_every(6);
        vec![
            Case::new("eventkit", &load, eventkit),
            Case::new("pipelined", &load, pipelined),
            Case::new("naive", &load, naive),
        ]
    },
    verdicts: |rounds| {
        vec![
            Verdict::at_least(
                "events/s, by the naive loop",
                rounds.ratio("eventkit", "naive", RATE),
                5.0,
            ),
            Verdict::at_least(
                "events/s, by a task per key with a pipeline",
                rounds.ratio("eventkit", "pipelined", RATE),
                1.2,
            ),
        ]
    },
};

#[handler(event = "OrderPlaced.v1", dedup(ttl = "1h"))]
async fn once(order: OrderPlaced, State(check): State<Check>) {
    check.handled(&order);
}

fn eventkit(job: &Job) -> Result<Report> {
    let app = subject::app(job, handlers![once])?.redis_url(redis::url()?);
    measured(job, |check| subject::run(job, app, check))
}

fn naive(job: &Job) -> Result<Report> {
    measured(job, |check| {
        subject::runtime()?.block_on(async {
            let redis = Redis::connect().await?;
            inline::consume(job, async |order| {
                check.begun();
                if redis.mark_first(&order).await? {
                    check.handled(&order);
                }
                Ok(())
            })
            .await
        })?;
        Ok(Report::of(check))
    })
}

fn pipelined(job: &Job) -> Result<Report> {
    measured(job, |check| {
        subject::runtime()?.block_on(async {
            let redis = Redis::connect().await?;
            let check = check.clone();
            let handler = move |order| claimed(redis.clone(), check.clone(), order);
            per_key::consume(job, handler).await
        })?;
        Ok(Report::of(check))
    })
}

async fn claimed(redis: Redis, check: Check, order: OrderPlaced) {
    check.begun();
    // A failure would show as a lost event.
    if let Ok(true) = redis.claim(&order).await {
        check.handled(&order);
        let _ = redis.done(&order).await;
    }
}

/// Counts the server's commands, and deliveries instead of events.
fn measured(job: &Job, run: impl FnOnce(&Check) -> Result<Report>) -> Result<Report> {
    let commands = |empty: bool| {
        subject::runtime()?.block_on(async {
            let redis = Redis::connect().await?;
            if empty {
                redis.empty().await?;
            }
            redis.commands().await
        })
    };
    let deliveries = job.load().deliveries();
    let before = commands(true)?;
    let mut report = run(&Check::new(job.load()))?;
    let carried_out = commands(false)? - before;
    report.figure(COMMANDS, carried_out as f64 / deliveries as f64);
    report.figure(RATE, deliveries as f64 / report.figures[SECONDS]);
    Ok(report)
}
