use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// With dedup; the only effects that may come twice are those of handlers that
/// ran in the killed process.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "kill9", Kind::Once, 12).await?;
    let mut workers = scene.workers(3).await?;
    scene.load(Plan {
        keys: 200,
        per_second: setting.either(400, 600),
        events: setting.either(6_000, 200_000),
        copies: Some(10),
    });
    scene.flows(300).await?;
    for _ in 0..setting.either(2, 50) {
        let rest = scene.rng.within(200..1_200);
        tokio::time::sleep(Duration::from_millis(rest)).await;
        let victim = scene.rng.within(0..3) as usize;
        let killed = Instant::now();
        workers[victim].kill()?;
        scene.recovers(killed).await;
        workers[victim] = scene.workers(1).await?.remove(0);
    }
    scene.finishes().await?;
    scene.verdict().await
}
