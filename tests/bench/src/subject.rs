//! eventkit's side: an App as a user would set it up, run until its handlers
//! have had everything.

use anyhow::{Context, Result};
use eventkit::{App, HandlerDefinition, Running, Settings};
use tokio::runtime::Runtime;

use crate::case::Job;
use crate::check::Check;
use crate::kafka;
use crate::report::Report;

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

/// Runs the App until the check has seen everything, then shuts it down.
pub fn run(app: App, check: &Check) -> Result<Report> {
    run_then(app, check, |_, _| Ok(()))
}

/// As [`run`], with a look at the running App before its end.
pub fn run_then(
    app: App,
    check: &Check,
    look: impl FnOnce(&Running, &mut Report) -> Result<()>,
) -> Result<Report> {
    let app = app.state(check.clone());
    runtime()?.block_on(async {
        let running = app.start().await.context("the App does not start")?;
        check.done().await;
        let mut report = Report::of(check);
        look(&running, &mut report)?;
        running
            .shutdown()
            .await
            .context("the App does not end in order")?;
        Ok(report)
    })
}
