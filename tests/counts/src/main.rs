//! Reads what gungraun counted; `tests/counts/run` calls it.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use eventkit_counts::{Figures, Report};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("counts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the figures are what was expected.
fn run() -> Result<bool> {
    let bless = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--bless") => true,
        Some(other) => bail!("`{other}` is no argument; there is only --bless"),
    };
    let mut lines = String::new();
    std::io::stdin().read_to_string(&mut lines)?;
    let counted = Figures::counted(&lines)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.toml");
    if bless {
        std::fs::write(&path, counted.file())?;
    }
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let expected = Figures::expected(&text).with_context(|| format!("in {}", path.display()))?;
    let report = Report::new(&expected, &counted);
    print!("{report}");
    if !report.holds() {
        println!(
            "A figure is off by more than it may be. What made it so, if it was not \
             meant, shows in callgrind_annotate on target/gungraun. Meant, and also a \
             figure that fell: `tests/counts/run --bless`, and commit expected.toml."
        );
    }
    Ok(report.holds())
}
