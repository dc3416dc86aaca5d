use uuid::Uuid;

use super::stamp::Stamp;
use crate::event::{CrossesServices, Event, Headers};

/// An event to publish, with what is not to be taken from the surroundings.
///
/// ```no_run
/// # use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// # struct OrderPlaced { order_id: u64 }
/// # async fn f(publisher: Publisher) -> eventkit::Result<()> {
/// use eventkit::Message;
///
/// let order = OrderPlaced { order_id: 7 };
/// publisher.send(Message::new(&order).correlation_id("request-4711").header("tenant", "acme")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct Message<'e, E> {
    pub(super) event: &'e E,
    id: Option<Uuid>,
    correlation_id: Option<String>,
    subject: Option<String>,
    headers: Headers,
}

impl<'e, E: Event<Kind: CrossesServices>> Message<'e, E> {
    /// The event as it is.
    pub fn new(event: &'e E) -> Self {
        Self {
            event,
            id: None,
            correlation_id: None,
            subject: None,
            headers: Headers::new(),
        }
    }

    /// An id of your own, where the same event may be published twice and
    /// consumers are to know it as one.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// The correlation id of the flow that this event starts or joins. Control
    /// characters make it count as absent.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The CloudEvents subject. Default: the key, where it is text.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// A header of your own behind eventkit's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.append(name.into(), value.into());
        self
    }

    pub(super) fn overrides(&self, mut stamp: Stamp) -> Stamp {
        if let Some(id) = self.id {
            stamp.id = id;
        }
        if let Some(id) = &self.correlation_id
            && crate::event::wire::is_clean(id)
        {
            stamp.correlation_id = Some(id.clone());
        }
        stamp.subject.clone_from(&self.subject);
        stamp.extra.extend(self.headers.clone());
        stamp
    }
}
