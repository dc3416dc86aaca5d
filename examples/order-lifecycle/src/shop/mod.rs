//! The shop: its services, and the books that are kept of them. Written once, and
//! compiled for each database: `Db` and `Databases` are those of the module around.

pub(super) mod books;
mod counts;
mod keeper;
mod services;
pub(super) mod shelf;
pub(super) mod tables;

use futures_util::future::{join_all, pending, select_all};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Databases, Db};
use crate::args::{Args, ServiceName};
use crate::faults::Faults;
use crate::platform::Platform;
use crate::processes::Processes;
use crate::{data, report};
use books::Run;
use keeper::Keeper;
use services::Service;
use tables::Store;

/// One that sees every service's tables.
type Connection = <Db as sqlx::Database>::Connection;

/// `false`: the books do not balance.
pub(crate) async fn run(args: &Args, databases: &Databases) -> anyhow::Result<bool> {
    let purchases = data::purchases(args.orders)?;
    let run = Run {
        // Orders of different runs in one database have different names.
        run: Uuid::new_v4().as_fields().0,
        orders: purchases.len(),
        units_at_start: data::units_at_start(&purchases),
    };
    let platform = Platform::prepare(args).await?;
    let calm = if args.calm { ", calm" } else { "" };
    println!("{platform}, {databases}, seed {}{calm}", args.seed);

    let here = args.services();
    let keeps_books = here.contains(&ServiceName::Order) && !args.victim;
    let mut stores = Vec::new();
    for service in ServiceName::WITH_DATABASE {
        // Who keeps the books looks into every database.
        if keeps_books || here.contains(&service) {
            stores.push(Store::open(service, databases).await?);
        }
    }
    let store = |name| stores.iter().find(|store| store.service == name);

    let mut processes = None;
    let mut services = Vec::new();
    if args.kill {
        processes = Some(Processes::start(args, run.orders).await?);
    } else {
        for name in here {
            let faults = Faults::new(args.seed, args.calm);
            let units = run.units_at_start;
            let service = Service::start(name, &platform, store(name), faults, units).await?;
            println!("  {name:<13} is ready");
            services.push(service);
        }
    }

    let mut balanced = true;
    if let Some(store) = store(ServiceName::Order)
        && keeps_books
    {
        let keeper = Keeper {
            platform: &platform,
            databases,
            store,
            faults: &Faults::new(args.seed, args.calm),
            services: &services,
            purchases: &purchases,
            run,
        };
        balanced = tokio::select! {
            balanced = keeper.keep(processes.as_mut()) => balanced?,
            () = told_to_end(args) => {
                eprintln!("ended before the books were drawn up");
                false
            }
            error = failed(&services) => return Err(error.into()),
        };
    } else {
        tokio::select! {
            () = told_to_end(args) => {}
            error = failed(&services) => return Err(error.into()),
        }
        let rows: Vec<_> = services.iter().map(Service::row).collect();
        report::table(&rows);
    }

    for end in join_all(services.into_iter().map(Service::shutdown)).await {
        end?;
    }
    if let Some(processes) = processes {
        processes.shutdown().await?;
    }
    for store in stores {
        store.pool.close().await;
    }
    Ok(balanced)
}

async fn failed(services: &[Service]) -> eventkit::Error {
    if services.is_empty() {
        return pending().await;
    }
    let failures = services
        .iter()
        .map(|service| Box::pin(service.running().failed()));
    select_all(failures).await.0
}

/// SIGTERM or Ctrl-C; for a process that another one started, the end of that one.
async fn told_to_end(args: &Args) {
    if args.victim {
        // On a thread that nobody waits for, should the service fail before.
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = end.send(());
        });
        let _ = ended.await;
        return;
    }
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
