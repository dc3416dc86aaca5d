//! A process that takes effect through an inbox.

use eventkit::handlers;
use eventkit::inbox::Tx;
use eventkit::prelude::*;
use eventkit_tests::{Step, TestInbox, on};
use sqlx::Postgres;

/// Where the handler stops and says so, for whoever kills the process.
#[derive(Clone)]
struct StopAt(String);

/// `inbox <schema> <topic> <where to stop>`
pub(crate) async fn run(schema: &str, topic: &str, stop_at: &str) -> anyhow::Result<()> {
    let inbox = TestInbox::open(schema, topic).await;
    let app = inbox.app().state(StopAt(stop_at.to_owned()));
    app.handlers(on(topic, handlers![take_effect]))
        .run()
        .await?;
    Ok(())
}

#[handler(event = "Step.v1", inbox)]
async fn take_effect(
    step: Step,
    Tx(tx): Tx<Postgres>,
    State(inbox): State<TestInbox>,
    State(stop_at): State<StopAt>,
) -> sqlx::Result<Step> {
    inbox.effect(tx, &step).await?;
    if stop_at.0 == "effect" {
        println!("reached");
        std::future::pending::<()>().await;
    }
    Ok(step)
}
