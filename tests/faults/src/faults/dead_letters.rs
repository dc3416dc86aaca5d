use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// One event in ten is poison. Its key's next events go on, its offset does not.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "dead-letters", Kind::Poison, 4).await?;
    let letters = scene.letters();
    let unwritable = Duration::from_secs(setting.either(8, 30));
    let mut workers = scene.workers(2).await?;
    scene.load(Plan {
        per_second: 150,
        ..Plan::default()
    });
    for _ in 0..setting.either(1, 4) {
        scene.flows(200).await?;
        let begun = Instant::now();
        scene
            .admin
            .alter(&letters, &[("max.message.bytes", "100")])
            .await;
        tokio::time::sleep(unwritable / 3).await;
        let victim = scene.rng.within(0..2) as usize;
        workers[victim].kill()?;
        tokio::time::sleep(unwritable / 3).await;
        workers[victim] = scene.worker(&scene.orders())?;
        tokio::time::sleep(unwritable / 3).await;
        scene.admin.alter(&letters, &[]).await;
        scene.recovers(begun).await;
    }
    scene.stops_and_finishes().await?;
    let poison = scene.acknowledged.read(|written| {
        let events = written.iter().map(|written| written.event);
        events
            .filter(|event| crate::worker::is_poison(*event))
            .count()
    });
    let buried = scene.buried();
    scene.unless(
        buried == poison,
        format!("{poison} events are poison, {buried} stand in the dead-letter topic"),
    );
    scene.verdict().await
}
