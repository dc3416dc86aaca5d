//! Five services sell the orders of a real shop, connected by events only,
//! through faults of every kind; then the books are drawn up.

mod args;
mod books;
mod data;
mod events;
mod faults;
mod journey;
mod keeper;
mod ledger;
mod letters;
mod platform;
mod progress;
mod report;
mod services;
mod sync;

use std::process::ExitCode;
use std::time::Duration;

use eventkit::telemetry::{self, Telemetry};
use uuid::Uuid;

use args::{Args, ServiceName};
use faults::Faults;
use keeper::Keeper;
use ledger::Ledger;
use platform::Platform;
use services::Service;

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

    let purchases = data::purchases(args.orders)?;
    let units_at_start = data::units_at_start(&purchases);
    let platform = Platform::prepare(&args).await?;
    // Orders of different runs on one Kafka have different names.
    let run = Uuid::new_v4().as_fields().0;
    let ledger = Ledger::new(run, purchases);

    println!(
        "{}, seed {}{}",
        platform,
        args.seed,
        if args.calm { ", calm" } else { "" }
    );
    let mut services = Vec::new();
    for name in args.services() {
        let faults = Faults::new(args.seed, args.calm);
        let service = Service::start(name, &platform, faults, units_at_start, &ledger).await?;
        println!("  {name:<13} is ready");
        services.push(service);
    }

    let balanced = if services
        .iter()
        .any(|service| service.name == ServiceName::Order)
    {
        let keeper = Keeper {
            platform: &platform,
            faults: &Faults::new(args.seed, args.calm),
            services: &services,
            ledger: &ledger,
            run,
            units_at_start,
        };
        tokio::select! {
            balanced = keeper.keep() => balanced?,
            () = told_to_end() => {
                eprintln!("ended before the books were drawn up");
                false
            }
            error = failed(&services) => return Err(error.into()),
        }
    } else {
        tokio::select! {
            () = told_to_end() => {}
            error = failed(&services) => return Err(error.into()),
        }
        report::table(&services);
        true
    };

    let ends = services.into_iter().map(Service::shutdown);
    for end in futures_util::future::join_all(ends).await {
        end?;
    }
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

async fn failed(services: &[Service]) -> eventkit::Error {
    let failures = services
        .iter()
        .map(|service| Box::pin(service.running().failed()));
    futures_util::future::select_all(failures).await.0
}

/// SIGTERM or Ctrl-C.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
