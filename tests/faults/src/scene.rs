//! One topic, one group, the load on them, the workers, and who watches.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eventkit_tests::{Admin, TestInbox, unique};

use crate::child::Child;
use crate::journal::{Entry, Event, Journal, Reader, What};
use crate::ledger::Ledger;
use crate::load::{Acknowledged, Load, Plan};
use crate::oracle::{Evidence, Verdict};
use crate::rng::Rng;
use crate::servers::Cluster;
use crate::watch::{Watch, Watched};
use crate::worker::{Kind, Orders, Sabotage};

/// Longest a group may take to go on after a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Cooperative-sticky.
    Cooperative,
    /// KIP-848, where the broker assigns.
    Consumer,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Cooperative => "cooperative",
            Protocol::Consumer => "consumer",
        }
    }
}

/// What a fault is run with.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) redis: String,
    pub(crate) database: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) long: bool,
    pub(crate) rng: Rng,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Setting {
    /// The number for a short run or for a long one.
    pub(crate) fn either<T>(&self, short: T, long: T) -> T {
        if self.long { long } else { short }
    }
}

pub(crate) struct Scene {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) admin: Admin,
    pub(crate) rng: Rng,
    servers: String,
    /// With a database.
    pub(crate) inbox: Option<TestInbox>,
    orders: Orders,
    watch: Watch,
    pub(crate) acknowledged: Acknowledged,
    loads: Vec<Load>,
    reader: Reader,
    entries: Vec<Entry>,
    done: HashSet<Event>,
    /// How many of the written events are known to be settled, from the first.
    settled: usize,
    begun: Instant,
    recovered: Vec<Duration>,
    complaints: Vec<String>,
    patience: Duration,
}

impl Scene {
    /// On the cluster that all faults share.
    pub(crate) async fn new(
        setting: &Setting,
        name: &str,
        kind: Kind,
        partitions: i32,
    ) -> anyhow::Result<Self> {
        Self::on(
            setting,
            &setting.cluster.servers(),
            name,
            kind,
            partitions,
            &[],
        )
        .await
    }

    pub(crate) async fn on(
        setting: &Setting,
        servers: &str,
        name: &str,
        kind: Kind,
        partitions: i32,
        topic_settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let name = unique(name);
        let topic = format!("{name}-in");
        let group = format!("{topic}-group");
        let admin = Admin::at(servers);
        admin.create(&topic, partitions, topic_settings).await;
        let path = crate::place::home().join(format!("{topic}.journal"));
        let journal = Journal::open(&path)?;
        let inbox = match &setting.database {
            Some(url) => Some(TestInbox::beside(servers, url, &name).await),
            None => None,
        };
        let ledger = inbox.clone().map(|inbox| Ledger::new(inbox, journal));
        let watch = Watch::start(Watched {
            servers: servers.to_owned(),
            group: group.clone(),
            topic: topic.clone(),
            partitions: partitions * 2,
            letters: letters(&topic, &group),
            journal: path.clone(),
            ledger,
        })?;
        let reader = Reader::open(&path)?;
        let orders = Orders {
            kind,
            servers: servers.to_owned(),
            redis: Some(setting.redis.clone()),
            database: setting.database.clone(),
            group: group.clone(),
            topic: topic.clone(),
            journal: path,
            work_ms: (0, 5),
            lease_ms: 3_000,
            shutdown_ms: 10_000,
            properties: properties(setting.protocol),
            sabotage: setting.sabotage,
        };
        Ok(Self {
            topic,
            group,
            admin,
            rng: setting.rng.clone(),
            servers: servers.to_owned(),
            inbox,
            orders,
            watch,
            acknowledged: Acknowledged::default(),
            loads: Vec::new(),
            reader,
            entries: Vec::new(),
            done: HashSet::new(),
            settled: 0,
            begun: Instant::now(),
            recovered: Vec::new(),
            complaints: Vec::new(),
            // What sabotage has broken will not come.
            patience: setting
                .sabotage
                .map_or(PATIENCE, |_| Duration::from_secs(15)),
        })
    }

    /// What a worker here is told by default.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Starts a worker; it may take a while until it has partitions.
    pub(crate) fn worker(&self, orders: &Orders) -> anyhow::Result<Child> {
        self.worker_under(Command::new(std::env::current_exe()?), orders)
    }

    /// Starts a worker by a command that takes its arguments.
    pub(crate) fn worker_under(
        &self,
        mut command: Command,
        orders: &Orders,
    ) -> anyhow::Result<Child> {
        command
            .arg("worker")
            .arg(serde_json::to_string(orders)?)
            .env("RUST_LOG", "info")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        Child::start(&mut command, &self.log())
    }

    fn log(&self) -> PathBuf {
        crate::place::home().join(format!("{}.log", unique(&self.topic)))
    }

    /// Starts workers and waits until each has partitions.
    pub(crate) async fn workers(&self, count: usize) -> anyhow::Result<Vec<Child>> {
        self.workers_with(count, &self.orders()).await
    }

    pub(crate) async fn workers_with(
        &self,
        count: usize,
        orders: &Orders,
    ) -> anyhow::Result<Vec<Child>> {
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(self.worker(orders)?);
        }
        for worker in &mut workers {
            worker.says("partition assigned", PATIENCE).await?;
        }
        Ok(workers)
    }

    /// Begins to write; several loads at once have keys of their own.
    pub(crate) fn load(&mut self, plan: Plan) {
        let (rng, written) = (Rng::new(self.rng.next()), self.acknowledged.clone());
        let load = Load::start(&self.servers, &self.topic, plan, rng, written);
        self.loads.push(load);
    }

    /// Waits until all that was planned is written.
    pub(crate) async fn load_ends(&mut self) -> anyhow::Result<()> {
        for load in &mut self.loads {
            load.complete().await?;
        }
        Ok(())
    }

    /// Writes no more, and waits for what is on its way.
    pub(crate) async fn stop_load(&mut self) -> anyhow::Result<()> {
        for load in &mut self.loads {
            load.stop().await?;
        }
        Ok(())
    }

    pub(crate) fn written(&self) -> usize {
        self.acknowledged.read(<[_]>::len)
    }

    /// All that the handlers wrote down so far.
    pub(crate) fn entries(&mut self) -> anyhow::Result<&[Entry]> {
        let new = self.reader.read()?;
        let done = new.iter().filter(|entry| entry.what == What::Done);
        self.done.extend(done.map(|entry| entry.event));
        self.entries.extend(new);
        Ok(&self.entries)
    }

    pub(crate) fn effects(&mut self) -> anyhow::Result<usize> {
        self.entries()?;
        Ok(self.done.len())
    }

    /// The dead-letter topic.
    pub(crate) fn letters(&self) -> String {
        letters(&self.topic, &self.group)
    }

    /// How many events stand in the dead-letter topic.
    pub(crate) fn buried(&self) -> usize {
        let buried: HashSet<Event> = self
            .watch
            .read(|seen| seen.letters.iter().copied().collect());
        buried.len()
    }

    pub(crate) fn committed(&self) -> std::collections::HashMap<i32, i64> {
        self.watch.committed()
    }

    /// How many of the written events are done or buried, counted from the
    /// first and up to the first that is not.
    fn settled(&mut self) -> anyhow::Result<usize> {
        self.entries()?;
        let buried: HashSet<Event> = self
            .watch
            .read(|seen| seen.letters.iter().copied().collect());
        let (done, from) = (&self.done, self.settled);
        self.settled += self.acknowledged.read(|written| {
            let open = written[from..].iter();
            open.take_while(|written| {
                done.contains(&written.event) || buried.contains(&written.event)
            })
            .count()
        });
        Ok(self.settled)
    }

    /// Waits until this holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&mut Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !holds(self)? {
            if start.elapsed() > within {
                bail!("not within {within:?}: {what}");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Notes what is not as promised.
    pub(crate) fn unless(&mut self, holds: bool, complaint: impl Into<String>) {
        if !holds {
            self.complaints.push(complaint.into());
        }
    }

    /// Waits until work is under way: so many effects more than now.
    pub(crate) async fn flows(&mut self, effects: usize) -> anyhow::Result<()> {
        let wanted = self.effects()? + effects;
        self.until("events flow", PATIENCE, |scene| {
            Ok(scene.effects()? >= wanted)
        })
        .await
    }

    /// Kills one of the workers under load, so many times, and starts another.
    pub(crate) async fn kills(&mut self, workers: &mut [Child], times: u32) -> anyhow::Result<()> {
        self.flows(300).await?;
        for _ in 0..times {
            let rest = self.rng.within(200..1_200);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            let victim = self.rng.within(0..workers.len() as u64) as usize;
            let killed = Instant::now();
            workers[victim].kill()?;
            self.recovers(killed).await;
            workers[victim] = self.workers(1).await?.remove(0);
        }
        Ok(())
    }

    /// Goes on under load after a fault, so many times.
    pub(crate) async fn withstands(
        &mut self,
        times: u32,
        mut fault: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.load(Plan {
            copies: Some(5),
            ..Plan::default()
        });
        for _ in 0..times {
            self.flows(300).await?;
            let begun = Instant::now();
            fault().await?;
            self.recovers(begun).await;
        }
        self.stops_and_finishes().await
    }

    /// Waits until everything that was written up to half a second after the
    /// fault is settled, and notes how long after the fault that is.
    pub(crate) async fn recovers(&mut self, fault: Instant) {
        let reach = Duration::from_millis(500);
        tokio::time::sleep(reach.saturating_sub(fault.elapsed())).await;
        let wanted = self.written();
        let what = "the group goes on after the fault";
        self.expect(what, |scene| Ok(scene.settled()? >= wanted))
            .await;
        self.recovered.push(fault.elapsed());
    }

    /// Waits until this holds; that it never did is one of the findings.
    async fn expect(&mut self, what: &str, holds: impl FnMut(&mut Self) -> anyhow::Result<bool>) {
        if let Err(error) = self.until(what, self.patience, holds).await {
            self.complaints.push(error.to_string());
        }
    }

    /// Waits until the load is written, settled and committed to its end.
    pub(crate) async fn finishes(&mut self) -> anyhow::Result<()> {
        self.load_ends().await?;
        self.all_settled().await;
        Ok(())
    }

    /// Stops the load; then as [`finishes`](Self::finishes).
    pub(crate) async fn stops_and_finishes(&mut self) -> anyhow::Result<()> {
        self.stop_load().await?;
        self.all_settled().await;
        Ok(())
    }

    async fn all_settled(&mut self) {
        let written = self.written();
        let what = "every event is settled";
        self.expect(what, |scene| Ok(scene.settled()? >= written))
            .await;
        self.committed_to_the_end().await;
    }

    pub(crate) async fn committed_to_the_end(&mut self) {
        let mut ends = self.admin.ends(&self.topic);
        ends.retain(|_, end| *end > 0);
        let ends = ends.into_iter().collect();
        self.expect("the lag is 0", |scene| Ok(scene.committed() == ends))
            .await;
    }

    /// Waits a moment longer, since what must not come cannot be awaited.
    pub(crate) async fn verdict(mut self) -> anyhow::Result<Findings> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.entries().context("reading the journal")?;
        let mut evidence = Evidence {
            written: self.acknowledged.read(<[_]>::to_vec),
            entries: std::mem::take(&mut self.entries),
            ..Evidence::default()
        };
        self.watch.read(|seen| {
            evidence.letters.clone_from(&seen.letters);
            evidence.commits.clone_from(&seen.commits);
        });
        Ok(Findings {
            verdict: evidence.verdict(),
            rounds: self.recovered.len().max(1),
            recovered: self.recovered,
            took: self.begun.elapsed(),
            complaints: self.complaints,
        })
    }
}

fn letters(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dlq")
}

fn properties(protocol: Protocol) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: &str| properties.insert(name.into(), value.into());
    // Often, so that a wrong commit is likely to be seen.
    set("auto.commit.interval.ms", "100");
    set("topic.metadata.refresh.interval.ms", "2000");
    match protocol {
        Protocol::Cooperative => {
            set("session.timeout.ms", "3000");
            set("heartbeat.interval.ms", "500");
        }
        // The broker says the rest.
        Protocol::Consumer => {
            set("group.protocol", "consumer");
        }
    }
    properties
}

/// What a fault brought to light.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) verdict: Verdict,
    pub(crate) rounds: usize,
    pub(crate) recovered: Vec<Duration>,
    pub(crate) took: Duration,
    /// What else is not as promised, in words.
    pub(crate) complaints: Vec<String>,
}

impl Findings {
    /// Adds those of another scene of the same fault.
    pub(crate) fn and(mut self, other: Self) -> Self {
        let (sum, more) = (&mut self.verdict, other.verdict);
        sum.events += more.events;
        sum.lost += more.lost;
        sum.duplicates += more.duplicates;
        sum.disorder += more.disorder;
        sum.commits_past += more.commits_past;
        sum.commits_back += more.commits_back;
        self.rounds += other.rounds;
        self.recovered.extend(other.recovered);
        self.took += other.took;
        self.complaints.extend(other.complaints);
        self
    }

    pub(crate) fn unless(&mut self, holds: bool, complaint: impl Into<String>) {
        if !holds {
            self.complaints.push(complaint.into());
        }
    }
}
