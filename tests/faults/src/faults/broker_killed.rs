use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::servers::Cluster;
use crate::worker::Kind;

/// Any of three brokers: leader of some partitions, perhaps the coordinator.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut cluster = Cluster::start("three", 3).await?;
    let servers = cluster.servers();
    let mut scene = Scene::on(&setting, &servers, "broker-killed", Kind::Once, 6, &[]).await?;
    let _workers = scene.workers(2).await?;
    scene.load(Plan {
        copies: Some(20),
        ..Plan::default()
    });
    for _ in 0..setting.either(1, 8) {
        scene.flows(300).await?;
        let broker = scene.rng.within(0..3) as usize;
        let killed = Instant::now();
        cluster.kill(broker);
        // Two of three go on by themselves.
        scene.recovers(killed).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.start_again(broker).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}
