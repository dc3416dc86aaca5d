use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::child::Child;
use crate::load::Plan;
use crate::scene::{Findings, PATIENCE, Scene, Setting};
use crate::servers::variable;
use crate::worker::Kind;

/// Two workers, whose clocks differ by an hour, share a dedup store and a group;
/// each is killed once in a while. A lease is a length, not a time of day.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "clocks", Kind::Once, 6).await?;
    let orders = scene.orders();
    let library = variable("EVENTKIT_AHEAD")?;
    let start = |scene: &Scene, ahead: bool| {
        let mut command = Command::new(std::env::current_exe()?);
        if ahead {
            command.env("LD_PRELOAD", &library);
        }
        scene.worker_under(command, &orders)
    };
    let mut workers = [start(&scene, false)?, start(&scene, true)?];
    for worker in &mut workers {
        worker.says("partition assigned", PATIENCE).await?;
    }
    let dates = [hour(&workers[0])?, hour(&workers[1])?];
    anyhow::ensure!(dates[0] != dates[1], "the clocks do not differ");
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

/// The hour that a worker's first line says it is.
fn hour(worker: &Child) -> anyhow::Result<String> {
    let said = worker.said();
    let (before, _) = said.split_once(':').context("a line with a time")?;
    Ok(before.to_owned())
}
