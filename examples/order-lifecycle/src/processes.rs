//! The services as processes of their own, which are killed and started again.

use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::args::{Args, ServiceName};

/// How often each service is killed.
const ROUNDS: usize = 3;

#[derive(Debug)]
pub(crate) struct Processes {
    orders: usize,
    arguments: Vec<String>,
    running: Vec<(ServiceName, Child)>,
    kills: usize,
}

impl Processes {
    /// Starts one for each service, and waits until they are ready.
    pub(crate) async fn start(args: &Args, orders: usize) -> anyhow::Result<Self> {
        let mut arguments = vec![
            "--victim".into(),
            "--orders".into(),
            orders.to_string(),
            "--seed".into(),
            args.seed.to_string(),
        ];
        arguments.extend(args.calm.then(|| "--calm".into()));
        let mut processes = Self {
            orders,
            arguments,
            running: Vec::new(),
            kills: 0,
        };
        let mut started = Vec::new();
        for name in ServiceName::ALL {
            let (child, ready) = processes.spawn(name)?;
            processes.running.push((name, child));
            started.push((name, ready));
        }
        for (name, ready) in started {
            ready
                .await
                .with_context(|| format!("{name} ended at its start"))?;
            println!("  {name:<13} is ready, in a process of its own");
        }
        Ok(processes)
    }

    /// Kills those whose turn has come when so many orders are placed, one
    /// service after the other.
    pub(crate) async fn kill_in_turn(&mut self, placed: usize) -> anyhow::Result<()> {
        let all = ROUNDS * self.running.len();
        // Spread evenly, none at the very start.
        while self.kills < all && (self.kills + 1) * self.orders <= placed * all {
            let turn = self.kills % self.running.len();
            let (name, child) = &mut self.running[turn];
            let name = *name;
            if let Some(status) = child.try_wait()? {
                bail!("{name} has ended by itself: {status}");
            }
            // SIGKILL: it can neither finish nor commit anything.
            child.kill().await?;
            self.running[turn].1 = self.spawn(name)?.0;
            self.kills += 1;
        }
        Ok(())
    }

    pub(crate) fn report(&self) {
        println!(
            "  {} kills, {ROUNDS} of each service, each time started again.",
            self.kills
        );
    }

    /// Ends them in good order.
    pub(crate) async fn shutdown(self) -> anyhow::Result<()> {
        for (name, mut child) in self.running {
            // Its input ends, by which it knows.
            drop(child.stdin.take());
            let status = child.wait().await?;
            if !status.success() {
                bail!("{name} has ended with {status}");
            }
        }
        Ok(())
    }

    fn spawn(&self, name: ServiceName) -> anyhow::Result<(Child, oneshot::Receiver<()>)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--service", name.as_str()])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stdout.take().context("its output is piped")?;
        let (ready, is_ready) = oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            let mut lines = BufReader::new(said).lines();
            // To the end: who writes to nobody fails.
            while let Ok(Some(line)) = lines.next_line().await {
                if line.ends_with("is ready")
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send(());
                }
            }
        });
        Ok((child, is_ready))
    }
}
