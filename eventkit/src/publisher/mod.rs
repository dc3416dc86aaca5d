//! Publishing: events become records with id, correlation, causation and trace
//! context, and count as published when the broker has acknowledged them.
//!
//! This room knows nothing of consumers; what it takes from a running handler
//! it asks of the current [`Delivery`](crate::Delivery).

mod builder;
mod client;
mod message;
mod producer;
mod stamp;

pub use builder::PublisherBuilder;
pub use message::Message;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use producer::DEFAULTS as PRODUCER_DEFAULTS;
pub use producer::Published;
pub(crate) use producer::{Producer, RawRecord, is_refusal, is_too_large};
pub(crate) use stamp::Prepared;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use stamp::send_span;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tracing::{Instrument, Span};

use crate::error::{EncodeError, PublishError, Result};
use crate::event::{CrossesServices, Event, IntoEvents, Outgoing, OutgoingEvent, Way};
use crate::handler::{Delivery, with_current};
use producer::Queued;
use stamp::{Name, Stamp};

/// Publishes events to Kafka: idempotent, batched, acknowledged by all in-sync
/// replicas.
///
/// A handler takes it as a parameter. Inside a handler, whichever `Publisher`
/// is used, the event carries the correlation id, the causation and the trace
/// of the delivery, and an id derived from it, so that a repeated delivery
/// publishes the same ids. (A task that the handler spawns is elsewhere: give it
/// the correlation id with [`Message`].) Elsewhere it starts a flow of its own:
///
/// ```no_run
/// use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders", key = order_id)]
/// # struct OrderPlaced { order_id: u64 }
///
/// # async fn f() -> eventkit::Result<()> {
/// let publisher = Publisher::builder("shop").bootstrap_servers("localhost:9092").build()?;
/// let published = publisher.publish(&OrderPlaced { order_id: 7 }).await?;
/// println!("{} is at offset {}", published.id, published.offset);
/// # Ok(())
/// # }
/// ```
///
/// # Delivery
///
/// A call returns when the record is acknowledged, or after 30 s without
/// acknowledgement (librdkafka's `message.timeout.ms`) with
/// [`PublishError::Unacknowledged`]; the record may have been written all the
/// same. When the send queue is full the call waits. Dropping its future does
/// not take back what is already queued.
///
/// When librdkafka's producer stops for good, since it cannot tell any more what
/// was written, another takes its place: what was under way ends as unacknowledged,
/// and what a handler returned is sent again.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

/// An event on its way to its acknowledgement.
pub type Publishing<'a> =
    Pin<Box<dyn Future<Output = Result<Published, PublishError>> + Send + 'a>>;

struct Inner {
    producer: Producer,
    /// The CloudEvents source of events that do not name their own.
    source: Arc<str>,
}

impl Publisher {
    /// A publisher outside an App; `source` names the publishing service.
    pub fn builder(source: impl Into<String>) -> PublisherBuilder {
        PublisherBuilder::new(source.into())
    }

    pub(crate) fn new(producer: Producer, source: String) -> Self {
        Self {
            inner: Arc::new(Inner {
                producer,
                source: source.into(),
            }),
        }
    }

    /// Publishes one event.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish<'a, E>(&'a self, event: &'a E) -> Publishing<'a>
    where
        E: Event<Kind: CrossesServices>,
    {
        Box::pin(self.send(Message::new(event)))
    }

    /// Publishes one event with headers, subject, id or correlation of its own.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub async fn send<E>(&self, message: Message<'_, E>) -> Result<Published, PublishError>
    where
        E: Event<Kind: CrossesServices>,
    {
        self.send_prepared(&prepared(&message, &self.inner.source)?)
            .await
    }

    /// Publishes events together, in order; they are acknowledged in one wait.
    ///
    /// # Errors
    ///
    /// The first event that fails; the others may have been written.
    pub async fn publish_all(
        &self,
        events: impl IntoEvents,
    ) -> Result<Vec<Published>, PublishError> {
        let under_way = UnderWay::default();
        let mut outgoing = Outgoing::by(Directly {
            publisher: self.clone(),
            under_way: under_way.clone(),
        });
        events.into_events(&mut outgoing)?;
        let Taken {
            mut queued,
            waiting,
        } = under_way.end();
        for event in &waiting {
            queued.push(self.enqueue(event).await);
        }
        self.acknowledged(queued).await
    }

    /// Waits until everything queued is acknowledged or has failed.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<()> {
        self.inner.producer.flush(timeout).await
    }

    /// What a handler returned, ready to be sent as often as it takes: ids and
    /// times stay the same.
    pub(crate) fn prepare_returned(
        &self,
        delivery: &Delivery,
        outgoing: Outgoing,
    ) -> Vec<Prepared> {
        outgoing
            .events
            .into_iter()
            .enumerate()
            .map(|(position, event)| self.prepare(event, Stamp::returned(delivery, position)))
            .collect()
    }

    /// Queues all in order, then waits for all acknowledgements.
    pub(crate) async fn send_all(
        &self,
        prepared: &[Prepared],
    ) -> Result<Vec<Published>, PublishError> {
        let mut queued = Vec::with_capacity(prepared.len());
        for event in prepared {
            queued.push(self.enqueue(event).await);
        }
        self.acknowledged(queued).await
    }

    async fn enqueue(&self, event: &Prepared) -> Sending {
        let span = event.span();
        Sending {
            name: event.name(),
            queued: self.inner.producer.enqueue(event.record(&span)).await,
            span,
        }
    }

    /// One that failed does not hide what became of the others, which are under
    /// way: so that one after the other is no longer a wait than all together. The
    /// last ones first, as most of the others are acknowledged by then, and need no
    /// waiting of their own.
    async fn acknowledged(&self, sending: Vec<Sending>) -> Result<Vec<Published>, PublishError> {
        let producer = &self.inner.producer;
        let mut all = Vec::with_capacity(sending.len());
        for Sending { name, span, queued } in sending.into_iter().rev() {
            let sent = match queued {
                Ok(queued) => producer.acknowledged(queued).instrument(span.clone()).await,
                Err(error) => Err(error),
            };
            all.push(published(name, &span, sent));
        }
        all.into_iter().rev().collect()
    }

    pub(crate) fn producer(&self) -> &Producer {
        &self.inner.producer
    }

    fn prepare(&self, event: OutgoingEvent, stamp: Stamp) -> Prepared {
        Prepared::new(event, stamp, &self.inner.source)
    }

    async fn send_prepared(&self, event: &Prepared) -> Result<Published, PublishError> {
        let span = event.span();
        let record = event.record(&span);
        let sent = self
            .inner
            .producer
            .send(record)
            .instrument(span.clone())
            .await;
        published(event.name(), &span, sent)
    }
}

/// An event in the send queue, or why it is not.
struct Sending {
    name: Name,
    span: Span,
    queued: Result<Queued, KafkaError>,
}

/// The way from encoding straight into the send queue: while the next event is
/// encoded, librdkafka's thread sends those before it.
struct Directly {
    publisher: Publisher,
    under_way: UnderWay,
}

impl Way for Directly {
    fn take(&mut self, event: OutgoingEvent) {
        let Inner { producer, source } = &*self.publisher.inner;
        let event = stamped(event, source);
        let mut taken = self.under_way.taken();
        // Behind one that waits all wait, in order.
        if taken.waiting.is_empty() {
            let span = event.span();
            if let Some(queued) = producer.enqueue_now(event.record(&span)) {
                let name = event.name();
                taken.queued.push(Sending { name, span, queued });
                return;
            }
        }
        taken.waiting.push(event);
    }
}

#[derive(Default)]
struct Taken {
    queued: Vec<Sending>,
    /// The send queue had no room.
    waiting: Vec<Prepared>,
}

/// What [`Directly`] took, seen from outside. Nobody contends for it.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<Taken>>);

impl UnderWay {
    fn end(&self) -> Taken {
        std::mem::take(&mut *self.taken())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event as a call in the handler that runs, or outside, publishes it.
pub(crate) fn prepared<E>(
    message: &Message<'_, E>,
    source: &Arc<str>,
) -> Result<Prepared, EncodeError>
where
    E: Event<Kind: CrossesServices>,
{
    let event = OutgoingEvent::encode(message.event)?;
    let stamp = with_current(|delivery| Stamp::explicit(delivery, event.event_type));
    Ok(Prepared::new(event, message.overrides(stamp), source))
}

/// The same for several.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn prepared_all(
    events: impl IntoEvents,
    source: &Arc<str>,
) -> Result<Vec<Prepared>, EncodeError> {
    let mut outgoing = Outgoing::default();
    events.into_events(&mut outgoing)?;
    let events = outgoing.events.into_iter();
    Ok(events.map(|event| stamped(event, source)).collect())
}

fn stamped(event: OutgoingEvent, source: &Arc<str>) -> Prepared {
    let stamp = with_current(|delivery| Stamp::explicit(delivery, event.event_type));
    Prepared::new(event, stamp, source)
}

/// Tells the span how the event fared.
fn published(
    event: Name,
    span: &Span,
    sent: Result<(i32, i64), KafkaError>,
) -> Result<Published, PublishError> {
    match sent {
        Ok((partition, offset)) => {
            span.record("messaging.destination.partition.id", partition);
            span.record("messaging.kafka.offset", offset);
            Ok(Published {
                id: event.id.as_str().to_owned(),
                topic: event.topic,
                partition,
                offset,
            })
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", error.to_string());
            span.record("error.type", "publish");
            Err(event.error(error))
        }
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}
