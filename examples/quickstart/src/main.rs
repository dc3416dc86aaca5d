//! One handler, and what becomes of its failures. No server needed: `cargo run -p quickstart`.

use std::time::Duration;

use eventkit::prelude::*;
use eventkit::{Delivery, FromDelivery, HandlerStats, Message, Running};
use uuid::Uuid;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
struct OrderPlaced {
    order_id: u64,
    failures: u32,
}

#[handler(
    event = "OrderPlaced.v1",
    retry(attempts = 3, backoff = "50ms..200ms"),
    dedup(ttl = "7d")
)]
async fn reserve_stock(
    order: OrderPlaced,
    attempt: Attempt,
    about: Metadata,
) -> Result<(), String> {
    let place = format!(
        "{}: order {}, attempt {}",
        about.correlation_id, order.order_id, attempt.0
    );
    if attempt <= order.failures {
        println!("{place}: the warehouse does not answer");
        return Err("the warehouse does not answer".into());
    }
    println!("{place}: reserved");
    Ok(())
}

/// Dead letters are events like any others, with the story of their failure in headers.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders.inventory.dlq")]
struct DeadOrder {
    order_id: u64,
}

#[handler(event = "OrderPlaced.v1", group = "dead-letter-watch")]
async fn report_dead_order(dead: Envelope<DeadOrder>, headers: Headers) {
    let (order, id) = (dead.event.order_id, dead.metadata.correlation_id);
    let why = headers.get_str("eventkit-error-message").unwrap_or("?");
    println!("{id}: order {order} is in the dead-letter topic: {why}");
}

#[tokio::main]
async fn main() -> eventkit::Result<()> {
    let running = App::new("inventory").embedded().start().await?;
    running.ready().await?;
    let first = Uuid::now_v7();
    place(&running, 1, 0, first, || {
        count(&running, |stats| stats.handled) == 1
    })
    .await?;
    place(&running, 1, 0, first, || {
        count(&running, |stats| stats.duplicates) == 1
    })
    .await?;
    println!("flow-1: order 1 came again with the same id: a duplicate, skipped");
    place(&running, 2, 2, Uuid::now_v7(), || {
        count(&running, |stats| stats.handled) == 2
    })
    .await?;
    // Reserving fails for good; reporting the dead letter is handled.
    place(&running, 3, 9, Uuid::now_v7(), || {
        count(&running, |stats| stats.handled) == 3
    })
    .await?;
    running.shutdown().await
}

/// Publishes an order that fails so many times, and waits for what comes of it.
async fn place(
    running: &Running,
    order_id: u64,
    failures: u32,
    id: Uuid,
    done: impl Fn() -> bool,
) -> eventkit::Result<()> {
    let order = OrderPlaced { order_id, failures };
    let flow = format!("flow-{order_id}");
    running
        .publisher()
        .send(Message::new(&order).id(id).correlation_id(flow))
        .await?;
    while !done() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn count(running: &Running, of: fn(&HandlerStats) -> u64) -> u64 {
    running.stats().iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_third_attempt_reserves_what_fails_twice() {
        let order = || OrderPlaced {
            order_id: 1,
            failures: 2,
        };
        assert!(
            reserve_stock(order(), Attempt(2), Flow("test".into()))
                .await
                .is_err()
        );
        assert!(
            reserve_stock(order(), Attempt(3), Flow("test".into()))
                .await
                .is_ok()
        );
    }
}
