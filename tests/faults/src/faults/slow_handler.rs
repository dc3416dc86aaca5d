use std::time::Instant;

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

const MAX_POLL_INTERVAL_MS: u64 = 2_000;

/// A handler may take as long as it likes: the membership does not hang on it.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "slow-handler", Kind::Plain, 4).await?;
    let mut orders = scene.orders();
    let slow = MAX_POLL_INTERVAL_MS * 3;
    orders.work_ms = (slow, slow);
    let limit = MAX_POLL_INTERVAL_MS.to_string();
    let properties = &mut orders.properties;
    properties.insert("max.poll.interval.ms".into(), limit.clone());
    // The shorter one must not be the longer one.
    if let Some(session) = properties.get_mut("session.timeout.ms") {
        *session = limit;
    }
    let mut workers = scene.workers_with(2, &orders).await?;
    scene.load(Plan {
        keys: 10_000,
        events: setting.either(60, 400),
        ..Plan::default()
    });
    let begun = Instant::now();
    scene.finishes().await?;
    scene.recovers(begun).await;
    for worker in &mut workers {
        let lost = worker.said().contains("assignment lost");
        scene.unless(!lost, "a worker lost its partitions to a slow handler");
    }
    scene.verdict().await
}
