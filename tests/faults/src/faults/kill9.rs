use crate::load::Plan;
use crate::scene::{Findings, Scene, Setting};
use crate::worker::Kind;

/// With dedup; the only effects that may come twice are those of handlers that
/// ran in the killed process.
pub(crate) async fn run(setting: Setting) -> anyhow::Result<Findings> {
    let mut scene = Scene::new(&setting, "kill9", Kind::Once, 12).await?;
    let mut workers = scene.workers(3).await?;
    scene.load(Plan {
        per_second: setting.either(400, 600),
        events: setting.either(6_000, 200_000),
        copies: Some(10),
        ..Plan::default()
    });
    scene.kills(&mut workers, setting.either(2, 50)).await?;
    scene.finishes().await?;
    scene.verdict().await
}
