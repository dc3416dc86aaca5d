use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wait::eventually_within;

/// A program of the tests' own, killed at the latest when it is dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program; what it says on both outputs is kept.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let said = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take(), &said);
        keep(child.stderr.take(), &said);
        Self { child, said }
    }

    /// Whether it said a line with this text.
    pub fn said(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// All that it said so far.
    pub fn lines(&self) -> Vec<String> {
        self.said.lock().expect("no panic while it is held").clone()
    }

    /// Waits for a line with this text.
    pub async fn says(&mut self, text: &str) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !self.said(text) {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(
                ended.is_none() && std::time::Instant::now() < deadline,
                "no `{text}` ({ended:?}) in:\n{}",
                self.lines().join("\n")
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child can be asked");
        ended.is_some()
    }

    /// Sends `TERM`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    pub async fn ends(&mut self, within: Duration) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        eventually_within(within, "the process ends", async || {
            status = child.try_wait().expect("a child can be asked");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!(
                "--- process {}:\n{}",
                self.child.id(),
                self.lines().join("\n")
            );
        }
    }
}

fn keep(output: Option<impl std::io::Read + Send + 'static>, said: &Arc<Mutex<Vec<String>>>) {
    let Some(output) = output else { return };
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            said.lock().expect("no panic while it is held").push(line);
        }
    });
}

/// The tests' own service program.
pub fn worker(path: &str, arguments: &[&str]) -> Process {
    Process::start(
        Command::new(path)
            .args(arguments)
            .env("RUST_LOG", "info")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
}

/// A program of another package of the workspace, built if it is not there or
/// not up to date.
pub fn program(package: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test is a program");
    // target/<profile>/deps/<test>
    let profile = here
        .ancestors()
        .nth(2)
        .expect("a test lies in target/<profile>/deps");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "-p", package]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = profile.parent().expect("a profile lies in target");
    let built = build
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target)
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "cargo build -p {package}"
    );
    profile.join(package)
}
