use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::load::Plan;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::worker::Kind;

/// A guest that handles nothing takes partitions and leaves at once, so they
/// come back while what ran in them is still being finished. Without dedup: each
/// second delivery shows.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "bounce", Kind::Plain, 8).await?;
    let mut orders = scene.orders();
    orders.work_ms = (0, 200);
    let _worker = scene.workers_with(1, &orders).await?;
    scene.load(Plan {
        keys: 400,
        ..Plan::default()
    });
    scene.flows(200).await?;
    for _ in 0..setting.either(4, 40) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &orders.servers);
        config.set("group.id", &orders.group);
        config.set("enable.auto.commit", "false");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        for (name, value) in &orders.properties {
            config.set(name, value);
        }
        if config.get("group.protocol") == Some("consumer") {
            config.remove("partition.assignment.strategy");
        }
        let topic = orders.topic.clone();
        // librdkafka waits where this runtime must not.
        tokio::task::spawn_blocking(move || visit(&config, &topic)).await??;
        scene.recovers(Instant::now()).await;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}

/// Joins, leaves as soon as there is an assignment.
fn visit(config: &ClientConfig, topic: &str) -> anyhow::Result<()> {
    let guest: BaseConsumer = config.create()?;
    guest.subscribe(&[topic])?;
    let start = Instant::now();
    while guest.assignment()?.count() == 0 {
        let _ = guest.poll(Duration::from_millis(10));
        anyhow::ensure!(start.elapsed() < PATIENCE, "the guest gets no partition");
    }
    Ok(())
}
