use std::time::{Duration, Instant};

use crate::journal::What;
use crate::load::Plan;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::worker::Kind;

/// The deadline that the worker is given.
const SHUTDOWN: Duration = Duration::from_secs(2);
/// For the process to start ending and to end, after the deadline.
const SLACK: Duration = Duration::from_secs(6);

/// What did not return is not committed, and is done by the next process.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "sigterm-stuck", Kind::Stuck, 4).await?;
    let mut orders = scene.orders();
    orders.shutdown_ms = SHUTDOWN.as_millis() as u64;
    scene.load(Plan {
        keys: 20,
        events: 100,
        ..Plan::default()
    });
    for _ in 0..setting.either(1, 5) {
        let before = scene.entries()?.len();
        let mut worker = scene.worker(&orders)?;
        scene
            .until("handlers run", PATIENCE, |scene| {
                let entries = &scene.entries()?[before..];
                Ok(entries
                    .iter()
                    .filter(|entry| entry.what == What::Begun)
                    .count()
                    >= 10)
            })
            .await?;
        let signalled = Instant::now();
        worker.signal("TERM")?;
        match worker.ends(SHUTDOWN + SLACK).await {
            Ok(status) => scene.unless(
                !status.success(),
                "a worker with unfinished work says that all is well",
            ),
            Err(error) => scene.unless(false, format!("the deadline passed: {error}")),
        }
        scene.unless(
            signalled.elapsed() >= SHUTDOWN,
            "a worker did not wait for its handlers",
        );
    }
    let healed = Instant::now();
    orders.kind = Kind::Plain;
    let worker = scene.worker(&orders)?;
    scene.finishes().await?;
    scene.recovers(healed).await;
    drop(worker);
    scene.verdict().await
}
