use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Protocol, Scene, Setting};
use crate::worker::Kind;

/// Longer than the lease, shorter than the session.
const STOPPED: Duration = Duration::from_secs(4);

/// A worker stands still in the midst of its handlers until their claims have
/// ended, while copies of the events reach another worker over other partitions.
/// Both then have the event's effect: what a lease cannot prevent.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "lease", Kind::Once, 6).await?;
    let mut orders = scene.orders();
    orders.lease_ms = 1_000;
    orders.work_ms = (300, 600);
    if setting.protocol == Protocol::Cooperative {
        let session = ("session.timeout.ms".into(), "20000".into());
        orders.properties.extend([session]);
    }
    let workers = scene.workers_with(2, &orders).await?;
    scene.load(Plan {
        // Nearly every event has a key of its own: copies keep no order.
        keys: 100_000_000,
        copies: Some(2),
        scattered: Some(6),
        ..Plan::default()
    });
    for round in 0..setting.either(1, 8) {
        scene.flows(200).await?;
        let stopped = Instant::now();
        workers[round % 2].signal("STOP")?;
        tokio::time::sleep(STOPPED).await;
        workers[round % 2].signal("CONT")?;
        scene.recovers(stopped).await;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}
