//! A process that writes into an outbox, and one that relays it.

use eventkit_tests::TestOutbox;

/// `relay <schema> <topic>` until it is told to end.
pub(crate) async fn relay(schema: &str, topic: &str) -> anyhow::Result<()> {
    let outbox = TestOutbox::open(schema, topic).await;
    outbox.relay().run().await?;
    Ok(())
}

/// `write <schema> <topic> <key> <until>`: publishes ten events, says so when it
/// has come to the point, and waits there for its end.
pub(crate) async fn write(schema: &str, topic: &str, key: &str, until: &str) -> anyhow::Result<()> {
    let outbox = TestOutbox::open(schema, topic).await;
    let mut tx = outbox.pool.begin().await?;
    outbox.write(&mut tx, key, 0..10).await;
    if until == "insert" {
        println!("reached");
        return std::future::pending().await;
    }
    tx.commit().await?;
    println!("reached");
    std::future::pending().await
}
