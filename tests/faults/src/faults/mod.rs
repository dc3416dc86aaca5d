//! The faults, one file each.

mod bounce;
mod broker_frozen;
mod broker_killed;
mod churn;
mod clocks;
mod dead_letters;
mod deleted;
mod holes;
mod inbox;
mod kill9;
mod lease;
mod partitions_added;
mod redis;
mod sigstop;
mod sigterm;
mod sigterm_stuck;
mod slow_handler;
mod static_id;

use std::pin::Pin;

use crate::scene::{Findings, Protocol, Setting};

type Run = Pin<Box<dyn Future<Output = anyhow::Result<Findings>>>>;

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whether the group's protocol matters to it.
    of_the_group: bool,
    pub(crate) duplicates: Duplicates,
    pub(crate) run: fn(Setting) -> Run,
}

/// Whether an event may have two effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// Promised: none.
    None,
    /// A process dies, or a handler is cut off, between effect and mark; or
    /// there is no mark.
    Counted,
}

impl Fault {
    /// Those of the wanted protocols that make a difference.
    pub(crate) fn protocols(&self, wanted: &[Protocol]) -> Vec<Protocol> {
        let any = if self.of_the_group { wanted.len() } else { 1 };
        wanted[..any].to_vec()
    }
}

const GROUP: bool = true;
const ANY: bool = false;

/// The fault of this name, what it does, whether the protocol matters, what may
/// happen twice, and who carries it out.
macro_rules! fault {
    ($name:literal, $what:literal, $of_the_group:ident, $duplicates:ident, $run:path) => {
        Fault {
            name: $name,
            what: $what,
            of_the_group: $of_the_group,
            duplicates: Duplicates::$duplicates,
            run: |setting| Box::pin($run(setting)),
        }
    };
}

#[rustfmt::skip]
pub(crate) const ALL: &[Fault] = &[
    fault!("kill9", "kill -9 of one of three consumers under load", GROUP, Counted, kill9::run),
    fault!("sigterm", "SIGTERM under load, short handlers, no dedup", GROUP, None, sigterm::run),
    fault!("sigterm-stuck", "SIGTERM while a handler never returns: exit within the deadline", GROUP, Counted, sigterm_stuck::run),
    fault!("sigstop", "SIGSTOP of a consumer beyond its session, then SIGCONT", GROUP, Counted, sigstop::run),
    fault!("churn", "consumers join and leave every 500 ms", GROUP, Counted, churn::run),
    fault!("bounce", "partitions revoked and given back at once, no dedup", GROUP, None, bounce::run),
    fault!("slow-handler", "a handler three times longer than max.poll.interval.ms, no dedup", GROUP, None, slow_handler::run),
    fault!("broker-killed", "kill -9 and restart of one of three brokers", GROUP, Counted, broker_killed::run),
    fault!("broker-frozen", "broker frozen while the App is told to stop", GROUP, Counted, broker_frozen::run),
    fault!("redis-killed", "Redis killed, and started again after 5 s", ANY, None, redis::killed),
    fault!("redis-restarted", "Redis killed, and started again at once", ANY, None, redis::restarted),
    fault!("redis-emptied", "FLUSHALL: what was done before is forgotten", ANY, Counted, redis::emptied),
    fault!("redis-frozen", "Redis stands still for 5 s", ANY, None, redis::frozen),
    fault!("redis-errors", "Redis answers errors in the middle of a pipeline", ANY, None, redis::errors),
    fault!("redis-cuts", "the connection to Redis ends in the middle of an answer", ANY, None, redis::cuts),
    fault!("lease", "a lease ends under a running handler, and a copy is delivered elsewhere", ANY, Counted, lease::run),
    fault!("inbox-kill9", "kill -9 of one of three consumers with an inbox, effects counted in SQL", GROUP, None, inbox::kill9),
    fault!("database-killed", "PostgreSQL killed -9 and started again, under an inbox and its outbox", ANY, None, inbox::database_killed),
    fault!("database-frozen", "PostgreSQL stands still, under an inbox and its outbox", ANY, None, inbox::database_frozen),
    fault!("dead-letters", "dead-letter topic unwritable, with kill -9 in between", ANY, Counted, dead_letters::run),
    fault!("aborted", "aborted transactions: the lag reaches 0", ANY, None, holes::aborted),
    fault!("compacted", "a compacted topic with holes: the lag reaches 0", ANY, None, holes::compacted),
    fault!("deleted", "offsets deleted by the broker before they were read", ANY, None, deleted::run),
    fault!("static-id", "two processes with one static member id", GROUP, Counted, static_id::run),
    fault!("partitions-added", "partitions added to a topic while running, no dedup", GROUP, None, partitions_added::run),
    fault!("clocks", "two consumers with clocks an hour apart, kill -9 of each", ANY, Counted, clocks::run),
];
