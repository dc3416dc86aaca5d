use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Settings;
use super::plan::Topology;
use crate::consumer::{GroupContext, GroupHandle, State};
use crate::delivery::InboxStore;
use crate::embedded::EmbeddedBroker;
use crate::error::{Error, Result};
use crate::publisher::Publisher;

/// How long leaving the groups and flushing the publisher may take together
/// when the shutdown timeout is used up. A broker that does not answer does not
/// hold up the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(4);

/// An App at work.
///
/// Dropping it tells the consumers to finish but does not wait for them; what
/// they had not settled is delivered again. Call [`shutdown`](Self::shutdown).
#[must_use = "dropping it stops the App"]
pub struct Running {
    name: String,
    topology: Arc<Topology>,
    publisher: Publisher,
    contexts: Vec<Arc<GroupContext>>,
    groups: Vec<GroupHandle>,
    broker: Option<EmbeddedBroker>,
    shutdown_timeout: Duration,
    cleaner: Option<AbortOnDrop>,
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    relays: Vec<crate::outbox::RunningRelay>,
}

/// What a handler did since its App started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Its consumer group.
    pub group: String,
    /// Its name.
    pub handler: &'static str,
    /// Events that it handled.
    pub handled: u64,
    /// Events that were skipped as duplicates.
    pub duplicates: u64,
    /// Runs that failed, the last ones of dead letters included.
    pub failures: u64,
    /// Further attempts after a failure.
    pub retries: u64,
    /// Events that went to the dead-letter topic.
    pub dead_letters: u64,
}

impl Running {
    pub(super) fn new(
        name: String,
        topology: Topology,
        publisher: Publisher,
        contexts: Vec<Arc<GroupContext>>,
        groups: Vec<GroupHandle>,
        broker: Option<EmbeddedBroker>,
        settings: &Settings,
    ) -> Self {
        Self {
            name,
            topology: Arc::new(topology),
            publisher,
            contexts,
            groups,
            broker,
            shutdown_timeout: settings.shutdown_timeout,
            cleaner: None,
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            relays: Vec::new(),
        }
    }

    /// Deletes the inbox's old rows from now on.
    pub(super) fn clean(&mut self, inbox: Arc<dyn InboxStore>) {
        self.cleaner = Some(AbortOnDrop(tokio::spawn(inbox.clean())));
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn relay(&mut self, relay: Box<dyn crate::outbox::AppRelay>) -> Result<()> {
        let connection = self.topology.connection.clone();
        self.relays.push(relay.start(connection)?);
        Ok(())
    }

    /// The App's publisher.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The embedded broker, where the App runs on one.
    pub fn broker(&self) -> Option<&EmbeddedBroker> {
        self.broker.as_ref()
    }

    /// Resolves when every consumer group has its partitions and their start
    /// positions: nothing that is published from then on is missed, wherever a
    /// new group begins. (A new group that begins with `latest` has its start
    /// committed about a second later; a process killed before begins anew.)
    ///
    /// # Errors
    ///
    /// [`Error::Group`] when a group cannot go on.
    pub async fn ready(&self) -> Result<()> {
        let groups = self.groups.iter().map(|handle| async {
            let mut state = handle.state.clone();
            let reached = state.wait_for(|state| *state != State::Joining).await;
            match reached.map(|state| state.clone()) {
                Ok(State::Failed(reason)) => Err(failure(handle, reason)),
                Ok(_) => Ok(()),
                Err(_) => Err(failure(handle, "its thread ended".into())),
            }
        });
        join_all(groups).await.into_iter().collect()
    }

    /// Resolves when a consumer group cannot go on; otherwise never.
    pub async fn failed(&self) -> Error {
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|handle| {
                Box::pin(async {
                    let mut state = handle.state.clone();
                    let reached = state
                        .wait_for(|state| matches!(state, State::Failed(_)))
                        .await;
                    match reached.map(|state| state.clone()) {
                        Ok(State::Failed(reason)) => failure(handle, reason),
                        Ok(_) => std::future::pending().await,
                        Err(_) => failure(handle, "its thread ended".into()),
                    }
                })
            })
            .collect();
        if groups.is_empty() {
            return std::future::pending().await;
        }
        select_all(groups).await.0
    }

    /// What the handlers did so far.
    pub fn stats(&self) -> Vec<HandlerStats> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.contexts
            .iter()
            .flat_map(|context| {
                context
                    .handlers
                    .iter()
                    .map(move |handler| (context, handler))
            })
            .map(|(context, handler)| HandlerStats {
                group: context.group.to_string(),
                handler: handler.definition.name,
                handled: read(&handler.counts.handled),
                duplicates: read(&handler.counts.duplicates),
                failures: read(&handler.counts.failures),
                retries: read(&handler.counts.retries),
                dead_letters: read(&handler.counts.dead_letters),
            })
            .collect()
    }

    /// Ends the App in order: fetch no more, let running handlers finish within
    /// the shutdown timeout (25 s), commit, leave the groups, flush the
    /// publisher. All of it ends within the timeout and 4 s more, by default
    /// before the 30 s after which Kubernetes kills a process.
    ///
    /// Events that were fetched and not begun, or that wait for their next
    /// attempt, are left to the group's next run. Those before one that was
    /// begun are begun too while half of the time is left: otherwise what is
    /// done behind them would be delivered again.
    ///
    /// # Errors
    ///
    /// [`Error::Unfinished`] when handlers were still running at the deadline,
    /// or the broker did not answer; what was not settled is delivered again.
    pub async fn shutdown(mut self) -> Result<()> {
        self.groups.iter().for_each(GroupHandle::drain);
        self.cleaner = None;
        let patience = Instant::now() + self.shutdown_timeout;
        let end = patience + LAST_PATIENCE;
        if timeout_at(patience, self.ended()).await.is_err() {
            self.groups.iter().for_each(GroupHandle::kill);
        }
        // After the handlers, whose last events the relays may still publish.
        let relays = self.stop_relays();
        // A broker that does not answer would have one use up the other's time.
        let (ended, flushed, _) = tokio::join!(
            timeout_at(end, self.ended()),
            timeout_at(end, self.publisher.flush(end - Instant::now())),
            timeout_at(end, relays),
        );
        let flushed = flushed.unwrap_or_else(|_| {
            Err(Error::Unfinished(format!(
                "`{}`: not everything that was published is acknowledged, the broker does not answer",
                self.name
            )))
        });
        match ended {
            Ok(0) => flushed,
            Ok(unfinished) => Err(Error::Unfinished(format!(
                "`{}`: {unfinished} events were not finished within {:?}; they are delivered again",
                self.name, self.shutdown_timeout
            ))),
            Err(_) => Err(Error::Unfinished(format!(
                "`{}`: the consumer groups could not be left in order, the broker does not answer",
                self.name
            ))),
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    fn stop_relays(&mut self) -> impl Future<Output = ()> + use<> {
        let relays = std::mem::take(&mut self.relays).into_iter();
        let ended = join_all(relays.map(crate::outbox::RunningRelay::shutdown));
        async {
            for error in ended.await.into_iter().filter_map(Result::err) {
                tracing::error!(target: "eventkit::outbox", %error, "a relay did not end in order");
            }
        }
    }

    #[cfg(not(any(feature = "postgres", feature = "sqlite")))]
    fn stop_relays(&mut self) -> impl Future<Output = ()> + use<> {
        std::future::ready(())
    }

    /// Resolves when all groups have ended, with the number of unfinished events.
    async fn ended(&self) -> usize {
        let groups = self.groups.iter().map(|handle| async {
            let mut state = handle.state.clone();
            let reached = state
                .wait_for(|state| matches!(state, State::Ended { .. } | State::Failed(_)))
                .await;
            match reached.as_deref() {
                Ok(State::Ended { unfinished }) => *unfinished,
                _ => 0,
            }
        });
        join_all(groups).await.into_iter().sum()
    }

    pub(crate) fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn failure(handle: &GroupHandle, reason: String) -> Error {
    Error::Group {
        group: handle.group.to_string(),
        reason,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.groups.iter().for_each(GroupHandle::kill);
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed =
            |error: std::io::Error| Error::Settings(format!("listening for signals: {error}"));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
