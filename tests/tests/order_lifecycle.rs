//! The example's five services as five processes, on a real Kafka and Redis.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eventkit_tests::{Process, kafka_servers, program, redis_url};

const ORDERS: &str = "2000";

fn service(program: &Path, name: &str, seed: &str) -> Process {
    let mut command = Command::new(program);
    command
        .args(["--service", name, "--orders", ORDERS, "--seed", seed])
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka_servers())
        .env("REDIS_URL", redis_url());
    for unwanted in ["OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_LOG", "EVENTKIT_CONFIG"] {
        command.env_remove(unwanted);
    }
    Process::start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_five_processes_balance() {
    let program = program("order-lifecycle");
    for seed in ["1", "2", "3"] {
        let others = ["inventory", "payment", "notification", "analytics"];
        let mut others = others.map(|name| service(&program, name, seed));
        for other in &mut others {
            other.says("is ready").await;
        }
        let mut order = service(&program, "order", seed);
        let status = order.ends(Duration::from_secs(120)).await;
        let told = order.lines().join("\n");
        assert!(status.success(), "seed {seed}: {status}\n{told}");
        assert!(told.contains("They balance."), "seed {seed}:\n{told}");
        assert!(!told.contains("NOT balance"), "seed {seed}:\n{told}");
        for other in &mut others {
            other.signal("TERM");
        }
        for mut other in others {
            let status = other.ends(Duration::from_secs(30)).await;
            assert!(
                status.success(),
                "seed {seed}: {status}\n{}",
                other.lines().join("\n")
            );
        }
    }
}
