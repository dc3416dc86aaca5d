//! ruststream with ruststream-rdkafka, set up as its guides say for at least
//! once: tracked commits, lanes by record key where keys may run side by side.
//!
//! Its consumer has the librdkafka properties of the other loops; its own
//! defaults would measure `fetch.queue.backoff.ms`. A retry is a copy behind the
//! other events, so it does not keep a failing key's order.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ruststream::runtime::RETRY_COUNT_HEADER;
use ruststream_rdkafka::prelude::*;

use crate::case::Job;
use crate::check::Check;
use crate::event::OrderPlaced;
use crate::report::Report;
use crate::workloads::poison::{self, Bench};
use crate::{kafka, subject};

/// Names stand in attributes, so they are found here.
static TOPIC: OnceLock<(String, String)> = OnceLock::new();

fn topic() -> String {
    TOPIC
        .get()
        .map(|(topic, _)| topic.clone())
        .unwrap_or_default()
}

trait Tuned {
    fn tuned(self) -> Self;
}

impl Tuned for KafkaTopic {
    fn tuned(self) -> Self {
        let group = TOPIC
            .get()
            .map(|(_, group)| group.clone())
            .unwrap_or_default();
        self.group(group)
            .start(StartOffset::Earliest)
            .commit(Commit::Tracked)
            .assignment(Assignment::CooperativeSticky)
            .config("fetch.queue.backoff.ms", "5")
            .config("fetch.wait.max.ms", "100")
            .config("queued.max.messages.kbytes", "16384")
    }
}

fn broker(job: &Job) -> Result<KafkaBroker> {
    TOPIC.get_or_init(|| (job.topic(), job.group.clone()));
    Ok(KafkaBroker::new([kafka::servers()?]))
}

fn info() -> AppInfo {
    AppInfo::new("bench", "0.1.0")
}

#[derive(Clone, FromRef)]
struct Checked {
    check: Check,
}

#[subscriber(KafkaTopic::new(topic()).tuned())]
async fn noop(order: &OrderPlaced, State(check): State<Check>) -> HandlerOutcome {
    check.handled(order);
    HandlerOutcome::ack()
}

#[subscriber(KafkaTopic::new(topic()).tuned().lane_key(LaneKey::RecordKey), workers(16384, by_key))]
async fn wait(order: &OrderPlaced, State(check): State<Check>) -> HandlerOutcome {
    check.begun();
    tokio::time::sleep(Duration::from_millis(5)).await;
    check.handled(order);
    HandlerOutcome::ack()
}

pub fn noop_run(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    let state = Checked {
        check: check.clone(),
    };
    let broker = broker(job)?;
    let app = RustStream::new(info())
        .on_startup(async move |()| Ok::<_, Infallible>(state))
        .with_broker(broker, |b| {
            b.include(noop);
        });
    run(app, &check)
}

pub fn wait_run(job: &Job) -> Result<Report> {
    let check = Check::new(job.load());
    let state = Checked {
        check: check.clone(),
    };
    let broker = broker(job)?;
    let app = RustStream::new(info())
        .on_startup(async move |()| Ok::<_, Infallible>(state))
        .with_broker(broker, |b| {
            b.include(wait);
        });
    run(app, &check)
}

fn run(app: impl App, check: &Check) -> Result<Report> {
    subject::runtime()?.block_on(async {
        let running = app.start().await.context("ruststream does not start")?;
        check.done().await;
        let report = Report::of(check);
        running
            .shutdown()
            .await
            .context("ruststream does not end in order")?;
        Ok(report)
    })
}

#[derive(Clone, FromRef)]
struct Benched {
    bench: Bench,
}

#[subscriber(KafkaTopic::new(topic()).tuned().lane_key(LaneKey::RecordKey), workers(16384, by_key))]
async fn stumble(
    order: &OrderPlaced,
    ctx: &mut Context<'_>,
    State(bench): State<Bench>,
) -> HandlerOutcome {
    if bench.handle(order).is_ok() {
        return HandlerOutcome::ack();
    }
    let first = ctx.headers().get_str(RETRY_COUNT_HEADER).is_none();
    HandlerOutcome::retry_after(Duration::from_millis(if first { 100 } else { 200 }))
}

pub fn poison_run(job: &Job) -> Result<Report> {
    let bench = Bench::new(job.load());
    let letters = poison::dead_letters(job);
    kafka::create(&letters, job.load().partitions)?;
    let state = Benched {
        bench: bench.clone(),
    };
    let broker = broker(job)?;
    let to = letters.clone();
    let app = RustStream::new(info())
        .on_startup(async move |()| Ok::<_, Infallible>(state))
        .with_broker(broker, |b| {
            b.include(stumble)
                .max_attempts(nonzero!(3u32))
                .dead_letter(to);
        });
    subject::runtime()?.block_on(async {
        let running = app.start().await.context("ruststream does not start")?;
        bench.check.done().await;
        let settled = bench.dead_letters_written(&letters).await?;
        let mut report = Report::of(&bench.check);
        report.figure(crate::report::SETTLED, settled.as_secs_f64());
        running
            .shutdown()
            .await
            .context("ruststream does not end in order")?;
        bench.report(report, &letters)
    })
}
