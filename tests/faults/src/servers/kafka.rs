use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::child::Child;
use crate::servers::{free_port, variable};

const COMMON: &str = include_str!("../../../stack/kafka/server.properties");

/// Sessions end in seconds, so that a round takes seconds.
const OWN: &str = "
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=300
group.consumer.heartbeat.interval.ms=500
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
log.cleaner.backoff.ms=500
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
";

const START: Duration = Duration::from_secs(60);

/// Kafka brokers, each a process of its own.
pub(crate) struct Cluster {
    brokers: Vec<Broker>,
}

struct Broker {
    port: u16,
    home: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// Starts so many brokers, each a controller too.
    pub(crate) async fn start(name: &str, size: usize) -> anyhow::Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..size {
            ports.push((free_port()?, free_port()?));
        }
        let voters: Vec<String> = (1..)
            .zip(&ports)
            .map(|(id, (_, controller))| format!("{id}@127.0.0.1:{controller}"))
            .collect();
        let name = eventkit_tests::unique(name);
        let mut brokers = Vec::new();
        for (id, (port, controller)) in (1..).zip(&ports) {
            let home = crate::place::home().join(format!("{name}-{id}"));
            std::fs::create_dir_all(&home)?;
            let mut settings = format!("{COMMON}{OWN}node.id={id}\n");
            let replicas = if size > 1 { 3 } else { 1 };
            let in_sync = if size > 1 { 2 } else { 1 };
            write!(
                settings,
                "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
                 controller.quorum.voters={}\n\
                 log.dirs={}\n\
                 default.replication.factor={replicas}\n\
                 min.insync.replicas={in_sync}\n\
                 offsets.topic.replication.factor={replicas}\n\
                 transaction.state.log.replication.factor={replicas}\n\
                 transaction.state.log.min.isr={in_sync}\n",
                voters.join(","),
                home.join("data").display(),
            )?;
            std::fs::write(home.join("server.properties"), settings)?;
            let port = *port;
            brokers.push(Broker {
                port,
                home,
                process: None,
            });
        }
        // Each waits for the others' votes.
        for broker in &mut brokers {
            broker.format()?;
            broker.launch()?;
        }
        for broker in &mut brokers {
            broker.ready().await?;
        }
        Ok(Self { brokers })
    }

    pub(crate) fn servers(&self) -> String {
        let addresses = self.brokers.iter();
        let addresses: Vec<_> = addresses
            .map(|broker| format!("127.0.0.1:{}", broker.port))
            .collect();
        addresses.join(",")
    }

    pub(crate) fn freeze(&self, broker: usize) -> anyhow::Result<()> {
        self.brokers[broker].running()?.signal("STOP")
    }

    pub(crate) fn thaw(&self, broker: usize) -> anyhow::Result<()> {
        self.brokers[broker].running()?.signal("CONT")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, broker: usize) {
        self.brokers[broker].process = None;
    }

    pub(crate) async fn start_again(&mut self, broker: usize) -> anyhow::Result<()> {
        self.brokers[broker].launch()?;
        self.brokers[broker].ready().await
    }
}

impl Broker {
    fn java(&self) -> anyhow::Result<Command> {
        let mut java = Command::new("java");
        java.args(["-Xmx384m", "-cp", &variable("EVENTKIT_KAFKA_CLASSPATH")?]);
        java.current_dir(&self.home);
        Ok(java)
    }

    fn format(&self) -> anyhow::Result<()> {
        let formatted = self
            .java()?
            // Any 16 bytes in base64 will do as the cluster's id.
            .args(["kafka.tools.StorageTool", "format"])
            .args(["-t", "eventkitEventkitEventk", "-c", "server.properties"])
            .output()?;
        let said = String::from_utf8_lossy(&formatted.stdout);
        anyhow::ensure!(
            formatted.status.success(),
            "formatting {}: {}",
            self.home.display(),
            said.trim_end()
        );
        Ok(())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let log = self.home.join("log");
        let mut java = self.java()?;
        java.args(["kafka.Kafka", "server.properties"]);
        self.process = Some(Child::start(&mut java, &log)?);
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut();
        let process = process.ok_or_else(|| anyhow::anyhow!("not started"))?;
        process.says("Kafka Server started", START).await
    }

    fn running(&self) -> anyhow::Result<&Child> {
        let process = self.process.as_ref();
        process.ok_or_else(|| anyhow::anyhow!("the broker was killed"))
    }
}
