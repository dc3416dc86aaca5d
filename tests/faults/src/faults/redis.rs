//! The dedup store fails in every way that it has. Deliveries wait, and go on.

use std::time::Duration;

use eventkit_tests::RedisServer;

use crate::scene::{Findings, Scene, Setting};
use crate::servers::{Mood, Proxy};
use crate::worker::Kind;

/// Longer than a lease.
const AWAY: Duration = Duration::from_secs(5);

pub(crate) async fn killed(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-killed", async |stage| {
        stage.redis.stop();
        tokio::time::sleep(AWAY).await;
        stage.redis.start_again().await;
        Ok(())
    })
    .await
}

pub(crate) async fn restarted(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-restarted", async |stage| {
        stage.redis.stop();
        stage.redis.start_again().await;
        Ok(())
    })
    .await
}

pub(crate) async fn emptied(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-emptied", async |stage| {
        let client = redis::Client::open(stage.redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .map_err(Into::into)
    })
    .await
}

pub(crate) async fn frozen(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-frozen", async |stage| {
        stage.redis.freeze();
        tokio::time::sleep(AWAY).await;
        stage.redis.thaw();
        Ok(())
    })
    .await
}

pub(crate) async fn errors(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-errors", async |stage| {
        stage.lie(Mood::Errors).await
    })
    .await
}

pub(crate) async fn cuts(setting: Setting) -> anyhow::Result<Findings> {
    run(setting, "redis-cuts", async |stage| {
        stage.lie(Mood::Cuts).await
    })
    .await
}

struct Stage {
    redis: RedisServer,
    proxy: Proxy,
}

impl Stage {
    async fn lie(&mut self, mood: Mood) -> anyhow::Result<()> {
        let before = self.proxy.falsified();
        self.proxy.be(mood);
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.proxy.be(Mood::Honest);
        let falsified = self.proxy.falsified() - before;
        anyhow::ensure!(falsified > 0, "no answer was falsified");
        Ok(())
    }
}

async fn run(
    setting: Setting,
    name: &str,
    mut fault: impl AsyncFnMut(&mut Stage) -> anyhow::Result<()>,
) -> anyhow::Result<Findings> {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(&redis.url()).await?;
    let mut stage = Stage { redis, proxy };
    let mut scene = Scene::new(&setting, name, Kind::Once, 6).await?;
    let mut orders = scene.orders();
    orders.redis = Some(stage.proxy.url());
    let _workers = scene.workers_with(2, &orders).await?;
    let fault = async || fault(&mut stage).await;
    scene.withstands(setting.either(1, 8), fault).await?;
    scene.verdict().await
}
