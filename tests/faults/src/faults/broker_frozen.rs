use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::servers::Cluster;
use crate::worker::Kind;

/// The deadline that the worker is given, and what it may take beyond.
const SHUTDOWN: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(5);

/// A broker that does not answer must not hold up the end of a process.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let cluster = Cluster::start("frozen", 1).await?;
    let servers = cluster.servers();
    let mut scene = Scene::on(&setting, &servers, "broker-frozen", Kind::Once, 4, &[]).await?;
    let mut orders = scene.orders();
    orders.shutdown_ms = SHUTDOWN.as_millis() as u64;
    let frozen_for = Duration::from_secs(setting.either(12, 60));
    for _ in 0..setting.either(1, 2) {
        let mut worker = scene.workers_with(1, &orders).await?.remove(0);
        scene.load(Plan {
            first_key: scene.written() as u32,
            ..Plan::default()
        });
        scene.flows(300).await?;
        let frozen = Instant::now();
        cluster.freeze(0)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.signal("TERM")?;
        match worker.ends(SHUTDOWN + SLACK).await {
            Ok(_) => {}
            Err(error) => scene.unless(false, format!("the deadline passed: {error}")),
        }
        tokio::time::sleep(frozen_for.saturating_sub(frozen.elapsed())).await;
        cluster.thaw(0)?;
        let thawed = Instant::now();
        scene.stop_load().await?;
        let _next = scene.workers_with(1, &orders).await?;
        scene.recovers(thawed).await;
        scene.finishes().await?;
    }
    scene.verdict().await
}
