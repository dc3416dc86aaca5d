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
        per_second: 200,
        events: 100,
        copies: None,
    });
    let mut complaints = Vec::new();
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
            Ok(status) if status.success() => {
                complaints.push("a worker with unfinished work says that all is well".into());
            }
            Ok(_) => {}
            Err(error) => complaints.push(format!("the deadline passed: {error}")),
        }
        if signalled.elapsed() < SHUTDOWN {
            complaints.push("a worker did not wait for its handlers".into());
        }
    }
    let healed = Instant::now();
    orders.kind = Kind::Plain;
    let worker = scene.worker(&orders)?;
    scene.finishes().await?;
    scene.recovers(healed).await;
    drop(worker);
    let mut findings = scene.verdict().await?;
    findings.complaints.extend(complaints);
    Ok(findings)
}
