use std::process::Command;
use std::time::{Duration, Instant};

use crate::load::Plan;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::servers::variable;
use crate::worker::Kind;

/// Two workers, whose clocks differ by an hour, share a dedup store and a group;
/// each is killed once in a while. A lease is a length, not a time of day.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "clocks", Kind::Once, 6).await?;
    let orders = scene.orders();
    let library = variable("EVENTKIT_FAKETIME")?;
    let start = |scene: &Scene, ahead: bool| {
        let mut command = Command::new(std::env::current_exe()?);
        if ahead {
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME", "+3600s")
                // It counts from the machine's start, on every machine.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        scene.worker_under(command, &orders)
    };
    let mut workers = [start(&scene, false)?, start(&scene, true)?];
    for worker in &mut workers {
        worker.says("partition assigned", PATIENCE).await?;
    }
    scene.load(Plan {
        copies: Some(5),
        ..Plan::default()
    });
    for round in 0..setting.either(2, 10) {
        scene.flows(300).await?;
        let killed = Instant::now();
        workers[round % 2].kill()?;
        scene.recovers(killed).await;
        workers[round % 2] = start(&scene, round % 2 == 1)?;
        workers[round % 2]
            .says("partition assigned", PATIENCE)
            .await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    scene.stops_and_finishes().await?;
    scene.verdict().await
}
