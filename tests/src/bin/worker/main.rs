//! A service that tests start, signal and kill.
//!
//! `worker <handler> --group … --topic … --results …` runs one handler, whose
//! effects go to a Redis list; `worker trace <service>` runs one of the services
//! that one order passes through; `worker relay …` and `worker write …` are the
//! two sides of an outbox; `worker inbox …` is a service with an inbox.

#![allow(missing_docs)]

mod handlers;
mod inbox;
mod outbox;
mod trace;

use std::time::Duration;

use eventkit::{App, handlers};
use eventkit_tests::{app, on, redis_url};
use handlers::Results;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((what, rest)) if what == "trace" => trace::run(&rest[0], &rest[1]).await?,
        Some((what, rest)) if what == "relay" => {
            let _telemetry = eventkit::telemetry::init("relay")?;
            outbox::relay(&rest[0], &rest[1]).await?;
        }
        Some((what, rest)) if what == "write" => {
            outbox::write(&rest[0], &rest[1], &rest[2], &rest[3]).await?;
        }
        Some((what, rest)) if what == "inbox" => {
            let _telemetry = eventkit::telemetry::init("inbox")?;
            inbox::run(&rest[0], &rest[1]).await?;
        }
        Some((handler, rest)) => {
            let _telemetry = eventkit::telemetry::init("worker")?;
            service(handler, rest).await.run().await?;
        }
        None => panic!("worker <handler> --group … --topic … --results …"),
    }
    Ok(())
}

async fn service(handler: &str, arguments: &[String]) -> App {
    let handlers = match handler {
        "record" => handlers![handlers::record],
        "slow" => handlers![handlers::slow],
        "stuck" => handlers![handlers::stuck],
        "stuck_blocking" => handlers![handlers::stuck_blocking],
        other => panic!("no handler {other}"),
    };
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned()
    };
    let needed = |name: &str| value(name).unwrap_or_else(|| panic!("{name} is missing"));
    let results = Results::open(&needed("--results")).await;
    let mut app = app(&needed("--group"))
        .redis_url(redis_url())
        .handlers(on(needed("--topic"), handlers))
        .state(results)
        .kafka("session.timeout.ms", "6000")
        .kafka("heartbeat.interval.ms", "500");
    if let Some(seconds) = value("--shutdown-timeout") {
        let seconds = seconds.parse().expect("a number of seconds");
        app = app.shutdown_timeout(Duration::from_secs(seconds));
    }
    app
}
