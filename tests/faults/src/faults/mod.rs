//! The faults, one file each.

mod kill9;
mod sigstop;
mod sigterm;
mod sigterm_stuck;

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

/// A fault in its own module's `run`.
macro_rules! fault {
    ($module:ident, $name:literal, $what:literal, $of_the_group:expr, $duplicates:expr) => {
        Fault {
            name: $name,
            what: $what,
            of_the_group: $of_the_group,
            duplicates: $duplicates,
            run: |setting| Box::pin($module::run(setting)),
        }
    };
}

const GROUP: bool = true;

pub(crate) const ALL: &[Fault] = &[
    fault!(
        kill9,
        "kill9",
        "kill -9 of one of three consumers under load",
        GROUP,
        Duplicates::Counted
    ),
    fault!(
        sigterm,
        "sigterm",
        "SIGTERM of one of two consumers under load, short handlers, no dedup",
        GROUP,
        Duplicates::None
    ),
    fault!(
        sigterm_stuck,
        "sigterm-stuck",
        "SIGTERM while a handler never returns: exit within the deadline",
        GROUP,
        Duplicates::Counted
    ),
    fault!(
        sigstop,
        "sigstop",
        "SIGSTOP of a consumer beyond its session, then SIGCONT",
        GROUP,
        Duplicates::Counted
    ),
];
