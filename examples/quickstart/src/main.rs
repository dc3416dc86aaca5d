//! One handler, and what becomes of its failures. No server needed.

use std::time::Duration;

use eventkit::prelude::*;
use eventkit::{HandlerStats, Message, Running};
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
    headers: Headers,
) -> Result<(), String> {
    let flow = headers.get_str("ce_correlationid").unwrap_or("?");
    if attempt.0 <= order.failures {
        println!("{flow}: attempt {} fails", attempt.0);
        return Err("the warehouse does not answer".into());
    }
    println!(
        "{flow}: order {} handled at attempt {}",
        order.order_id, attempt.0
    );
    Ok(())
}

/// A dead letter is the original event, with the story of its failure in headers.
#[derive(Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders.inventory.dlq")]
struct DeadOrder {
    order_id: u64,
}

#[handler(event = "OrderPlaced.v1", group = "dead-letter-watch")]
async fn report_dead_order(order: DeadOrder, headers: Headers) {
    let flow = headers.get_str("ce_correlationid").unwrap_or("?");
    let why = headers.get_str("eventkit-error-message").unwrap_or("?");
    println!(
        "{flow}: order {} is in the dead-letter topic: {why}",
        order.order_id
    );
}

#[tokio::main]
async fn main() -> eventkit::Result<()> {
    let app = App::new("inventory").embedded().start().await?;
    app.ready().await?;
    let first = Uuid::now_v7();
    place(&app, 1, 0, first, |stats| stats.handled == 1).await?;
    place(&app, 1, 0, first, |stats| stats.duplicates == 1).await?;
    println!("flow-1: the same event again is a duplicate, skipped");
    place(&app, 2, 2, Uuid::now_v7(), |stats| stats.handled == 2).await?;
    place(&app, 3, 9, Uuid::now_v7(), |stats| {
        stats.handler == "report_dead_order" && stats.handled == 1
    })
    .await?;
    app.shutdown().await
}

/// Publishes an order that fails so many times, and waits for what comes of it.
async fn place(
    app: &Running,
    order_id: u64,
    failures: u32,
    id: Uuid,
    done: fn(&HandlerStats) -> bool,
) -> eventkit::Result<()> {
    let order = OrderPlaced { order_id, failures };
    let flow = format!("flow-{order_id}");
    app.publisher()
        .send(Message::new(&order).id(id).correlation_id(flow))
        .await?;
    while !app.stats().iter().any(done) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_third_attempt_handles_what_failed_twice() {
        let attempt = |attempt| {
            let order = OrderPlaced {
                order_id: 1,
                failures: 2,
            };
            reserve_stock(order, Attempt(attempt), Headers::new())
        };
        assert!(attempt(2).await.is_err());
        assert!(attempt(3).await.is_ok());
    }
}
