use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// The broker deletes what a stopped group has not read. Nobody can bring it
/// back; that it is gone, and how much, must be said.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "deleted", Kind::Plain, 1).await?;
    for round in 0..setting.either(1, 5) {
        let mut worker = scene.workers(1).await?.remove(0);
        scene.load(Plan {
            first_key: round * 1_000,
            events: 300,
            per_second: 1_000,
            ..Plan::default()
        });
        scene.finishes().await?;
        worker.signal("TERM")?;
        worker.ends(Duration::from_secs(20)).await?;
        let read = scene.committed()[&0];

        scene.load(Plan {
            first_key: round * 1_000 + 500,
            events: 300,
            per_second: 1_000,
            ..Plan::default()
        });
        scene.load_ends().await?;
        let gone = scene.rng.within(50..250) as i64;
        scene
            .admin
            .delete_records(&scene.topic, 0, read + gone)
            .await;
        let deleted = read..read + gone;
        scene
            .acknowledged
            .retain(|written| !deleted.contains(&written.offset));
        let begun = Instant::now();
        let mut worker = scene.workers(1).await?.remove(0);
        scene.finishes().await?;
        scene.recovers(begun).await;
        let report = format!("{gone} records were deleted");
        let said = worker.says(&report, Duration::from_secs(5)).await;
        scene.unless(said.is_ok(), format!("no word of `{report}`"));
    }
    scene.verdict().await
}
