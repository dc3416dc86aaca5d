use std::time::{Duration, Instant};

use crate::child::Child;
use crate::load::Plan;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::worker::Kind;

/// One of the two must go, and say why; the other one does all the work. Which
/// one it is depends on the protocol.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "static-id", Kind::Once, 4).await?;
    let mut orders = scene.orders();
    let id = ("group.instance.id".into(), "the-same".into());
    orders.properties.extend([id]);
    let mut workers = scene.workers_with(1, &orders).await?;
    scene.load(Plan::default());
    for _ in 0..setting.either(1, 5) {
        scene.flows(200).await?;
        let begun = Instant::now();
        workers.push(scene.worker(&orders)?);
        let gone = first_to_end(&mut workers).await?;
        scene.unless(
            gone.said().contains("group.instance.id"),
            "the process that ended does not say which setting it was",
        );
        scene.recovers(begun).await;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}

async fn first_to_end(workers: &mut Vec<Child>) -> anyhow::Result<Child> {
    let start = Instant::now();
    loop {
        for index in 0..workers.len() {
            if let Some(status) = workers[index].ended()? {
                anyhow::ensure!(!status.success(), "a refused process ends with success");
                return Ok(workers.remove(index));
            }
        }
        anyhow::ensure!(start.elapsed() < PATIENCE, "both stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
