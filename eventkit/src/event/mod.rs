//! What an event is: its type, kind, key and wire form.
//!
//! This room knows nothing of handlers, consumers or brokers. [`headers`] alone
//! names what stands on the wire.

pub(crate) mod checks;
pub(crate) mod cloned;
mod envelope;
pub(crate) mod headers;
pub(crate) mod id;
mod key;
mod kind;
mod metadata;
mod outgoing;
pub(crate) mod record;
pub(crate) mod structured;
pub(crate) mod wire;

pub use envelope::Envelope;
pub use headers::Headers;
pub use key::EventKey;
pub use kind::{Command, CrossesServices, Domain, EventKind, Integration, Kind};
pub use metadata::Metadata;
pub use outgoing::{IntoEvents, Outgoing};
pub(crate) use outgoing::{OutgoingEvent, Way};
pub(crate) use record::{Received, Record};

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values are events.
///
/// Derive it; the derive checks at compile time what the trait can only
/// promise: that the type of a public event carries a version, that the key
/// field exists, that the topic name is legal.
///
/// ```
/// use eventkit::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// pub struct OrderPlaced {
///     pub order_id: u64,
///     pub customer: u32,
/// }
///
/// assert_eq!(OrderPlaced::TYPE, "OrderPlaced.v1");
/// assert_eq!(OrderPlaced { order_id: 7, customer: 1 }.key().as_deref(), Some(&b"7"[..]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "derive it: `#[derive(Event, Serialize, Deserialize)] #[event(type = \"Name.v1\", topic = \"…\")]`"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// How far the event travels: [`Integration`], [`Command`] or [`Domain`].
    type Kind: EventKind;

    /// The name on the wire (`ce_type`), with its version: `OrderPlaced.v1`.
    const TYPE: &'static str;

    /// The Kafka topic. Empty for domain events, which never reach Kafka.
    const TOPIC: &'static str;

    /// The CloudEvents source. `None`: the name of the publishing service.
    const SOURCE: Option<&'static str> = None;

    /// The record's key. Events with the same key keep their order; events
    /// without a key have none.
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        None
    }

    /// A clone, where the type has one.
    #[doc(hidden)]
    fn __cloned(&self) -> Option<Self> {
        None
    }
}
