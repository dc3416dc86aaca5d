//! Where a delivery's future lives.
//!
//! The future of a delivery is of a type of its own for each handler, with the
//! handler's future inside. It stands in a box that is used again for the
//! handler's next delivery, so that a delivery allocates nothing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_util::sync::ReusableBoxFuture;

use super::{Ending, deliver, settle};
use crate::consumer::{Inbound, PartitionContext};
use crate::handler::{Call, Delivery};

/// A delivery under way, and the room for the handler's next one.
pub(crate) struct Slot(ReusableBoxFuture<'static, Ending>);

/// Begins a delivery, in the spare room if there is one.
pub(crate) type Begin = fn(Option<Slot>, Delivery) -> Slot;

pub(crate) fn begin<H: Call>(spare: Option<Slot>, delivery: Delivery) -> Slot {
    Slot::with(spare, deliver::<H>(delivery))
}

/// Begins to write the dead letter of a message of which nobody can say what it is.
pub(crate) fn begin_burial(
    context: Arc<PartitionContext>,
    inbound: Inbound,
    reason: String,
) -> Slot {
    Slot::with(None, settle::bury_undecodable(context, inbound, reason))
}

impl Slot {
    fn with(spare: Option<Slot>, future: impl Future<Output = Ending> + Send + 'static) -> Self {
        match spare {
            Some(mut slot) => {
                slot.0.set(future);
                slot
            }
            None => Self(ReusableBoxFuture::new(future)),
        }
    }
}

impl Future for Slot {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        self.0.poll(cx)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
