//! The three ways a handler runs: on its partition's task, on a task of its
//! own, on the blocking pool. In each the current delivery is known, so that
//! whatever is published carries its correlation and causation.

use std::borrow::Cow;
use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;
use tracing::Instrument;

use super::{Delivery, FromDelivery, HandlerError, Invocation, Outcome};
use crate::event::Event;

tokio::task_local! {
    static CURRENT: Delivery;
}

/// Calls `f` with the delivery that the running handler works on, if any.
pub(crate) fn with_current<T>(f: impl FnOnce(Option<&Delivery>) -> T) -> T {
    let mut f = Some(f);
    let tried = CURRENT.try_with(|delivery| (f.take().expect("called once"))(Some(delivery)));
    tried.unwrap_or_else(|_| (f.take().expect("not yet called"))(None))
}

/// Makes one parameter of a handler.
#[doc(hidden)]
pub async fn __parameter<P: FromDelivery>(delivery: &Delivery) -> Result<P, HandlerError> {
    P::from_delivery(delivery).await
}

/// What `dedup(key = …)` takes from the event.
#[doc(hidden)]
pub fn __dedup_key<E: Event>(
    delivery: &Delivery,
    key: impl FnOnce(&E) -> Option<Cow<'_, [u8]>>,
) -> Result<Vec<u8>, HandlerError> {
    let event = delivery.event()?;
    key(&event).map(Cow::into_owned).ok_or_else(|| {
        HandlerError::reject(format!("this `{}` has no key to deduplicate by", E::TYPE))
    })
}

/// `async fn`: on the partition's own task.
#[doc(hidden)]
pub fn __inline<F>(delivery: Delivery, run: F) -> TaskLocalFuture<Delivery, F>
where
    F: Future<Output = Outcome>,
{
    CURRENT.scope(delivery, run)
}

/// `async fn` with `parallel`: on a task of its own, cancelled with its delivery.
#[doc(hidden)]
pub async fn __spawned(delivery: Delivery, run: Invocation) -> Outcome {
    let run = CURRENT.scope(delivery, run);
    joined(AbortOnDrop(tokio::spawn(run.in_current_span()))).await
}

/// A plain `fn`: on the blocking pool, after its parameters are made. It cannot
/// be cancelled: when its delivery is, it runs on and its result is dropped.
///
/// The pool is not tokio's, whose runtime waits at its end for every blocking
/// call: a function that never returns would keep the process from exiting.
#[doc(hidden)]
pub async fn __blocking<F, P>(delivery: Delivery, extract: F, call: fn(P) -> Outcome) -> Outcome
where
    F: Future<Output = Result<P, HandlerError>>,
    P: Send + 'static,
{
    let parameters = CURRENT.scope(delivery.clone(), extract).await?;
    let (span, runtime) = (tracing::Span::current(), Handle::current());
    blocking::unblock(move || {
        let _context = runtime.enter();
        span.in_scope(|| CURRENT.sync_scope(delivery, || call(parameters)))
    })
    .await
}

struct AbortOnDrop(JoinHandle<Outcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn joined(mut task: AbortOnDrop) -> Outcome {
    match (&mut task.0).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(HandlerError::panic(&*error.into_panic())),
        Err(_) => Err(HandlerError::retry("the runtime is shutting down")),
    }
}
