//! A librdkafka producer that is made anew when it can send no more.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};

use crate::kafka::LoggedContext;

/// How long a full send queue is left alone before the next try.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(5);

type Native = FutureProducer<LoggedContext>;

/// An idempotent producer stops for good when it cannot tell any more what was
/// written, such as after the broker forgot its sequence numbers. What it still
/// held then fails, and whoever sent that decides whether to send it again.
pub(super) struct Client {
    config: ClientConfig,
    current: RwLock<Native>,
}

impl Client {
    pub(super) fn new(config: ClientConfig) -> Result<Self, KafkaError> {
        let current = RwLock::new(config.create_with_context(LoggedContext)?);
        Ok(Self { config, current })
    }

    /// Waits for a place in the send queue. Records keep the order in which they
    /// got theirs.
    pub(super) async fn enqueue(
        &self,
        mut record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<DeliveryFuture, KafkaError> {
        loop {
            match self.offer(record) {
                Ok(queued) => return queued,
                Err(full) => record = full,
            }
            tokio::time::sleep(QUEUE_FULL_WAIT).await;
        }
    }

    /// The same without waiting; `None` when the queue is full.
    pub(super) fn enqueue_now(
        &self,
        record: FutureRecord<'_, [u8], [u8]>,
    ) -> Option<Result<DeliveryFuture, KafkaError>> {
        self.offer(record).ok()
    }

    /// Gives the record back when the queue is full.
    fn offer<'a>(
        &self,
        mut record: FutureRecord<'a, [u8], [u8]>,
    ) -> Result<Result<DeliveryFuture, KafkaError>, FutureRecord<'a, [u8], [u8]>> {
        loop {
            let sent = self.current().send_result(record);
            record = match sent {
                Ok(acknowledgement) => return Ok(Ok(acknowledgement)),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                    return Err(record);
                }
                // It was not sent, so another producer may.
                Err((_, record)) if self.renew_if_stopped() => record,
                Err((error, _)) => return Ok(Err(error)),
            };
        }
    }

    /// To be asked after an error: puts another producer in the place of one
    /// that has stopped, and says whether there was one.
    pub(super) fn renew_if_stopped(&self) -> bool {
        if self.current().client().fatal_error().is_none() {
            return false;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = current.client().fatal_error() else {
            // Another caller has done it.
            return true;
        };
        let stopped = match self.config.create_with_context(LoggedContext) {
            Ok(anew) => std::mem::replace(&mut *current, anew),
            Err(error) => {
                tracing::error!(
                    target: "eventkit::publisher",
                    %code, reason, %error,
                    "the producer has stopped and no other can be made; tried again at the next event"
                );
                return false;
            }
        };
        drop(current);
        tracing::error!(
            target: "eventkit::publisher",
            %code, reason,
            "the producer has stopped for good, another takes its place; \
             what was not acknowledged fails, and may have been written all the same"
        );
        // Ends the waiting for what it held; its end takes a moment.
        blocking::unblock(move || stopped.purge(PurgeConfig::default().queue().inflight()))
            .detach();
        true
    }

    /// Waits, on this thread, until nothing is queued any more.
    pub(super) fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        let current = self.current().clone();
        current.flush(timeout)
    }

    fn current(&self) -> RwLockReadGuard<'_, Native> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}
