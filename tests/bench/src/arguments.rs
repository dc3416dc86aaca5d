//! What the command line asks for.

use anyhow::{Context, Result, bail};

use crate::case::Job;
use crate::load::Scale;
use crate::workloads::{self, Workload};

pub enum Arguments {
    /// Workloads, each with all its contenders, several times.
    Bench {
        scale: Scale,
        rounds: usize,
        workloads: Vec<Workload>,
    },
    /// One contender, once, in this process.
    Contender(Job),
}

impl Arguments {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut names = Vec::new();
        let (mut scale, mut rounds, mut group) = (Scale::Full, None, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--short" => scale = Scale::Short,
                "--rounds" => {
                    let number = arguments.next().context("--rounds wants a number")?;
                    rounds = Some(number.parse().context("--rounds wants a number")?);
                }
                "--group" => group = arguments.next(),
                option if option.starts_with('-') => bail!("unknown option `{option}`"),
                name => names.push(name.to_owned()),
            }
        }
        if names.first().is_some_and(|name| name == "contender") {
            let [_, workload, case] = &names[..] else {
                bail!("usage: eventkit-bench contender WORKLOAD CASE [--short] [--group NAME]");
            };
            return Ok(Self::Contender(Job::new(workload, case, scale, group)?));
        }
        Ok(Self::Bench {
            scale,
            rounds: rounds.unwrap_or(if scale == Scale::Short { 1 } else { 3 }),
            workloads: workloads::named(&names)?,
        })
    }
}
