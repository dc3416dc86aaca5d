//! eventkit's side: an App as a user would set it up, run until its handlers
//! have had everything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use eventkit::{App, HandlerDefinition, Running, Settings};
use tokio::runtime::Runtime;

use crate::case::Job;
use crate::check::{Check, PATIENCE};
use crate::kafka;
use crate::report::{Report, SETTLED};

/// What `#[tokio::main]` makes.
pub fn runtime() -> Result<Runtime> {
    Ok(Runtime::new()?)
}

/// An App that takes nothing from files or the environment, its handlers on the
/// job's topic.
pub fn app(job: &Job, handlers: Vec<HandlerDefinition>) -> Result<App> {
    // A definition holds names for the program's whole life.
    let topic: &'static str = job.topic().leak();
    let handlers = handlers.into_iter().map(|mut handler| {
        handler.topic = topic;
        handler
    });
    Ok(App::new(&job.group)
        .settings(Settings::default())
        .bootstrap_servers(kafka::servers()?)
        .handlers(handlers))
}

/// Runs the App until every delivery of the load is settled, then shuts it down.
pub fn run(job: &Job, app: App, check: &Check) -> Result<Report> {
    runtime()?.block_on(run_here(job, app, check))
}

/// The same on the runtime that the caller is on.
pub async fn run_here(job: &Job, app: App, check: &Check) -> Result<Report> {
    let app = app.state(check.clone());
    let running = app.start().await.context("the App does not start")?;
    check.done().await;
    settled(&running, job.load().deliveries()).await;
    let mut report = Report::of(check);
    report.figure(SETTLED, check.since_first().as_secs_f64());
    running
        .shutdown()
        .await
        .context("the App does not end in order")?;
    Ok(report)
}

/// Waits until each handler has settled this many deliveries, or stands still.
pub async fn settled(running: &Running, deliveries: u64) {
    let mut before = 0;
    let mut heard = Instant::now();
    loop {
        let (mut all, mut sum) = (true, 0);
        for stats in running.stats() {
            let settled = stats.handled + stats.duplicates + stats.dead_letters;
            all &= settled >= deliveries;
            sum += settled;
        }
        if sum != before {
            (before, heard) = (sum, Instant::now());
        }
        if all || heard.elapsed() > PATIENCE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
