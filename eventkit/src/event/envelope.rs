use super::Metadata;

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
