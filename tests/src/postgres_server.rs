use std::fs::read_dir;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use sqlx::{Connection, PgConnection};

use crate::eventually;
use crate::process::Process;
use crate::servers::{free_port, postgres_programs};

/// A PostgreSQL of the test's own, to kill, to freeze and to start again. Its data
/// live as long as it does.
pub struct PostgresServer {
    port: u16,
    home: PathBuf,
    language: Option<&'static str>,
    process: Option<Process>,
}

impl PostgresServer {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::new(None).await
    }

    /// Starts one with messages in another language, such as `de`. It needs no
    /// more of the system than the catalogs that come with the server.
    pub async fn speaking(language: &'static str) -> Self {
        Self::new(Some(language)).await
    }

    async fn new(language: Option<&'static str>) -> Self {
        let home = std::env::temp_dir().join(crate::unique("eventkit-postgres"));
        std::fs::create_dir(&home).expect("a directory for PostgreSQL");
        if as_root() {
            run(Command::new("chown").arg("postgres:").arg(&home));
        }
        let port = free_port();
        let mut server = Self {
            port,
            home,
            language,
            process: None,
        };
        // Gettext takes a language beside every locale but `C`.
        let initial = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"];
        run(server
            .program("initdb")
            .args(initial)
            .arg("--locale=C.UTF-8"));
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres:postgres@{}/postgres", self.address())
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`, of it and of the processes that serve its connections.
    pub fn kill(&mut self) {
        self.freeze();
        for child in self.children() {
            signal("KILL", child);
        }
        self.process = None;
    }

    /// Lets it stand still: connections stay, answers do not come.
    pub fn freeze(&self) {
        // First the one that could make more.
        signal("STOP", self.id());
        for child in self.children() {
            signal("STOP", child);
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        for child in self.children() {
            signal("CONT", child);
        }
        signal("CONT", self.id());
    }

    /// Starts it again with what it held.
    pub async fn start_again(&mut self) {
        let url = self.url();
        eventually("PostgreSQL answers", async || {
            // It does not start before the last process of its earlier life has gone.
            if self.process.as_mut().is_none_or(Process::has_ended) {
                self.process = Some(self.spawn());
            }
            PgConnection::connect(&url).await.is_ok()
        })
        .await;
    }

    /// Data survive a kill without `fsync`.
    fn spawn(&self) -> Process {
        let mut command = self.program("postgres");
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-k", "", "-F", "-N", "200"]);
        if let Some(language) = self.language {
            command.env("LANGUAGE", language);
        }
        Process::start(&mut command)
    }

    /// It refuses to run as root, so root hands it to the user that the package made.
    fn program(&self, name: &str) -> Command {
        let path = postgres_programs().join(name);
        let mut command = if as_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
                .arg(path);
            command
        } else {
            Command::new(path)
        };
        command
            .arg("-D")
            .arg(self.home.join("data"))
            .current_dir(&self.home);
        command
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("PostgreSQL was killed").id()
    }

    fn children(&self) -> Vec<u32> {
        let parent = self.id();
        let processes = read_dir("/proc").expect("/proc").flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| parent_of(*id) == Some(parent))
            .collect()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn parent_of(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// What has ended meanwhile needs no signal.
fn signal(name: &str, id: u32) {
    let _ = Command::new("kill")
        .args(["-s", name, &id.to_string()])
        .status();
}

fn as_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program that runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
