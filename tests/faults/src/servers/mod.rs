//! The servers that faults hit: all of the suite's own.

mod kafka;

pub(crate) use kafka::Cluster;

/// What `tests/faults/run` puts into the environment.
fn variable(name: &str) -> anyhow::Result<String> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => anyhow::bail!("{name} is not set: run tests/faults/run"),
    }
}

/// A port that nobody listens on, below those of outgoing connections.
fn free_port() -> anyhow::Result<u16> {
    use std::hash::{BuildHasher, RandomState};
    let listens = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = 20_000 + (RandomState::new().hash_one(0) % 11_000) as u16;
    let free = (first..32_000).find(listens);
    free.ok_or_else(|| anyhow::anyhow!("no free port"))
}
