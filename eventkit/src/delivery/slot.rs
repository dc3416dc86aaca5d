//! Where a delivery's future lives.
//!
//! The future of a delivery is of a type of its own for each handler, with the
//! handler's future inside. It is built in a room that serves the handler's next
//! delivery too, so that a delivery allocates nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{Ending, deliver, settle};
use crate::consumer::{Inbound, PartitionContext};
use crate::handler::{Call, Delivery};

/// A room with a delivery under way, or an empty one.
pub(crate) struct Slot(Pin<Box<dyn Room>>);

/// Makes a room for deliveries to one handler.
pub(crate) type MakeSlot = fn() -> Slot;

pub(crate) fn slot_for<H: Call>() -> Slot {
    Slot(Box::pin(RoomFor {
        deliver: deliver::<H>,
        future: None,
    }))
}

impl Slot {
    /// Begins a delivery in this room, which must be empty.
    pub(crate) fn begin(&mut self, delivery: Delivery) {
        self.0.as_mut().begin(delivery);
    }

    /// Begins to write the dead letter of a message of which nobody can say what
    /// it is.
    pub(crate) fn burial(context: Arc<PartitionContext>, inbound: Inbound, reason: String) -> Self {
        Self(Box::pin(RoomFor {
            deliver: |_| unreachable!("a burial's room is not used again"),
            future: Some(settle::bury_undecodable(context, inbound, reason)),
        }))
    }

    /// Afterwards the room is empty.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

trait Room: Send {
    fn begin(self: Pin<&mut Self>, delivery: Delivery);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending>;
}

pin_project! {
    struct RoomFor<D, F> {
        deliver: D,
        #[pin]
        future: Option<F>,
    }
}

impl<D, F> Room for RoomFor<D, F>
where
    D: Fn(Delivery) -> F + Send,
    F: Future<Output = Ending> + Send,
{
    fn begin(self: Pin<&mut Self>, delivery: Delivery) {
        let mut room = self.project();
        let future = (room.deliver)(delivery);
        room.future.set(Some(future));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        let mut future = self.project().future;
        let Some(running) = future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let ending = ready!(running.poll(cx));
        future.set(None);
        Poll::Ready(ending)
    }
}
