//! The example's five services: in one process without servers, and as five
//! processes, killed or not, on a real Kafka, Redis and PostgreSQL.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eventkit_tests::{Process, database_url, kafka_servers, program, redis_url};
use tokio::sync::Mutex;

const ORDERS: &str = "2000";

/// On the servers one at a time: the services of two would share their groups.
static SERVERS: Mutex<()> = Mutex::const_new(());

/// On the servers.
fn on_servers(program: &Path, arguments: &[&str]) -> Process {
    let mut command = without_servers(program, arguments);
    command
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka_servers())
        .env("REDIS_URL", redis_url())
        .env("DATABASE_URL", database_url());
    Process::start(&mut command)
}

fn without_servers(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--orders", ORDERS]).args(arguments);
    for unwanted in [
        "KAFKA_BOOTSTRAP_SERVERS",
        "REDIS_URL",
        "DATABASE_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "RUST_LOG",
        "EVENTKIT_CONFIG",
    ] {
        command.env_remove(unwanted);
    }
    command
}

/// Its books balance, before the replay and after it.
async fn balances(mut keeper: Process, seed: &str) -> String {
    let status = keeper.ends(Duration::from_secs(300)).await;
    let told = keeper.lines().join("\n");
    assert!(status.success(), "seed {seed}: {status}\n{told}");
    assert_eq!(
        told.matches("They balance.").count(),
        2,
        "seed {seed}:\n{told}"
    );
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_without_any_server() {
    let program = program("order-lifecycle");
    for seed in ["1", "2", "3"] {
        let mut command = without_servers(&program, &["--seed", seed]);
        balances(Process::start(&mut command), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance_though_every_service_is_killed() {
    let _turn = SERVERS.lock().await;
    let program = program("order-lifecycle");
    let keeper = on_servers(&program, &["--kill", "--seed", "1"]);
    let told = balances(keeper, "1").await;
    assert!(told.contains("15 kills"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_of_five_processes_balance() {
    let _turn = SERVERS.lock().await;
    let program = program("order-lifecycle");
    for seed in ["1", "2", "3"] {
        let others = ["inventory", "payment", "notification", "analytics"];
        let mut others =
            others.map(|name| on_servers(&program, &["--service", name, "--seed", seed]));
        for other in &mut others {
            other.says("is ready").await;
        }
        let order = on_servers(&program, &["--service", "order", "--seed", seed]);
        balances(order, seed).await;
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
