//! One contender with one load, and its run in a process of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::load::{Load, Scale};
use crate::report::Report;
use crate::{kafka, workloads};

/// One row of a table.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub load: Load,
    /// Whether a consumer group reads the load to its end.
    pub consumes: bool,
    /// Variables for its process.
    pub environment: &'static [(&'static str, &'static str)],
    pub run: fn(&Job) -> Result<Report>,
}

impl Case {
    pub fn new(name: &str, load: &Load, run: fn(&Job) -> Result<Report>) -> Self {
        Self {
            name: name.to_owned(),
            load: load.clone(),
            consumes: true,
            environment: &[],
            run,
        }
    }

    /// Without a consumer group whose offsets would be looked at.
    pub fn publishes(mut self) -> Self {
        self.consumes = false;
        self
    }

    pub fn environment(mut self, variables: &'static [(&'static str, &'static str)]) -> Self {
        self.environment = variables;
        self
    }
}

/// One run of a case.
pub struct Job {
    workload: String,
    scale: Scale,
    pub case: Case,
    /// A name that no other run has.
    pub group: String,
}

impl Job {
    pub fn new(workload: &str, case: &str, scale: Scale, group: Option<String>) -> Result<Self> {
        let found = workloads::named(&[workload.to_owned()])?.remove(0);
        let cases = (found.cases)(scale);
        let known: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
        let case = cases
            .into_iter()
            .find(|known| known.name == case)
            .with_context(|| format!("no case `{case}` in {workload}, but {known:?}"))?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self {
            workload: workload.to_owned(),
            scale,
            case,
            group: group.unwrap_or_else(|| format!("bench-{}", &id[..12])),
        })
    }

    pub fn load(&self) -> &Load {
        &self.case.load
    }

    pub fn topic(&self) -> String {
        self.load().topic(&self.group)
    }

    /// Runs it here and prints its report.
    pub fn run(&self) -> Result<()> {
        let mut report = (self.case.run)(self)?;
        report.usage(self.load().deliveries())?;
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }

    /// Runs it in a process of its own and looks at what it has committed.
    pub fn run_apart(&self) -> Result<Report> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["contender", &self.workload, &self.case.name]);
        command.args(["--group", &self.group]);
        command.envs(self.case.environment.iter().copied());
        if self.scale == Scale::Short {
            command.arg("--short");
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(
            output.status.success(),
            "{} of {}: {}",
            self.case.name,
            self.workload,
            output.status
        );
        let said = String::from_utf8(output.stdout)?;
        let line = said.lines().last().context("no report")?;
        let mut report: Report = serde_json::from_str(line).context("its report")?;
        if self.case.consumes {
            report.check(
                "uncommitted",
                kafka::uncommitted(&self.group, &self.topic())?,
            );
        }
        // What a run leaves behind would slow the broker down for the next one.
        kafka::delete_if_there(&format!("{}.{}.dlq", self.topic(), self.group))?;
        if self.load().fresh {
            kafka::delete_if_there(&self.topic())?;
        }
        Ok(report)
    }
}
