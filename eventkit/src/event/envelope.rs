use std::time::SystemTime;

use super::{Event, Metadata, id};

/// An event together with its [`Metadata`], as a handler's parameter.
///
/// ```
/// use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// # struct OrderPlaced { order_id: u64 }
///
/// #[handler(event = "OrderPlaced.v1")]
/// async fn audit(order: Envelope<OrderPlaced>) {
///     println!("{} by {}", order.event.order_id, order.metadata.source);
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct Envelope<E> {
    /// The event itself.
    pub event: E,
    /// What is known beside it.
    pub metadata: Metadata,
}

impl<E: Event> Envelope<E> {
    /// An envelope as a unit test needs it to call a handler: a fresh id, now,
    /// attempt 1, offset 0. Its metadata can be changed.
    ///
    /// ```
    /// # use eventkit::prelude::*;
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
    /// # struct OrderPlaced { order_id: u64 }
    /// let mut order = Envelope::for_test(OrderPlaced { order_id: 7 });
    /// order.metadata.attempt = 3;
    /// assert_eq!(order.metadata.event_type, "OrderPlaced.v1");
    /// ```
    pub fn for_test(event: E) -> Self {
        let id = id::fresh().to_string();
        let now = Some(SystemTime::now());
        let key = event.key().map(|key| bytes::Bytes::copy_from_slice(&key));
        let metadata = Metadata {
            correlation_id: id.clone(),
            id,
            event_type: E::TYPE.to_owned(),
            source: E::SOURCE.unwrap_or("test").to_owned(),
            time: now,
            subject: None,
            causation_id: None,
            traceparent: None,
            tracestate: None,
            topic: E::TOPIC.into(),
            partition: 0,
            offset: 0,
            timestamp: now,
            key,
            attempt: 1,
        };
        Self { event, metadata }
    }
}
