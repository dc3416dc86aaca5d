use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::{Delivery, HandlerError, Requirements};
use crate::event::checks::Declared;
use crate::event::{Envelope, Event, Headers, Metadata};
use crate::publisher::Publisher;

/// What may be a handler's parameter.
///
/// Implement it for a parameter of your own, say a tenant that a header names:
///
/// ```
/// use eventkit::prelude::*;
/// use eventkit::{Delivery, FromDelivery};
///
/// struct Tenant(String);
///
/// impl FromDelivery for Tenant {
///     async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
///         let headers = delivery.headers();
///         let tenant = headers.get_str("tenant").ok_or_else(|| HandlerError::reject("no tenant"))?;
///         Ok(Tenant(tenant.to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a handler",
    label = "not a handler parameter",
    note = "a handler takes its event (or an `Envelope` of it), `State`, `Metadata`, `Headers`, `Publisher`, `Attempt`, `CancellationToken`",
    note = "what was given with `App::state(…)` is taken as `State(name): State<Type>`, of a `Type: Clone + Send + Sync`",
    note = "the transaction of a handler with `inbox` is taken as `Tx(tx): Tx<Postgres>`, with `use eventkit::inbox::Tx`",
    note = "for a parameter of your own implement `eventkit::FromDelivery`"
)]
pub trait FromDelivery: Sized + Send {
    #[doc(hidden)]
    const EVENT: Option<Declared> = None;

    /// Makes the parameter, once for each attempt, before the handler runs.
    ///
    /// # Errors
    ///
    /// An error is the handler's own: it is retried, rejected or deferred.
    fn from_delivery(
        delivery: &Delivery,
    ) -> impl Future<Output = Result<Self, HandlerError>> + Send;

    /// What the parameter needs of the App, checked at start.
    fn requirements(_: &mut Requirements) {}
}

#[diagnostic::do_not_recommend]
impl<E: Event> FromDelivery for E {
    const EVENT: Option<Declared> = Some(Declared::by::<E>());

    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        delivery.event()
    }
}

impl<E: Event> FromDelivery for Envelope<E> {
    const EVENT: Option<Declared> = Some(Declared::by::<E>());

    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(Envelope {
            event: delivery.event()?,
            metadata: delivery.metadata().clone(),
        })
    }
}

impl FromDelivery for Metadata {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(delivery.metadata().clone())
    }
}

impl FromDelivery for Headers {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(delivery.headers())
    }
}

impl FromDelivery for Publisher {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(delivery.publisher())
    }
}

impl FromDelivery for CancellationToken {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(delivery.cancellation_token())
    }
}

/// A value that was given to the App with [`App::state`](crate::App::state).
/// Each type can be given once; it is cloned for every delivery.
#[derive(Debug, Clone)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromDelivery for State<T> {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        delivery.state().map(State).ok_or_else(|| {
            let name = std::any::type_name::<T>();
            HandlerError::retry(format!("no state `{name}`: give it with `App::state`"))
        })
    }

    fn requirements(requirements: &mut Requirements) {
        requirements.state::<T>();
    }
}

/// Which attempt at the event this is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u32);

impl FromDelivery for Attempt {
    async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
        Ok(Attempt(delivery.attempt()))
    }
}
