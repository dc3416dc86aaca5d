use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// Without dedup, so that every second delivery shows as a second effect.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "sigterm", Kind::Plain, 8).await?;
    let mut orders = scene.orders();
    orders.work_ms = (0, 300);
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(scene.worker(&orders)?);
    }
    for worker in &mut workers {
        worker
            .says("partition assigned", Duration::from_secs(30))
            .await?;
    }
    // Every second delivery would be one too many, so the load begins when the
    // group is whole, and the group is whole again before the next signal.
    scene.load(Plan {
        keys: 400,
        per_second: 300,
        events: u64::MAX,
        copies: None,
    });
    let mut complaints = Vec::new();
    for round in 0..setting.either(2, 20) {
        scene.flows(300).await?;
        let signalled = Instant::now();
        workers[round % 2].signal("TERM")?;
        let status = workers[round % 2].ends(Duration::from_secs(20)).await?;
        if !status.success() {
            complaints.push(format!("a worker ended with {status}"));
        }
        scene.recovers(signalled).await;
        workers[round % 2] = scene.worker(&orders)?;
        workers[round % 2]
            .says("partition assigned", Duration::from_secs(30))
            .await?;
    }
    scene.stops_and_finishes().await?;
    let mut findings = scene.verdict().await?;
    findings.complaints.extend(complaints);
    Ok(findings)
}
