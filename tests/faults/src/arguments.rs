use anyhow::{Context as _, bail};

use crate::faults::{self, Fault};
use crate::scene::Protocol;
use crate::worker::Sabotage;

const USAGE: &str = "run [--short|--long] [--seed N] [--protocol cooperative|consumer|all] \
                     [--sabotage skip|late|twice] [--list] [fault …]";

pub(crate) struct Arguments {
    pub(crate) long: bool,
    pub(crate) seed: u64,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) list: bool,
    pub(crate) faults: Vec<&'static Fault>,
}

impl Arguments {
    pub(crate) fn parse(given: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self {
            long: false,
            seed: any_seed(),
            protocols: vec![Protocol::Cooperative, Protocol::Consumer],
            sabotage: None,
            list: false,
            faults: Vec::new(),
        };
        let mut given = given.iter().map(String::as_str);
        while let Some(argument) = given.next() {
            let mut value = || given.next().with_context(|| format!("{argument} of what?"));
            match argument {
                "--short" => parsed.long = false,
                "--long" => parsed.long = true,
                "--list" => parsed.list = true,
                "--seed" => parsed.seed = value()?.parse().context("--seed takes a number")?,
                "--protocol" => parsed.protocols = protocols(value()?)?,
                "--sabotage" => {
                    parsed.sabotage = Some(match value()? {
                        "skip" => Sabotage::Skip,
                        "late" => Sabotage::Late,
                        "twice" => Sabotage::Twice,
                        other => bail!("no sabotage `{other}`; {USAGE}"),
                    });
                }
                option if option.starts_with('-') => bail!("no option `{option}`; {USAGE}"),
                name => parsed.faults.push(
                    faults::ALL
                        .iter()
                        .find(|fault| fault.name == name)
                        .with_context(|| format!("no fault `{name}`; --list names them"))?,
                ),
            }
        }
        if parsed.faults.is_empty() {
            parsed.faults = faults::ALL.iter().collect();
        }
        Ok(parsed)
    }
}

fn protocols(name: &str) -> anyhow::Result<Vec<Protocol>> {
    Ok(match name {
        "cooperative" => vec![Protocol::Cooperative],
        "consumer" => vec![Protocol::Consumer],
        "all" => vec![Protocol::Cooperative, Protocol::Consumer],
        other => bail!("no protocol `{other}`; {USAGE}"),
    })
}

fn any_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % 1_000_000
}
