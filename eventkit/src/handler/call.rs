//! The three ways a handler runs: on its partition's task, on a task of its
//! own, on the blocking pool. In each the current delivery is known, so that
//! whatever is published carries its correlation and causation.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{Delivery, HandlerError, Outcome, Transaction};
use crate::event::Event;

/// How a handler is called: implemented by `#[handler]`.
#[doc(hidden)]
pub trait Call: 'static {
    /// Whether it runs in a transaction of the inbox.
    const INBOX: bool = false;

    /// Makes the parameters, runs the function, encodes what it returns.
    fn call(
        delivery: &Delivery,
        transaction: Option<&mut Transaction>,
    ) -> impl Future<Output = Outcome> + Send;
}

/// One run of a handler.
pub type Invocation<'d> = Pin<Box<dyn Future<Output = Outcome> + Send + 'd>>;

scoped_tls::scoped_thread_local!(static CURRENT: Delivery);

/// Calls `f` with the delivery that the running handler works on, if any.
pub(crate) fn with_current<T>(f: impl FnOnce(Option<&Delivery>) -> T) -> T {
    if CURRENT.is_set() {
        CURRENT.with(|delivery| f(Some(delivery)))
    } else {
        f(None)
    }
}

pin_project! {
    /// Runs with the delivery as the current one.
    pub(crate) struct Scope<'d, F> {
        delivery: &'d Delivery,
        #[pin]
        run: F,
    }
}

impl<'d, F> Scope<'d, F> {
    pub(crate) fn new(delivery: &'d Delivery, run: F) -> Self {
        Self { delivery, run }
    }
}

impl<F: Future> Future for Scope<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let scope = self.project();
        CURRENT.set(scope.delivery, || scope.run.poll(cx))
    }
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

/// `async fn` with `parallel`: on a task of its own, cancelled with its delivery.
#[doc(hidden)]
pub async fn __spawned(
    delivery: &Delivery,
    run: for<'d> fn(&'d Delivery) -> Invocation<'d>,
) -> Outcome {
    let delivery = delivery.clone();
    let run = async move { Scope::new(&delivery, run(&delivery)).await };
    joined(AbortOnDrop(tokio::spawn(run.in_current_span()))).await
}

/// A plain `fn`: on the blocking pool, after its parameters are made. It cannot
/// be cancelled: when its delivery is, it runs on and its result is dropped.
///
/// The pool is not tokio's, whose runtime waits at its end for every blocking
/// call: a function that never returns would keep the process from exiting.
#[doc(hidden)]
pub async fn __blocking<F, P>(delivery: &Delivery, extract: F, call: fn(P) -> Outcome) -> Outcome
where
    F: Future<Output = Result<P, HandlerError>>,
    P: Send + 'static,
{
    let parameters = extract.await?;
    let delivery = delivery.clone();
    let (span, runtime) = (tracing::Span::current(), Handle::current());
    blocking::unblock(move || {
        let _context = runtime.enter();
        span.in_scope(|| CURRENT.set(&delivery, || call(parameters)))
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
