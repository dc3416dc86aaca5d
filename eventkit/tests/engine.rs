//! The engine's promises, kept on the embedded broker.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use common::{Log, Raw, app, broker, by_key, consume, produce, started, stats, until};
use eventkit::dedup::MemoryDedup;
use eventkit::prelude::*;
use eventkit::{Delivery, Error, FromDelivery, Message};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Step.v1", topic = "steps", key = key)]
struct Step {
    key: u64,
    number: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Undo.v1", topic = "steps", key = key)]
struct Undo {
    key: u64,
    number: u64,
}

#[derive(Event, Serialize, Deserialize, Debug)]
#[event(type = "Done.v1", topic = "done", key = key)]
struct Done {
    key: u64,
    number: u64,
}

type Steps = Log<(u64, u64)>;

mod order {
    use super::*;

    #[handler(event = "Step.v1", retry(attempts = 10, backoff = "5ms..20ms"))]
    pub async fn flaky(
        step: Step,
        State(log): State<Steps>,
        Attempt(attempt): Attempt,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(step.number % 7 != 3 || attempt > 2, "not yet");
        tokio::time::sleep(Duration::from_micros(step.number % 5 * 100)).await;
        log.push((step.key, step.number));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn is_kept_per_key_through_retries() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("order", &broker)
                .handlers(handlers![flaky])
                .state(log.clone()),
        )
        .await;
        for number in 0..300 {
            running
                .publisher()
                .publish(&Step {
                    key: number % 11,
                    number,
                })
                .await
                .unwrap();
        }
        until("all steps", || log.len() == 300).await;
        for (key, numbers) in by_key(log.all()) {
            assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
        }
        assert!(stats(&running, "flaky").retries > 0);
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1", retry(attempts = 2, backoff = "1h..1h", jitter = none))]
    async fn stuck_on_zero(step: Step, State(log): State<Steps>) -> anyhow::Result<()> {
        anyhow::ensure!(step.key != 0, "stuck");
        log.push((step.key, step.number));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failing_key_holds_up_only_itself() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("stuck", &broker)
                .handlers(handlers![stuck_on_zero])
                .state(log.clone()),
        )
        .await;
        for number in 0..50 {
            running
                .publisher()
                .publish(&Step {
                    key: number % 5,
                    number,
                })
                .await
                .unwrap();
        }
        until("the other keys", || log.len() == 40).await;
        // Shutdown does not wait for the hour to pass.
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1", retry(attempts = 5, backoff = "20ms..20ms", jitter = none))]
    async fn step(
        step: Step,
        State(log): State<Steps>,
        Attempt(attempt): Attempt,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(attempt > 1, "first try fails");
        log.push((step.key, step.number));
        Ok(())
    }

    #[handler(event = "Undo.v1")]
    async fn undo(undo: Undo, State(log): State<Steps>) {
        log.push((undo.key, undo.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn holds_between_event_types_of_one_key() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("types", &broker)
                .handlers(handlers![step, undo])
                .state(log.clone()),
        )
        .await;
        for number in 0..20 {
            let publisher = running.publisher();
            publisher
                .publish(&Step {
                    key: 1,
                    number: 2 * number,
                })
                .await
                .unwrap();
            publisher
                .publish(&Undo {
                    key: 1,
                    number: 2 * number + 1,
                })
                .await
                .unwrap();
        }
        until("all", || log.len() == 40).await;
        assert!(by_key(log.all())[&1].is_sorted(), "{:?}", log.all());
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1", order = partition)]
    async fn in_line(step: Step, State(log): State<Steps>) {
        tokio::time::sleep(Duration::from_micros((100 - step.number) * 20)).await;
        log.push((0, step.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_a_whole_partition_can_be_asked_for() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("line", &broker)
                .handlers(handlers![in_line])
                .state(log.clone()),
        )
        .await;
        for number in 0..100 {
            running
                .publisher()
                .publish(&Step {
                    key: number,
                    number,
                })
                .await
                .unwrap();
        }
        until("all", || log.len() == 100).await;
        assert!(by_key(log.all())[&0].is_sorted());
        running.shutdown().await.unwrap();
    }
}

mod failure {
    use super::*;

    #[handler(event = "Step.v1", retry(attempts = 2, backoff = "1ms..1ms"))]
    async fn always_fails(_: Step) -> anyhow::Result<()> {
        anyhow::bail!("no luck")
    }

    #[handler(event = "Step.v1")]
    async fn succeeds(step: Step, State(log): State<Steps>) {
        log.push((step.key, step.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_one_handler_never_repeats_the_success_of_another() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("two", &broker)
                .handlers(handlers![always_fails, succeeds])
                .state(log.clone()),
        )
        .await;
        for number in 0..10 {
            running
                .publisher()
                .publish(&Step { key: 1, number })
                .await
                .unwrap();
        }
        until("dead letters", || {
            stats(&running, "always_fails").dead_letters == 10
        })
        .await;
        assert_eq!(by_key(log.all())[&1], (0..10).collect::<Vec<_>>());
        running.shutdown().await.unwrap();
    }

    #[handler(
        event = "Step.v1",
        retry(attempts = 3, backoff = "1ms..1ms"),
        timeout = "20ms"
    )]
    async fn fails_in_its_way(
        step: Step,
        State(runs): State<std::sync::Arc<AtomicU32>>,
    ) -> Result<(), HandlerError> {
        runs.fetch_add(1, SeqCst);
        match step.number {
            0 => Err("just an error".into()),
            1 => Err(HandlerError::reject("not worth it")),
            2 => {
                std::future::pending::<()>().await;
                Ok(())
            }
            _ => panic!("injected"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn is_told_in_the_dead_letter() {
        for (number, kind, attempts, message) in [
            (0, "exhausted", 3, "just an error"),
            (1, "rejected", 1, "not worth it"),
            (2, "timeout", 3, "timed out after 20ms"),
            (3, "panic", 3, "panicked: injected"),
        ] {
            let broker = broker(&["steps"]);
            let runs = std::sync::Arc::new(AtomicU32::new(0));
            let running = started(
                app("ways", &broker)
                    .handlers(handlers![fails_in_its_way])
                    .state(runs.clone()),
            )
            .await;
            running
                .publisher()
                .publish(&Step { key: 9, number })
                .await
                .unwrap();
            let letter = consume(&broker, "steps.ways.dlq", 1).await.remove(0);
            assert_eq!(letter.get("eventkit-error-kind").as_deref(), Some(kind));
            assert_eq!(
                letter.get("eventkit-error-message").as_deref(),
                Some(message)
            );
            assert_eq!(letter.get("eventkit-attempts"), Some(attempts.to_string()));
            assert_eq!(
                letter.get("eventkit-handler").as_deref(),
                Some("fails_in_its_way")
            );
            assert_eq!(letter.get("eventkit-group").as_deref(), Some("ways"));
            assert_eq!(
                letter.get("eventkit-original-topic").as_deref(),
                Some("steps")
            );
            assert_eq!(letter.get("eventkit-original-offset").as_deref(), Some("0"));
            assert_eq!(letter.get("eventkit-replay-count").as_deref(), Some("0"));
            assert_eq!(letter.key.as_deref(), Some(&b"9"[..]));
            assert_eq!(runs.load(SeqCst), attempts);
            running.shutdown().await.unwrap();
        }
    }

    #[handler(event = "Step.v1", retry(attempts = 1))]
    async fn defers_twice(
        step: Step,
        State(runs): State<std::sync::Arc<AtomicU32>>,
        State(log): State<Steps>,
        Attempt(attempt): Attempt,
    ) -> Result<(), HandlerError> {
        assert_eq!(attempt, 1);
        if runs.fetch_add(1, SeqCst) < 2 {
            return Err(HandlerError::defer(Duration::from_millis(5)));
        }
        log.push((step.key, step.number));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn is_not_what_a_deferral_counts_as() {
        let broker = broker(&["steps"]);
        let (runs, log) = (std::sync::Arc::new(AtomicU32::new(0)), Steps::default());
        let running = started(
            app("defer", &broker)
                .handlers(handlers![defers_twice])
                .state(runs.clone())
                .state(log.clone()),
        )
        .await;
        running
            .publisher()
            .publish(&Step { key: 1, number: 1 })
            .await
            .unwrap();
        until("the third run", || log.len() == 1).await;
        assert_eq!(stats(&running, "defers_twice").failures, 0);
        running.shutdown().await.unwrap();
    }
}

mod publishing {
    use super::*;

    #[handler(event = "Step.v1")]
    async fn answers(step: Step, publisher: Publisher) -> anyhow::Result<Vec<Done>> {
        publisher
            .publish(&Done {
                key: step.key,
                number: 100,
            })
            .await?;
        Ok(vec![
            Done {
                key: step.key,
                number: 1,
            },
            Done {
                key: step.key,
                number: 2,
            },
        ])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn carries_correlation_and_causation_and_repeats_its_ids() {
        let broker = broker(&["steps", "done"]);
        let running = started(app("answer", &broker).handlers(handlers![answers])).await;
        let id = uuid::Uuid::now_v7();
        let step = Step { key: 1, number: 1 };
        for _ in 0..2 {
            let message = Message::new(&step)
                .id(id)
                .correlation_id("flow-1")
                .header("tenant", "acme");
            running.publisher().send(message).await.unwrap();
        }
        let done = consume(&broker, "done", 6).await;
        for event in &done {
            assert_eq!(event.get("ce_type").as_deref(), Some("Done.v1"));
            assert_eq!(event.get("ce_specversion").as_deref(), Some("1.0"));
            assert_eq!(event.get("ce_source").as_deref(), Some("answer"));
            assert_eq!(event.get("ce_correlationid").as_deref(), Some("flow-1"));
            assert_eq!(event.get("ce_causationid"), Some(id.to_string()));
            assert_eq!(
                event.get("content-type").as_deref(),
                Some("application/json")
            );
        }
        let ids: Vec<_> = done
            .iter()
            .map(|event| event.get("ce_id").unwrap())
            .collect();
        assert_eq!(
            ids[..3],
            ids[3..],
            "a repeated delivery publishes the same ids"
        );
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        running.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn works_outside_an_app_and_passes_trace_headers_on() {
        let broker = broker(&["steps", "done"]);
        let running = started(app("trace", &broker).handlers(handlers![answers])).await;
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let raw = Raw::of_type("Step.v1", r#"{"key":1,"number":1}"#)
            .header("traceparent", traceparent)
            .header("baggage", "tenant=acme");
        produce(&broker, "steps", [raw]).await;
        let done = consume(&broker, "done", 3).await;
        assert_eq!(done[2].get("traceparent").as_deref(), Some(traceparent));
        assert_eq!(done[2].get("baggage").as_deref(), Some("tenant=acme"));
        let publisher = Publisher::builder("shop").broker(&broker).build().unwrap();
        let published = publisher
            .publish(&Done { key: 5, number: 5 })
            .await
            .unwrap();
        assert_eq!((published.topic, published.offset), ("done", 3));
        running.shutdown().await.unwrap();
    }
}

mod backpressure {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_send_queue_makes_publishing_wait_and_keeps_the_order() {
        let broker = broker(&["done"]);
        let publisher = Publisher::builder("shop")
            .broker(&broker)
            .kafka("queue.buffering.max.messages", "5")
            .build()
            .unwrap();
        let events: Vec<Done> = (0..200).map(|number| Done { key: 1, number }).collect();
        let published = publisher.publish_all(events).await.unwrap();
        let offsets: Vec<i64> = published.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    }
}

mod ways_to_run {
    use super::*;

    struct Tenant(String);

    impl FromDelivery for Tenant {
        async fn from_delivery(delivery: &Delivery) -> Result<Self, HandlerError> {
            let headers = delivery.headers();
            let tenant = headers
                .get_str("tenant")
                .ok_or_else(|| HandlerError::reject("no tenant"))?;
            Ok(Tenant(tenant.to_owned()))
        }
    }

    #[handler(event = "Step.v1", name = "on_the_pool")]
    fn blocks(
        step: Envelope<Step>,
        tenant: Tenant,
        State(log): State<Log<String>>,
    ) -> Option<Done> {
        log.push(format!("pool {} {}", tenant.0, step.metadata.offset));
        Some(Done {
            key: step.event.key,
            number: 7,
        })
    }

    #[handler(event = "Step.v1", parallel, order = none)]
    async fn on_its_own_task(
        step: Step,
        metadata: Metadata,
        State(log): State<Log<String>>,
    ) -> Done {
        log.push(format!("task {} {}", step.number, metadata.correlation_id));
        Done {
            key: step.key,
            number: 8,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn plain_functions_and_parallel_ones_publish_as_the_others_do() {
        let broker = broker(&["steps", "done"]);
        let log = Log::<String>::default();
        let running = started(
            app("ways", &broker)
                .handlers(handlers![blocks, on_its_own_task])
                .state(log.clone()),
        )
        .await;
        let step = Step { key: 1, number: 1 };
        let message = Message::new(&step)
            .correlation_id("c")
            .header("tenant", "acme");
        running.publisher().send(message).await.unwrap();
        let done = consume(&broker, "done", 2).await;
        assert!(
            done.iter()
                .all(|event| event.get("ce_correlationid").as_deref() == Some("c"))
        );
        let mut lines = log.all();
        lines.sort();
        assert_eq!(lines, ["pool acme 0", "task 1 c"]);
        running.shutdown().await.unwrap();
    }

    #[derive(Clone, Default)]
    struct Gauge(std::sync::Arc<(AtomicUsize, AtomicUsize)>);

    #[handler(event = "Step.v1", concurrency = 3)]
    async fn bounded(_: Step, State(gauge): State<Gauge>, State(log): State<Steps>) {
        let now = gauge.0.0.fetch_add(1, SeqCst) + 1;
        gauge.0.1.fetch_max(now, SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
        gauge.0.0.fetch_sub(1, SeqCst);
        log.push((0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_run_at_once_than_allowed() {
        let broker = broker(&["steps"]);
        let (gauge, log) = (Gauge::default(), Steps::default());
        let running = started(
            app("bound", &broker)
                .handlers(handlers![bounded])
                .state(gauge.clone())
                .state(log.clone()),
        )
        .await;
        for number in 0..40 {
            running
                .publisher()
                .publish(&Step {
                    key: number,
                    number,
                })
                .await
                .unwrap();
        }
        until("all", || log.len() == 40).await;
        assert_eq!(gauge.0.1.load(SeqCst), 3);
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1", group = "audit")]
    async fn audit(step: Step, State(log): State<Steps>) {
        log.push((1000 + step.key, step.number));
    }

    #[handler(event = "Step.v1")]
    async fn work(step: Step, State(log): State<Steps>) {
        log.push((step.key, step.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_group_and_every_app_gets_every_event() {
        let broker = broker(&["steps"]);
        let (log, other) = (Steps::default(), Steps::default());
        let first = started(
            app("one", &broker)
                .handlers(handlers![audit, work])
                .state(log.clone()),
        )
        .await;
        let second = started(
            app("two", &broker)
                .handlers(handlers![work])
                .state(other.clone()),
        )
        .await;
        for number in 0..10 {
            first
                .publisher()
                .publish(&Step { key: 1, number })
                .await
                .unwrap();
        }
        until("both groups", || log.len() == 20).await;
        until("the other app", || other.len() == 10).await;
        assert_eq!(by_key(log.all())[&1001], (0..10).collect::<Vec<_>>());
        first.shutdown().await.unwrap();
        second.shutdown().await.unwrap();
    }
}

mod dedup {
    use super::*;

    #[handler(event = "Step.v1", dedup(ttl = "1h"))]
    async fn once(step: Step, State(log): State<Steps>) {
        log.push((step.key, step.number));
    }

    #[handler(event = "Step.v1", dedup(ttl = "1h", key = number))]
    async fn once_per_number(step: Step, State(log): State<Steps>) {
        log.push((1000 + step.key, step.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repeated_event_has_one_effect_per_handler() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("once", &broker)
                .handlers(handlers![once, once_per_number])
                .state(log.clone()),
        )
        .await;
        let step = Step { key: 1, number: 1 };
        let id = uuid::Uuid::now_v7();
        for _ in 0..3 {
            running
                .publisher()
                .send(Message::new(&step).id(id))
                .await
                .unwrap();
        }
        // Another event with the same number: another one to `once` alone.
        running.publisher().publish(&step).await.unwrap();
        until("the duplicates", || {
            stats(&running, "once").duplicates == 2
                && stats(&running, "once_per_number").duplicates == 3
        })
        .await;
        let mut effects = log.all();
        effects.sort_unstable();
        assert_eq!(effects, [(1, 1), (1, 1), (1001, 1)]);
        running.shutdown().await.unwrap();
    }

    #[derive(Clone)]
    struct Elsewhere(Steps);

    #[handler(event = "Step.v1")]
    async fn work_elsewhere(step: Step, State(log): State<Elsewhere>) {
        log.0.push((step.key, step.number));
    }

    #[derive(Clone, Default)]
    struct Mended(std::sync::Arc<AtomicBool>);

    #[handler(
        event = "Step.v1",
        retry(attempts = 2, backoff = "1ms..1ms"),
        dedup(ttl = "1h")
    )]
    async fn breaks_on_odd(
        step: Step,
        State(mended): State<Mended>,
        State(log): State<Steps>,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(
            step.number.is_multiple_of(2) || mended.0.load(SeqCst),
            "odd"
        );
        log.push((step.key, step.number));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replay_runs_the_handler_that_failed_and_no_other() {
        let broker = broker(&["steps"]);
        let (mended, log, others) = (Mended::default(), Steps::default(), Steps::default());
        let running = started(
            app("replay", &broker)
                .handlers(handlers![breaks_on_odd, work_elsewhere])
                .state(mended.clone())
                .state(log.clone())
                .state(Elsewhere(others.clone())),
        )
        .await;
        let id = uuid::Uuid::now_v7();
        let odd = Step { key: 1, number: 1 };
        running
            .publisher()
            .send(Message::new(&odd).id(id))
            .await
            .unwrap();
        running
            .publisher()
            .publish(&Step { key: 1, number: 2 })
            .await
            .unwrap();
        until("the dead letter", || {
            stats(&running, "breaks_on_odd").dead_letters == 1
        })
        .await;

        // A first replay fails again, and that is a new letter of the next round.
        let report = eventkit::dlq::replay(&running).await.unwrap();
        assert_eq!((report.replayed, report.refused), (1, 0));
        until("the second letter", || {
            stats(&running, "breaks_on_odd").dead_letters == 2
        })
        .await;
        let letters = consume(&broker, "steps.replay.dlq", 2).await;
        assert_eq!(
            letters[1].get("eventkit-replay-count").as_deref(),
            Some("1")
        );
        assert_eq!(letters[0].clone().original(), letters[1].clone().original());

        mended.0.store(true, SeqCst);
        // A stray copy of the original stays a duplicate of the dead letter.
        running
            .publisher()
            .send(Message::new(&odd).id(id))
            .await
            .unwrap();
        until("the stray copy", || {
            stats(&running, "breaks_on_odd").duplicates == 1
        })
        .await;

        assert_eq!(eventkit::dlq::replay(&running).await.unwrap().replayed, 1);
        until("the effect", || log.len() == 2).await;
        assert_eq!(eventkit::dlq::replay(&running).await.unwrap().replayed, 0);
        assert_eq!(log.all(), [(1, 2), (1, 1)]);
        // The handler that had succeeded saw each published event once, and no replay.
        until("the other handler", || others.len() == 3).await;
        running.shutdown().await.unwrap();
        assert_eq!(others.len(), 3);
    }

    #[derive(Clone, Default)]
    struct Gate(std::sync::Arc<tokio::sync::Notify>);

    #[handler(event = "Step.v1", dedup(ttl = "1h"), order = none)]
    async fn slow(step: Step, State(gate): State<Gate>, State(log): State<Steps>) {
        log.push((step.key, step.number));
        gate.0.notified().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_duplicate_waits_for_the_first_to_end() {
        let broker = broker(&["steps"]);
        let (gate, log) = (Gate::default(), Steps::default());
        let running = started(
            app("wait", &broker)
                .dedup(MemoryDedup::new())
                .handlers(handlers![slow])
                .state(gate.clone())
                .state(log.clone()),
        )
        .await;
        let id = uuid::Uuid::now_v7();
        let step = Step { key: 1, number: 1 };
        for _ in 0..2 {
            running
                .publisher()
                .send(Message::new(&step).id(id))
                .await
                .unwrap();
        }
        until("the first", || log.len() == 1).await;
        assert_eq!(
            stats(&running, "slow").duplicates,
            0,
            "the outcome is not known yet"
        );
        gate.0.notify_one();
        until("the second", || stats(&running, "slow").duplicates == 1).await;
        assert_eq!(log.len(), 1);
        running.shutdown().await.unwrap();
    }
}

mod life {
    use super::*;

    #[derive(Clone)]
    struct Missing;

    #[handler(event = "Step.v1", dedup(ttl = "1h"))]
    async fn needs_much(_: Step, _missing: State<Missing>) {}

    #[handler(event = "Undo.v1", name = "needs_much")]
    async fn same_name(_: Undo) {}

    #[derive(Event, Serialize, Deserialize)]
    #[event(type = "Reserve.v1", topic = "reserve", kind = command)]
    struct Reserve {}

    #[handler(event = "Reserve.v1")]
    async fn first_taker(_: Reserve) {}

    #[handler(event = "Reserve.v1")]
    async fn second_taker(_: Reserve) {}

    #[tokio::test(flavor = "multi_thread")]
    async fn the_start_up_checks_report_everything_at_once() {
        let settings = eventkit::Settings::parse(
            "bootstrap_servers = \"127.0.0.1:1\"\nstartup_timeout = \"200ms\"",
        )
        .unwrap();
        let error = App::new("bad")
            .settings(settings)
            .handlers(handlers![needs_much, same_name, first_taker, second_taker])
            .default_type("stepz", "Step.v1")
            .default_type("steps", "Stepz.v1")
            .check()
            .await
            .unwrap_err();
        let Error::Startup(problems) = error else {
            panic!("{error}")
        };
        let problems: Vec<&str> = problems.iter().collect();
        for part in [
            "needs a state `engine::life::Missing`",
            "are named `needs_much`",
            "command `Reserve.v1` must have one handler and has 2",
            "asks for dedup, and there is no store",
            "names topic `stepz`, which no handler listens to; there is `reserve`, `steps`",
            "names type `Stepz.v1` for topic `steps`, which no handler takes from it; there is `Step.v1`, `Undo.v1`",
            "Kafka at 127.0.0.1:1 does not answer",
        ] {
            assert!(
                problems.iter().any(|problem| problem.contains(part)),
                "{part}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 7, "{problems:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_property_that_would_break_a_guarantee_is_refused() {
        let broker = broker(&["steps"]);
        let error = app("bad", &broker)
            .kafka("enable.auto.commit", "false")
            .check()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("enable.auto.commit"), "{error}");
    }

    #[handler(event = "Step.v1")]
    async fn takes_a_while(step: Step, cancel: CancellationToken, State(log): State<Steps>) {
        log.push((step.key, 0));
        cancel.cancelled().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        log.push((step.key, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shutdown_lets_running_handlers_finish_and_they_do_not_run_again() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let service = || {
            app("end", &broker)
                .handlers(handlers![takes_a_while])
                .state(log.clone())
        };
        let running = started(service()).await;
        for number in 0..3 {
            running
                .publisher()
                .publish(&Step {
                    key: number,
                    number,
                })
                .await
                .unwrap();
        }
        until("all begun", || log.len() == 3).await;
        running.shutdown().await.unwrap();
        assert_eq!(log.len(), 6);

        let running = started(service()).await;
        running
            .publisher()
            .publish(&Step { key: 7, number: 7 })
            .await
            .unwrap();
        until("the next", || log.len() == 7).await;
        assert_eq!(log.all()[6], (7, 0), "only what came after the shutdown");
        running.shutdown().await.unwrap();
    }

    /// Every third key is slow, so that others get ahead of it.
    #[handler(event = "Step.v1")]
    async fn some_slow(step: Step, State(log): State<Steps>) {
        if step.key.is_multiple_of(3) {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        log.push((step.key, step.number));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shutdown_leaves_no_gap_before_what_was_done() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let service = || {
            app("gaps", &broker)
                .handlers(handlers![some_slow])
                .state(log.clone())
        };
        let running = started(service()).await;
        for number in 0..90 {
            let key = number % 9;
            running
                .publisher()
                .publish(&Step { key, number })
                .await
                .unwrap();
        }
        until("the quick keys are ahead", || log.len() >= 60).await;
        assert!(log.len() < 90);
        running.shutdown().await.unwrap();

        let running = started(service()).await;
        let done = || {
            let mut done = log.all();
            done.sort_unstable();
            done
        };
        until("all done", || {
            let mut done = done();
            done.dedup();
            done.len() == 90
        })
        .await;
        assert_eq!(done().len(), 90, "some were done twice");
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1")]
    async fn never_ends(_: Step, State(log): State<Steps>) {
        log.push((0, 0));
        std::future::pending::<()>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_handler_that_never_ends_is_left_behind_and_said_so() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        let running = started(
            app("never", &broker)
                .handlers(handlers![never_ends])
                .state(log.clone())
                .shutdown_timeout(Duration::from_millis(100)),
        )
        .await;
        running
            .publisher()
            .publish(&Step { key: 1, number: 1 })
            .await
            .unwrap();
        until("it runs", || log.len() == 1).await;
        let error = running.shutdown().await.unwrap_err();
        assert!(
            error.to_string().contains("1 events were not finished"),
            "{error}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn run_until_ends_with_its_future() {
        let broker = broker(&["steps"]);
        let log = Steps::default();
        app("until", &broker)
            .handlers(handlers![never_ends])
            .state(log)
            .run_until(std::future::ready(()))
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_embedded_broker_forgot_is_not_passed_over_in_silence() {
        let broker = broker(&["steps"]);
        let log = Log::<i64>::default();
        let noise: String = (0..100_000u32)
            .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
            .collect();
        let payload = format!("{{\"key\":1,\"number\":1,\"noise\":\"{noise}\"}}");
        let records = (0..100).map(|_| Raw::of_type("Step.v1", payload.clone()));
        produce(&broker, "steps", records).await;
        let running = started(
            app("short", &broker)
                .handlers(handlers![offsets])
                .state(log.clone()),
        )
        .await;
        until("the last record", || log.all().last() == Some(&99)).await;
        assert!(log.all()[0] > 0, "the broker forgot the first ones");
        running.shutdown().await.unwrap();
    }

    #[handler(event = "Step.v1", order = partition)]
    async fn offsets(_: Step, metadata: Metadata, State(log): State<Log<i64>>) {
        log.push(metadata.offset);
    }
}
