//! Effects, notes and returned events in PostgreSQL, while consumers or the
//! database are hit.

use std::time::{Duration, Instant};

use eventkit_tests::{PostgresServer, TestInbox};

use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

pub(crate) async fn kill9(setting: Setting) -> anyhow::Result<Findings> {
    let server = PostgresServer::start().await;
    let mut scene = scene(&setting, &server, "inbox-kill9", 12).await?;
    let mut workers = scene.workers(3).await?;
    // Without an end, so that every kill has its load.
    scene.load(Plan {
        per_second: 400,
        copies: Some(10),
        ..Plan::default()
    });
    scene.kills(&mut workers, setting.either(2, 50)).await?;
    let events = setting.either(4_000, 200_000);
    let longest = Duration::from_secs(setting.either(60, 600));
    scene
        .until("enough is written", longest, |scene| {
            Ok(scene.written() >= events)
        })
        .await?;
    scene.stops_and_finishes().await?;
    ends(scene).await
}

pub(crate) async fn database_killed(setting: Setting) -> anyhow::Result<Findings> {
    let away = Duration::from_secs(setting.either(2, 5));
    hit(setting, "database-killed", async |server| {
        server.kill();
        tokio::time::sleep(away).await;
        server.start_again().await;
    })
    .await
}

pub(crate) async fn database_frozen(setting: Setting) -> anyhow::Result<Findings> {
    let still = Duration::from_secs(setting.either(5, 20));
    hit(setting, "database-frozen", async |server| {
        server.freeze();
        tokio::time::sleep(still).await;
        server.thaw();
    })
    .await
}

async fn hit(
    setting: Setting,
    name: &str,
    mut fault: impl AsyncFnMut(&mut PostgresServer),
) -> anyhow::Result<Findings> {
    let mut server = PostgresServer::start().await;
    let mut scene = scene(&setting, &server, name, 6).await?;
    let _workers = scene.workers(2).await?;
    let fault = async || {
        fault(&mut server).await;
        Ok(())
    };
    scene.withstands(setting.either(1, 8), fault).await?;
    ends(scene).await
}

async fn scene(
    setting: &Setting,
    server: &PostgresServer,
    name: &str,
    partitions: i32,
) -> anyhow::Result<Scene> {
    let setting = Setting {
        database: Some(server.url()),
        ..setting.clone()
    };
    Scene::new(&setting, name, Kind::Inbox, partitions).await
}

/// Every effect has its note, and its event was published.
async fn ends(mut scene: Scene) -> anyhow::Result<Findings> {
    let Some(inbox) = scene.inbox.clone() else {
        anyhow::bail!("a scene without a database");
    };
    let effects = inbox.effects().await;
    let (notes, left) = at_rest(&inbox).await;
    let published = inbox.published().by_key();
    let published: usize = published.values().map(Vec::len).sum();
    scene.unless(left == 0, format!("{left} events stay in the outbox"));
    scene.unless(
        notes == effects && published as i64 == effects,
        format!("{effects} effects, {notes} notes, {published} events published"),
    );
    let buried = scene.buried();
    scene.unless(buried == 0, format!("{buried} events are dead letters"));
    scene.verdict().await
}

/// The notes, and what is left in the outbox after some patience.
async fn at_rest(inbox: &TestInbox) -> (i64, i64) {
    let begun = Instant::now();
    while inbox.outbox.rows().await > 0 && begun.elapsed() < crate::scene::PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (inbox.notes().await, inbox.outbox.rows().await)
}
