//! The fault suite: worker processes on real servers, faults that hit them, and
//! an oracle that counts what was lost, done twice, out of order, or committed
//! too early. `tests/faults/run` starts it.

mod arguments;
mod child;
mod faults;
mod journal;
mod ledger;
mod load;
mod oracle;
mod place;
mod report;
mod rng;
mod scene;
mod servers;
mod watch;
mod worker;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;

use eventkit_tests::RedisServer;
use futures_util::FutureExt as _;

use arguments::Arguments;
use faults::Fault;
use report::Report;
use rng::Rng;
use scene::{Findings, Setting};
use servers::Cluster;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [role, orders] = &given[..]
        && role == "worker"
    {
        worker::run(orders).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::parse(&given)?;
    if arguments.list {
        for fault in faults::ALL {
            println!("{:<18} {}", fault.name, fault.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let passed = run(&arguments).await?;
    Ok(ExitCode::from(u8::from(!passed)))
}

async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    println!("seed {}", arguments.seed);
    std::fs::create_dir_all(place::home())?;
    let cluster = Arc::new(Cluster::start("kafka", 1).await?);
    let redis = RedisServer::start().await;
    let mut report = Report::begin(arguments)?;
    for fault in &arguments.faults {
        for protocol in fault.protocols(&arguments.protocols) {
            let setting = Setting {
                cluster: cluster.clone(),
                redis: redis.url(),
                database: None,
                protocol,
                long: arguments.long,
                rng: Rng::new(arguments.seed),
                sabotage: arguments.sabotage,
            };
            report.begins(fault, protocol);
            let findings = inflict(fault, setting).await;
            report.add(fault, protocol, findings)?;
        }
    }
    let passed = report.end();
    drop((cluster, redis));
    if passed {
        std::fs::remove_dir_all(place::home())?;
    } else {
        println!("journals and logs are in {}", place::home().display());
    }
    Ok(passed)
}

/// A panic is a finding and not the end; the hook has said where it was.
async fn inflict(fault: &Fault, setting: Setting) -> Findings {
    let run = AssertUnwindSafe((fault.run)(setting)).catch_unwind();
    let found = match run.await {
        Ok(found) => found,
        Err(_) => Err(anyhow::anyhow!("the suite itself panicked")),
    };
    found.unwrap_or_else(|error| Findings {
        complaints: vec![format!("{error:#}")],
        ..Findings::default()
    })
}
