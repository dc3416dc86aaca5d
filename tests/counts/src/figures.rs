use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{LONG, SHORT};

/// Instructions per event, by the name of what is counted.
#[derive(Debug, PartialEq)]
pub struct Figures(pub BTreeMap<String, f64>);

const HEAD: &str = "\
# Instructions per event, written by `tests/counts/run --bless`.
";

impl Figures {
    /// From gungraun's output: a line of JSON for each run.
    pub fn counted(lines: &str) -> Result<Self> {
        let mut runs: BTreeMap<(String, String), u64> = BTreeMap::new();
        for line in lines.lines() {
            let run: Value = serde_json::from_str(line).context("gungraun's output")?;
            let text = |name: &str| run[name].as_str().map(str::to_owned);
            let (name, id) = text("function_name").zip(text("id")).context("no name")?;
            let count = run
                .pointer("/profiles/0/data/total/metrics/Ir/values/new")
                .and_then(Value::as_u64)
                .with_context(|| format!("`{name}` {id}: no instructions in gungraun's output"))?;
            runs.insert((name, id), count);
        }
        let mut figures = BTreeMap::new();
        for ((name, _), long) in runs.iter().filter(|((_, id), _)| id == "long") {
            let short = runs.get(&(name.clone(), "short".to_owned()));
            let short = short.with_context(|| format!("`{name}` has no short run"))?;
            let difference = long.saturating_sub(*short) as f64;
            figures.insert(name.clone(), difference / (LONG - SHORT) as f64);
        }
        ensure!(!figures.is_empty(), "nothing was counted");
        Ok(Self(figures))
    }

    /// From the expected figures' file.
    pub fn expected(text: &str) -> Result<Self> {
        Ok(Self(toml::from_str(text)?))
    }

    /// The expected figures' file.
    pub fn file(&self) -> String {
        let mut file = HEAD.to_owned();
        for (name, figure) in &self.0 {
            let _ = writeln!(file, "{name} = {figure:.1}");
        }
        file
    }
}
