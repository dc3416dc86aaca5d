//! The services as processes of their own, which are killed and started again.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::args::{Args, ServiceName};

/// How often each service is killed.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Running {
    name: ServiceName,
    child: Child,
    /// Sent when it is.
    ready: Option<oneshot::Receiver<()>>,
}

#[derive(Debug)]
pub(crate) struct Processes {
    orders: usize,
    arguments: Vec<String>,
    running: Vec<Running>,
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
        for name in ServiceName::ALL {
            let service = processes.spawn(name)?;
            processes.running.push(service);
        }
        for service in &mut processes.running {
            service.ready().await?;
            println!("  {:<13} is ready, in a process of its own", service.name);
        }
        Ok(processes)
    }

    /// Waits until those that were started again are at work.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        for service in &mut self.running {
            service.ready().await?;
        }
        Ok(())
    }

    /// Kills those whose turn has come when so many orders are placed, one
    /// service after the other.
    pub(crate) async fn kill_in_turn(&mut self, placed: usize) -> anyhow::Result<()> {
        let all = ROUNDS * self.running.len();
        // Spread evenly, none at the very start.
        while self.kills < all && (self.kills + 1) * self.orders <= placed * all {
            let turn = self.kills % self.running.len();
            let service = &mut self.running[turn];
            service.ready().await?;
            // SIGKILL: it can neither finish nor commit anything.
            service.child.kill().await?;
            self.running[turn] = self.spawn(self.running[turn].name)?;
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
        for Running {
            name, mut child, ..
        } in self.running
        {
            // Its input ends, by which it knows.
            drop(child.stdin.take());
            let status = child.wait().await?;
            if !status.success() {
                bail!("{name} has ended with {status}");
            }
        }
        Ok(())
    }

    fn spawn(&self, name: ServiceName) -> anyhow::Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        // Ctrl-C is for this process; the end of its input is for that one.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
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
        Ok(Running {
            name,
            child,
            ready: Some(is_ready),
        })
    }
}

impl Running {
    /// Waits until it is at work, and fails where it has ended.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let name = self.name;
        if let Some(ready) = self.ready.take() {
            tokio::time::timeout(PATIENCE, ready)
                .await
                .with_context(|| format!("{name} is not ready after {PATIENCE:?}"))?
                .with_context(|| format!("{name} ended at its start"))?;
        }
        if let Some(status) = self.child.try_wait()? {
            bail!("{name} has ended by itself: {status}");
        }
        Ok(())
    }
}
