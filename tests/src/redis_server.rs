use std::process::Command;

use crate::eventually;
use crate::process::Process;
use crate::servers::{free_port, redis_program};

/// A Redis of the test's own, to stop and to start again. Its data live as
/// long as it does, in a file when `durable`.
pub struct RedisServer {
    port: u16,
    home: std::path::PathBuf,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts one on a free port. What it holds is on disk before it answers.
    pub async fn start() -> Self {
        let home = std::env::temp_dir().join(crate::unique("eventkit-redis"));
        std::fs::create_dir(&home).expect("a directory for Redis");
        let port = free_port();
        let mut server = Self {
            port,
            home,
            process: None,
        };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Lets it stand still: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.running().signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.running().signal("CONT");
    }

    /// Starts it again with what it held.
    pub async fn start_again(&mut self) {
        let process = Process::start(
            Command::new(redis_program())
                .args(["--bind", "127.0.0.1", "--save", ""])
                .args(["--appendonly", "yes", "--appendfsync", "always"])
                .args(["--port", &self.port.to_string()])
                .arg("--dir")
                .arg(&self.home),
        );
        self.process = Some(process);
        let client = redis::Client::open(self.url()).expect("a Redis address");
        eventually("Redis answers", async || {
            let connection = client.get_multiplexed_async_connection().await;
            match connection {
                Ok(mut connection) => redis::cmd("PING")
                    .query_async::<String>(&mut connection)
                    .await
                    .is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("Redis was stopped")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.process = None;
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
