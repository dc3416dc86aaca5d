use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

const STEP: Duration = Duration::from_millis(500);

/// One member stays; every half second another one comes, or the oldest of the
/// others is told to leave.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "churn", Kind::Once, 8).await?;
    let orders = scene.orders();
    let _stays = scene.workers(1).await?;
    scene.load(Plan {
        copies: Some(20),
        ..Plan::default()
    });
    scene.flows(100).await?;
    let mut guests = std::collections::VecDeque::new();
    let mut leaving = Vec::new();
    for _ in 0..setting.either(16, 120) {
        tokio::time::sleep(STEP).await;
        let comes = guests.is_empty() || (guests.len() < 4 && scene.rng.within(0..2) == 0);
        if comes {
            guests.push_back(scene.worker(&orders)?);
        } else if let Some(guest) = guests.pop_front() {
            guest.signal("TERM")?;
            leaving.push(guest);
        }
    }
    let calm = Instant::now();
    scene.recovers(calm).await;
    for guest in &mut leaving {
        // One that was told before it listened ends by the signal itself.
        guest.ends(Duration::from_secs(20)).await?;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}
