//! How far it is, while it runs: a line that is written over on a terminal, a
//! line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::report::thousands;

/// How many orders are where, and what was done for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) placed: i64,
    pub(crate) confirmed: i64,
    pub(crate) cancelled_for_stock: i64,
    pub(crate) cancelled_for_payment: i64,
    pub(crate) dead_lettered: i64,
    pub(crate) notices: i64,
    pub(crate) releases: i64,
}

impl Counts {
    pub(crate) fn ended(&self) -> i64 {
        self.confirmed + self.cancelled_for_stock + self.cancelled_for_payment
    }

    /// Those that neither ended nor stand in a dead-letter topic.
    pub(crate) fn open(&self) -> i64 {
        self.placed - self.ended() - self.dead_lettered
    }

    /// Whether nobody has anything left to do.
    pub(crate) fn is_settled(&self) -> bool {
        self.open() <= 0
            && self.notices >= self.ended()
            && self.releases >= self.cancelled_for_payment
    }
}

/// Reports until the task is aborted.
pub(crate) async fn report(counts: watch::Receiver<Counts>, orders: usize) {
    let is_terminal = std::io::stdout().is_terminal();
    let every = if is_terminal {
        Duration::from_millis(100)
    } else {
        Duration::from_secs(1)
    };
    let started = Instant::now();
    loop {
        tokio::time::sleep(every).await;
        let line = line(*counts.borrow(), orders, started.elapsed());
        if is_terminal {
            print!("\r\x1b[2K{line}");
            // A terminal that cannot be written to shows no progress.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }
}

/// Takes the last line off a terminal.
pub(crate) fn clear() {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[2K");
    }
}

fn line(counts: Counts, orders: usize, since: Duration) -> String {
    format!(
        "  {:5.1} s  {} of {} placed, {} confirmed, {} cancelled, {} dead-lettered",
        since.as_secs_f64(),
        thousands(counts.placed),
        thousands(orders),
        thousands(counts.confirmed),
        thousands(counts.cancelled_for_stock + counts.cancelled_for_payment),
        thousands(counts.dead_lettered),
    )
}
