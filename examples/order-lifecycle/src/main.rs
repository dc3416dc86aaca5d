//! Five services sell the orders of a real shop, connected by events only,
//! through faults of every kind; then the books are drawn up.

mod args;
mod data;
mod events;
mod faults;
mod figures;
mod journey;
mod letters;
mod platform;
mod postgres;
mod processes;
mod progress;
mod report;
mod sqlite;
mod sync;

use std::process::ExitCode;
use std::time::Duration;

use eventkit::telemetry::{self, Telemetry};

use args::{Args, ServiceName};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("order-lifecycle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let Some(args) = Args::read()? else {
        println!("{}", args::USAGE);
        return Ok(true);
    };
    faults::silence_injected_panics();
    let telemetry = telemetry(&args)?;
    let balanced = match &args.database {
        Some(url) => postgres::shop::run(&args, &postgres::Databases::at(url)?).await?,
        None => sqlite::shop::run(&args, &sqlite::Databases::create()?).await?,
    };
    if let Some(telemetry) = telemetry {
        telemetry.shutdown(Duration::from_secs(5))?;
    }
    Ok(balanced)
}

/// Quiet by default: with so many faults injected, the logs would be all there is.
fn telemetry(args: &Args) -> anyhow::Result<Option<Telemetry>> {
    let wanted = ["OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_LOG"];
    if !wanted.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(None);
    }
    let name = args.service.map_or("order-lifecycle", ServiceName::as_str);
    Ok(Some(telemetry::init(name)?))
}
