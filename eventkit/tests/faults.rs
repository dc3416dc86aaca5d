//! What goes wrong outside a handler: in what the user wrote beside it, in the
//! engine's own tasks, and between the engine and Kafka.

#![allow(clippy::unwrap_used)]

mod common;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use common::{Log, app, broker, consume, started, stats, until};
use eventkit::prelude::*;
use eventkit::{Error, EventKey, Settings};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "Step.v1", topic = "steps", key = key)]
struct Step {
    key: u64,
    number: Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Number(u64);

impl EventKey for Number {
    fn key_bytes(&self) -> Option<Cow<'_, [u8]>> {
        assert_ne!(self.0, 13, "not this number");
        Some(Cow::Owned(self.0.to_string().into_bytes()))
    }
}

type Numbers = Log<u64>;

fn step(number: u64) -> Step {
    let number = Number(number);
    Step { key: 1, number }
}

mod a_panic_outside_the_handler_is_a_dead_letter {
    use super::*;

    #[derive(Debug)]
    struct Speechless;

    impl fmt::Display for Speechless {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no words")
        }
    }

    impl std::error::Error for Speechless {}

    #[handler(event = "Step.v1")]
    async fn fails_without_words(step: Step, State(log): State<Numbers>) -> Result<(), Speechless> {
        log.push(step.number.0);
        if step.number.0 == 13 {
            Err(Speechless)
        } else {
            Ok(())
        }
    }

    #[handler(event = "Step.v1", dedup(ttl = "1h", key = number))]
    async fn known_by_its_number(step: Step, State(log): State<Numbers>) {
        log.push(step.number.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_the_text_of_an_error() {
        let service = handlers![fails_without_words];
        let (panicked, handled) = goes_on(service, "fails_without_words").await;
        assert!(panicked.contains("no words"), "{panicked}");
        assert_eq!(handled, [13, 14]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn in_the_key_of_dedup() {
        let service = handlers![known_by_its_number];
        let (panicked, handled) = goes_on(service, "known_by_its_number").await;
        assert!(panicked.contains("not this number"), "{panicked}");
        assert_eq!(handled, [14]);
    }

    /// The error of the dead letter, and the numbers that came to the handler:
    /// one that makes it panic, and another behind it of the same key.
    async fn goes_on(
        service: Vec<eventkit::HandlerDefinition>,
        handler: &str,
    ) -> (String, Vec<u64>) {
        let broker = broker(&["steps"]);
        let log = Numbers::default();
        let running = started(app("faults", &broker).handlers(service).state(log.clone())).await;
        for number in [13, 14] {
            running.publisher().publish(&step(number)).await.unwrap();
        }
        let letter = consume(&broker, "steps.faults.dlq", 1).await.remove(0);
        assert_eq!(letter.get("eventkit-error-kind").as_deref(), Some("panic"));
        assert_eq!(letter.get("eventkit-handler").as_deref(), Some(handler));
        until("the next one", || stats(&running, handler).handled == 1).await;
        running.shutdown().await.unwrap();
        (letter.get("eventkit-error-message").unwrap(), log.all())
    }
}

mod a_partition_whose_task_died {
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Metadata, Subscriber};

    use super::*;

    #[handler(event = "Step.v1")]
    async fn never_reached(_: Step) {}

    /// Panics where no delivery catches it, on the test's own thread.
    struct Panics;

    impl Subscriber for Panics {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "eventkit::delivery"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            panic!("injected")
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &tracing::Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn ends_the_app_with_a_message() {
        let broker = broker(&["steps"]);
        let running = started(app("dies", &broker).handlers(handlers![never_reached])).await;
        let _panics = tracing::subscriber::set_default(Panics);
        running.publisher().publish(&step(1)).await.unwrap();
        let failed = tokio::time::timeout(Duration::from_secs(20), running.failed());
        let Error::Group { group, reason } = failed.await.unwrap() else {
            panic!("another error")
        };
        assert_eq!(group, "dies");
        assert_eq!(
            reason,
            "the task of `steps` partition 0 panicked; restart the process"
        );
        running.shutdown().await.unwrap();
    }
}

mod kafka {
    use super::*;

    #[handler(event = "Step.v1")]
    async fn note(step: Step, State(log): State<Numbers>) {
        log.push(step.number.0);
    }

    #[handler(event = "Step.v1")]
    async fn never_ends(step: Step, State(log): State<Numbers>) {
        log.push(step.number.0);
        std::future::pending::<()>().await;
    }

    /// Kafka that fails when told to, and a service `faults` on it.
    struct Place {
        cluster: MockCluster<'static, DefaultProducerContext>,
        log: Numbers,
    }

    impl Place {
        fn new() -> Self {
            let cluster = MockCluster::new(1).unwrap();
            for topic in ["steps", "steps.faults.dlq"] {
                cluster.create_topic(topic, 1, 1).unwrap();
            }
            let log = Numbers::default();
            Self { cluster, log }
        }

        fn app(&self, handlers: Vec<eventkit::HandlerDefinition>) -> App {
            App::new("faults")
                .settings(Settings::default())
                .bootstrap_servers(self.cluster.bootstrap_servers())
                .handlers(handlers)
                .state(self.log.clone())
        }

        fn fails(&self, request: RDKafkaApiKey, times: usize, error: RDKafkaRespErr) {
            self.cluster.request_errors(request, &vec![error; times]);
        }

        /// As if its position were not in the log.
        fn loses_its_position(&self) {
            use RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE as Lost;
            self.fails(RDKafkaApiKey::Fetch, 1, Lost);
        }

        async fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
            let publisher = Publisher::builder("tests")
                .bootstrap_servers(self.cluster.bootstrap_servers())
                .build()
                .unwrap();
            for number in numbers {
                publisher.publish(&step(number)).await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn start_positions_that_are_not_told_are_asked_for_again() {
        use RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED as Refused;
        let place = Place::new();
        place.fails(RDKafkaApiKey::OffsetFetch, 3, Refused);
        place.publish([1]).await;
        let running = place.app(handlers![note]).start().await.unwrap();
        until("it is handled", || place.log.len() == 1).await;
        running.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_position_that_is_back_in_the_log_is_read_on() {
        let place = Place::new();
        let running = started(place.app(handlers![note])).await;
        place.publish([1, 2]).await;
        until("the first are handled", || place.log.len() == 2).await;
        place.loses_its_position();
        place.publish([3, 4]).await;
        until("the others are handled", || place.log.len() >= 4).await;
        assert_eq!(place.log.all(), [1, 2, 3, 4], "from where it was");
        running.shutdown().await.unwrap();
    }

    /// The log's beginning moves on between the question where it is and the
    /// first fetch.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_beginning_that_has_moved_is_asked_for_again() {
        let place = Place::new();
        place.publish([1, 2]).await;
        place.loses_its_position();
        let running = started(place.app(handlers![note])).await;
        until("they are handled", || place.log.len() >= 2).await;
        assert_eq!(place.log.all(), [1, 2]);
        running.shutdown().await.unwrap();
    }

    /// The clock stands still while something is done, and jumps to the next
    /// deadline when everything waits.
    #[tokio::test]
    async fn that_does_not_answer_lets_a_shutdown_end_within_thirty_seconds() {
        let place = Place::new();
        let running = started(place.app(handlers![never_ends])).await;
        let publisher = running.publisher().clone();
        publisher.publish(&step(1)).await.unwrap();
        until("it runs", || place.log.len() == 1).await;
        place.cluster.broker_down(1).unwrap();
        let step = step(2);
        let unsent = tokio::time::timeout(Duration::from_millis(20), publisher.publish(&step));
        assert!(unsent.await.is_err(), "it waits for its acknowledgement");

        tokio::time::pause();
        let asked = tokio::time::Instant::now();
        running.shutdown().await.unwrap_err();
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
        place.cluster.broker_up(1).unwrap();
    }
}
