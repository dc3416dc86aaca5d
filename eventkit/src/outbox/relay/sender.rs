//! A batch of rows to the broker, so that of each key a beginning is published.
//!
//! All are queued at once on a client that never writes behind a gap. Where it
//! fails because the broker refuses something, the rest goes one by one, key by
//! key, and shows which record it was.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::client::{Client, acknowledged};
use crate::error::Result;
use crate::event::headers as names;
use crate::ffi::append_header;
use crate::kafka::Connection;
use crate::outbox::headers;
use crate::outbox::row::{Line, Place, Row};
use crate::publisher::{RawRecord, is_refusal, is_too_large, send_span};
use crate::telemetry::propagation;

/// librdkafka's own default.
const LARGEST_BATCH: u32 = 1_000_000;
const SMALLEST_BATCH: u32 = 16_000;

/// How long the broker may be silent until it is said.
const SILENCE: Duration = Duration::from_secs(10);

/// How often, and how far apart, a topic must be unknown to be believed so.
const TOPIC_ASKED: u32 = 6;
const TOPIC_PAUSE: Duration = Duration::from_secs(1);

/// How often to see whether a client that does not answer has failed.
const FATAL_CHECK: Duration = Duration::from_millis(20);

/// How long to wait for the queue after it was told to give everything back.
const PURGE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Sender {
    connection: Connection,
    client: Client,
    /// Bytes of one batch on the wire: what the topics allow, as far as it is known.
    batch_bytes: u32,
    one_by_one: Option<Client>,
    /// Topics that the broker did not know.
    unknown: HashSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) published: Vec<Place>,
    /// With the reason; at most one of each key.
    pub(super) refused: Vec<(Place, String)>,
    /// Why the others are neither; they stay in the table.
    pub(super) waits: Option<String>,
}

/// A batch on its way.
struct Batch<'a> {
    sent: Sent,
    /// Not published yet, in order.
    open: Vec<&'a Row>,
    /// Lines with a refused head.
    halted: HashSet<Line<'a>>,
}

impl<'a> Batch<'a> {
    fn refuse(&mut self, row: &'a Row, reason: String) {
        if self.halted.insert(row.line()) {
            self.sent.refused.push((row.place, reason));
        }
    }

    fn is_halted(&self, row: &Row) -> bool {
        self.halted.contains(&row.line())
    }
}

impl Sender {
    pub(super) fn new(connection: Connection) -> Result<Self> {
        Ok(Self {
            client: Client::gapless(&connection, LARGEST_BATCH)?,
            batch_bytes: LARGEST_BATCH,
            one_by_one: None,
            unknown: HashSet::new(),
            connection,
        })
    }

    /// Sends nothing from `until` on, and takes back what is queued when `end` comes.
    pub(super) async fn send(
        &mut self,
        rows: &[Row],
        until: Instant,
        end: impl Future<Output = ()>,
    ) -> Sent {
        let mut end = pin!(end);
        let mut batch = Batch {
            sent: Sent::default(),
            open: rows.iter().collect(),
            halted: HashSet::new(),
        };
        self.refuse_unknown_topics(&mut batch).await;
        let refusal = self.send_together(&mut batch, until, end.as_mut()).await;
        if refusal && !batch.open.is_empty() {
            self.send_one_by_one(&mut batch, until, end.as_mut()).await;
        }
        batch.sent
    }

    /// Asks again for topics that were unknown, so that their rows do not hold up
    /// every batch for as long as a topic may take to become known.
    async fn refuse_unknown_topics<'a>(&mut self, batch: &mut Batch<'a>) {
        if self.unknown.is_empty() {
            return;
        }
        let asked: HashSet<&str> = batch.open.iter().map(|row| &*row.topic).collect();
        for topic in asked {
            if !self.unknown.contains(topic) {
                continue;
            }
            if self.client.knows(topic).await {
                self.unknown.remove(topic);
                continue;
            }
            for row in std::mem::take(&mut batch.open) {
                if row.topic == topic {
                    batch.refuse(row, format!("topic `{topic}` is unknown"));
                } else {
                    batch.open.push(row);
                }
            }
        }
    }

    /// Returns whether the broker refused something that one by one it may take.
    async fn send_together<'a, F: Future<Output = ()>>(
        &mut self,
        batch: &mut Batch<'a>,
        until: Instant,
        mut end: Pin<&mut F>,
    ) -> bool {
        let mut failed: Vec<(&'a Row, KafkaError)> = Vec::new();
        let mut queued = Vec::with_capacity(batch.open.len());
        let mut rows = std::mem::take(&mut batch.open).into_iter();
        for row in rows.by_ref() {
            if Instant::now() >= until {
                batch.sent.waits = Some("the lease ends".into());
                break;
            }
            if batch.is_halted(row) {
                continue;
            }
            let span = span(row);
            let Some(record) = record(row) else {
                batch.refuse(row, "its headers are not readable".into());
                continue;
            };
            match self.client.enqueue(record).await {
                Ok(record) => queued.push((row, span, record)),
                Err(error) if is_too_large(&error) => batch.refuse(row, error.to_string()),
                Err(error) => {
                    failed.push((row, error));
                    break;
                }
            }
        }
        let waiting = queued.len();
        let answers = join_all(queued.into_iter().map(|(row, span, record)| {
            let waited = acknowledged(record).instrument(span.clone());
            async move { (row, tell(&span, waited.await)) }
        }));
        let (answers, ending) = wait(&self.client, answers, waiting, end.as_mut()).await;
        for (row, answer) in answers {
            match answer {
                Ok(()) => batch.sent.published.push(row.place),
                Err(error) => failed.push((row, error)),
            }
        }
        failed.sort_by_key(|(row, _)| row.place.id);
        if ending != Ending::TakenBack {
            self.make_sure_of_unknown_topics(&failed, end).await;
        }
        let refusal = self.judge(batch, failed);
        batch.open.retain({
            let halted = &batch.halted;
            move |row| !halted.contains(&row.line())
        });
        if ending != Ending::Answered || self.client.has_failed() {
            self.begin_anew();
        }
        refusal && ending != Ending::TakenBack
    }

    /// A broker that has just started may not know a topic that is there.
    async fn make_sure_of_unknown_topics<F: Future<Output = ()>>(
        &mut self,
        failed: &[(&Row, KafkaError)],
        mut end: Pin<&mut F>,
    ) {
        let doubtful: HashSet<&str> = failed
            .iter()
            .filter(|(_, error)| is_unknown_topic(error))
            .map(|(row, _)| &*row.topic)
            .collect();
        for topic in doubtful {
            let mut asked = 0;
            while !self.client.knows(topic).await {
                asked += 1;
                if asked == TOPIC_ASKED {
                    self.unknown.insert(topic.to_owned());
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(TOPIC_PAUSE) => {}
                    () = end.as_mut() => return,
                }
            }
        }
    }

    /// Sorts what failed: a topic that is not there is refused as it stands, the
    /// rest is open still.
    fn judge<'a>(&mut self, batch: &mut Batch<'a>, failed: Vec<(&'a Row, KafkaError)>) -> bool {
        let mut refusal = false;
        for (row, error) in failed {
            if is_unknown_topic(&error) && self.unknown.contains(&row.topic) {
                batch.refuse(row, error.to_string());
                continue;
            }
            if is_refused(&error) {
                refusal = true;
            } else if batch.sent.waits.is_none() {
                batch.sent.waits = Some(error.to_string());
            }
            batch.open.push(row);
        }
        if refusal {
            // The others failed only because of it.
            batch.sent.waits = None;
        }
        refusal
    }

    async fn send_one_by_one<'a, F: Future<Output = ()>>(
        &mut self,
        batch: &mut Batch<'a>,
        until: Instant,
        end: Pin<&mut F>,
    ) {
        let client = match self.one_by_one.take() {
            Some(client) => client,
            None => match Client::one_by_one(&self.connection) {
                Ok(client) => client,
                Err(error) => {
                    batch.sent.waits = Some(error.to_string());
                    return;
                }
            },
        };
        let mut lines: HashMap<Line<'a>, Vec<&'a Row>> = HashMap::new();
        for row in std::mem::take(&mut batch.open) {
            lines.entry(row.line()).or_default().push(row);
        }
        let waiting = lines.values().map(Vec::len).sum();
        let sent = join_all(
            lines
                .into_values()
                .map(|rows| send_line(&client, rows, until)),
        );
        let (lines, ending) = wait(&client, sent, waiting, end).await;
        let mut refused = false;
        for (published, failed) in lines {
            batch.sent.published.extend(published);
            match failed {
                Some((row, error)) if is_refused(&error) => {
                    refused = true;
                    batch.refuse(row, error.to_string());
                }
                Some((_, error)) => batch.sent.waits = Some(error.to_string()),
                None => {}
            }
        }
        if ending == Ending::Answered {
            self.one_by_one = Some(client);
        }
        // Only together were they too large.
        let all_taken = !refused && batch.sent.waits.is_none() && ending == Ending::Answered;
        if all_taken && self.batch_bytes > SMALLEST_BATCH {
            self.batch_bytes /= 2;
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        match Client::gapless(&self.connection, self.batch_bytes) {
            Ok(client) => self.client = client,
            // Its settings were good before; the old one fails, and this is tried again.
            Err(error) => {
                tracing::error!(target: "eventkit::outbox", %error, "no new producer");
            }
        }
    }
}

/// One row after the other, until one fails.
async fn send_line<'a>(
    client: &Client,
    rows: Vec<&'a Row>,
    until: Instant,
) -> (Vec<Place>, Option<(&'a Row, KafkaError)>) {
    let mut published = Vec::new();
    for row in rows {
        if Instant::now() >= until {
            return (published, Some((row, KafkaError::Canceled)));
        }
        let Some(record) = record(row) else {
            return (published, Some((row, unreadable())));
        };
        let span = span(row);
        let sent = match client.enqueue(record).await {
            Ok(queued) => acknowledged(queued).instrument(span.clone()).await,
            Err(error) => Err(error),
        };
        match tell(&span, sent) {
            Ok(()) => published.push(row.place),
            Err(error) => return (published, Some((row, error))),
        }
    }
    (published, None)
}

fn unreadable() -> KafkaError {
    KafkaError::MessageProduction(RDKafkaErrorCode::InvalidRecord)
}

/// How waiting for the broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Answered,
    /// The client has failed for good, and gave back what it had not sent.
    Failed,
    /// It had to give back what it had not sent.
    TakenBack,
}

/// Waits for the broker, but not behind the end, nor behind a fatal failure, after
/// which the client would keep what is queued for ever.
async fn wait<T, F: Future<Output = ()>>(
    client: &Client,
    acknowledged: impl Future<Output = Vec<T>>,
    waiting: usize,
    mut end: Pin<&mut F>,
) -> (Vec<T>, Ending) {
    let mut acknowledged = pin!(acknowledged);
    let begun = Instant::now();
    let mut silence = SILENCE;
    let ending = loop {
        tokio::select! {
            biased;
            answers = acknowledged.as_mut() => return (answers, Ending::Answered),
            () = end.as_mut() => break Ending::TakenBack,
            () = tokio::time::sleep(FATAL_CHECK) => {}
        }
        if client.has_failed() {
            break Ending::Failed;
        }
        if begun.elapsed() >= silence {
            silence += SILENCE;
            tracing::warn!(
                target: "eventkit::outbox",
                waiting,
                since = ?begun.elapsed(),
                "the broker does not acknowledge; events wait"
            );
        }
    };
    client.take_back();
    let given_back = tokio::time::timeout(PURGE_PATIENCE, acknowledged).await;
    (given_back.unwrap_or_default(), ending)
}

fn record(row: &Row) -> Option<RawRecord<'_>> {
    let list = OwnedHeaders::new_with_capacity(12);
    headers::decode(&row.headers, |name, value| {
        append_header(&list, name, value);
    })?;
    Some(RawRecord {
        topic: &row.topic,
        partition: None,
        key: row.key.as_deref(),
        payload: Some(&row.payload),
        headers: list,
    })
}

/// The second half of a publication, below the span that wrote the row.
fn span(row: &Row) -> Span {
    let span = send_span(
        &row.topic,
        &row.event_type,
        &row.event_id,
        None,
        row.payload.len(),
    );
    if !span.is_disabled() {
        let (mut parent, mut state) = (None, None);
        headers::decode(&row.headers, |name, value| {
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            if name == names::TRACEPARENT.as_bytes() {
                parent = text;
            } else if name == names::TRACESTATE.as_bytes() {
                state = text;
            }
        });
        if let Some(parent) = parent {
            propagation::set_parent(&span, parent, state);
        }
    }
    span
}

fn tell(span: &Span, sent: Result<(i32, i64), KafkaError>) -> Result<(), KafkaError> {
    match sent {
        Ok((partition, offset)) => {
            span.record("messaging.destination.partition.id", partition);
            span.record("messaging.kafka.offset", offset);
            Ok(())
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", error.to_string());
            span.record("error.type", "publish");
            Err(error)
        }
    }
}

fn is_unknown_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}

fn is_refused(error: &KafkaError) -> bool {
    is_refusal(error)
        || matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidTopic)
        )
}
