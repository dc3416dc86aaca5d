use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// Longer than the session of 3 s.
const STOPPED: Duration = Duration::from_secs(6);

/// The others go on meanwhile; what wakes up has lost its partitions.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "sigstop", Kind::Once, 8).await?;
    let workers = scene.workers(3).await?;
    scene.load(Plan {
        keys: 200,
        per_second: 300,
        events: u64::MAX,
        copies: Some(20),
    });
    for _ in 0..setting.either(1, 10) {
        scene.flows(300).await?;
        let sleeper = scene.rng.within(0..3) as usize;
        let stopped = Instant::now();
        workers[sleeper].signal("STOP")?;
        let woken = async {
            tokio::time::sleep(STOPPED).await;
            workers[sleeper].signal("CONT")
        };
        let (woken, ()) = tokio::join!(woken, scene.recovers(stopped));
        woken?;
        // The sleeper takes part again, and nobody is the worse for it.
        scene.flows(600).await?;
    }
    scene.stops_and_finishes().await?;
    drop(workers);
    scene.verdict().await
}
