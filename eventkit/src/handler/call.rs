//! The three ways a handler runs: on its partition's task, on a task of its
//! own, on the blocking pool. In each the current delivery is known, so that
//! whatever is published carries its correlation and causation.

use std::future::Future;

use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::{Delivery, HandlerError, IntoOutcome, Invocation, Outcome};

tokio::task_local! {
    static CURRENT: Delivery;
}

/// Calls `f` with the delivery that the running handler works on, if any.
pub(crate) fn with_current<T>(f: impl FnOnce(Option<&Delivery>) -> T) -> T {
    let mut f = Some(f);
    let tried = CURRENT.try_with(|delivery| (f.take().expect("called once"))(Some(delivery)));
    tried.unwrap_or_else(|_| (f.take().expect("not yet called"))(None))
}

/// `async fn`: on the partition's own task.
#[doc(hidden)]
pub fn __inline<F, R>(delivery: Delivery, run: impl FnOnce(Delivery) -> F) -> Invocation
where
    F: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: IntoOutcome + 'static,
{
    let run = run(delivery.clone());
    Box::pin(CURRENT.scope(delivery, run.map(|returned| returned?.into_outcome())))
}

/// `async fn` with `parallel`: on a task of its own, cancelled with its delivery.
#[doc(hidden)]
pub fn __spawned<F, R>(delivery: Delivery, run: impl FnOnce(Delivery) -> F) -> Invocation
where
    F: Future<Output = Result<R, HandlerError>> + Send + 'static,
    R: IntoOutcome + 'static,
{
    let inline = __inline(delivery, run);
    let span = tracing::Span::current();
    let task = AbortOnDrop(tokio::spawn(tracing::Instrument::instrument(inline, span)));
    Box::pin(joined(task))
}

/// A plain `fn`: on the blocking pool, after its parameters are made. It cannot
/// be cancelled: when its delivery is, it runs on and its result is dropped.
#[doc(hidden)]
pub fn __blocking<F, P, R>(
    delivery: Delivery,
    extract: impl FnOnce(Delivery) -> F,
    call: fn(P) -> R,
) -> Invocation
where
    F: Future<Output = Result<P, HandlerError>> + Send + 'static,
    P: Send + 'static,
    R: IntoOutcome + 'static,
{
    let extract = extract(delivery.clone());
    Box::pin(async move {
        let parameters = CURRENT.scope(delivery.clone(), extract).await?;
        let span = tracing::Span::current();
        let task = tokio::task::spawn_blocking(move || {
            span.in_scope(|| CURRENT.sync_scope(delivery, || call(parameters).into_outcome()))
        });
        joined(AbortOnDrop(task)).await
    })
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
