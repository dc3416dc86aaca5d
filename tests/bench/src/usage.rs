//! What this process has used so far.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time of all threads, in user and kernel.
pub fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(time.tv_sec().unsigned_abs())
        + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// The most memory it ever held, in bytes. Not `ru_maxrss`: that one is handed
/// down from the process that started this one.
pub fn peak_memory() -> Result<u64> {
    status("VmHWM")
}

fn status(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line
        .and_then(|line| {
            line.trim_matches(|sign: char| !sign.is_ascii_digit())
                .parse::<u64>()
                .ok()
        })
        .with_context(|| format!("no {name} in /proc/self/status"))?;
    Ok(kilobytes * 1024)
}
