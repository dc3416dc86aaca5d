//! A service with an inbox, that stops at the point where the test kills it.

use eventkit::handlers;
use eventkit::inbox::Tx;
use eventkit::prelude::*;
use eventkit_tests::{By, Reserved, Step, TestInbox, database_url};
use sqlx::Postgres;

/// Whether the handler never returns once it has had its effect.
#[derive(Clone)]
struct Stuck(bool);

#[handler(event = "Step.v1", inbox, order = none)]
async fn reserve(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(by): State<By>,
    State(Stuck(stuck)): State<Stuck>,
) -> sqlx::Result<Reserved> {
    let reserved = TestInbox::reserve(tx, &step, &by).await?;
    if stuck {
        println!("reached");
        return std::future::pending().await;
    }
    Ok(reserved)
}

/// `inbox <name> <how>`: `effect` stops after the effect, `late` commits no
/// offsets, `plain` does neither.
pub(crate) async fn run(name: &str, how: &str) -> anyhow::Result<()> {
    let inbox = TestInbox::open(&database_url(), name).await;
    let by = std::process::id().to_string();
    let mut app = inbox
        .app(&by, handlers![reserve])
        .state(Stuck(how == "effect"))
        .kafka("session.timeout.ms", "6000")
        .kafka("heartbeat.interval.ms", "500");
    if how == "late" {
        app = app.kafka("auto.commit.interval.ms", "600000");
    }
    Ok(app.run().await?)
}
