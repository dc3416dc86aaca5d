use std::time::Instant;

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// Keys move when partitions are added, so those of the second load are new.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut findings = Vec::new();
    for _ in 0..setting.either(1, 3) {
        let mut scene = Scene::new(&setting, "partitions-added", Kind::Plain, 4).await?;
        let _workers = scene.workers(2).await?;
        scene.load(Plan::default());
        scene.flows(200).await?;
        let topic = scene.topic.clone();
        scene.admin.grow(&topic, 8).await;
        // A writer that knows of them.
        let begun = Instant::now();
        scene.load(Plan {
            first_key: 1_000,
            ..Plan::default()
        });
        scene.recovers(begun).await;
        scene.stops_and_finishes().await?;
        // Of the new ones, those that have events; that they are committed to
        // their end was awaited above.
        let added = scene.committed().into_keys().filter(|it| *it >= 4).count();
        scene.unless(added > 0, "no partition that was added is committed");
        findings.push(scene.verdict().await?);
    }
    Ok(findings
        .into_iter()
        .reduce(Findings::and)
        .unwrap_or_default())
}
