//! Where the suite keeps its files: `target/faults`.

use std::path::{Path, PathBuf};

/// Results of all runs.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/faults")
}

/// Journals, logs and data of this run; a new run begins with nothing.
pub(crate) fn home() -> PathBuf {
    root().join(format!("run-{}", std::process::id()))
}
