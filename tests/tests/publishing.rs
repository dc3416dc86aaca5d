//! What handlers publish, on a real Kafka.

use eventkit::handlers;
use eventkit::prelude::*;
use eventkit_tests::{Admin, RawWriter, Step, app, eventually, on, unique};

const PARTS: usize = 20;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Part.v1", topic = "publishing-parts")]
struct Part {
    text: String,
}

/// Each part fits into the topic, all of them together do not fit into one batch.
#[handler(event = "Step.v1")]
async fn take_apart(_: Step) -> Vec<Part> {
    let part = |_| Part {
        // Does not compress.
        text: std::iter::repeat_with(|| uuid::Uuid::new_v4().to_string())
            .take(150)
            .collect(),
    };
    (0..PARTS).map(part).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_larger_than_the_topics_limit_together_are_published_each() {
    let admin = Admin::new();
    admin.ensure("publishing-parts", 1).await;
    let limit = [("max.message.bytes", "20000")];
    admin.alter("publishing-parts", &limit).await;
    let before = admin.ends("publishing-parts")[&0];
    let topic = unique("apart");
    admin.create(&topic, 1, &[]).await;
    let group = format!("{topic}-group");
    let handlers = on(&topic, handlers![take_apart]);
    let running = app(&group).handlers(handlers).start().await;
    let running = running.expect("the App starts");
    RawWriter::new()
        .write(&topic, &Step::record("key", 0))
        .await;
    eventually("the step ends one way or the other", async || {
        let stats = running.stats();
        stats[0].handled + stats[0].dead_letters > 0
    })
    .await;
    assert_eq!(running.stats()[0].dead_letters, 0);
    let after = admin.ends("publishing-parts")[&0];
    assert_eq!(after - before, PARTS as i64);
    running.shutdown().await.expect("an orderly end");
}
