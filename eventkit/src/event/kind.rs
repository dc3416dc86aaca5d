use std::fmt;

/// How far an event travels, as a type: see [`Integration`], [`Command`], [`Domain`].
pub trait EventKind: private::Sealed + Send + Sync + 'static {
    /// The same as a value.
    const KIND: Kind;
}

/// How far an event travels, as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// See [`Integration`].
    Integration,
    /// See [`Command`].
    Command,
    /// See [`Domain`].
    Domain,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Integration => "integration event",
            Kind::Command => "command",
            Kind::Domain => "domain event",
        })
    }
}

/// A public contract between services: versioned, on Kafka, for any number of
/// independent consumers. The default.
#[derive(Debug)]
pub enum Integration {}

/// An intent addressed to one receiver: versioned, on Kafka, with exactly one
/// handler in an App.
#[derive(Debug)]
pub enum Command {}

/// A fact that stays inside its service and is never published to Kafka.
#[derive(Debug)]
pub enum Domain {}

impl EventKind for Integration {
    const KIND: Kind = Kind::Integration;
}
impl EventKind for Command {
    const KIND: Kind = Kind::Command;
}
impl EventKind for Domain {
    const KIND: Kind = Kind::Domain;
}

/// The kinds that may leave their service.
#[diagnostic::on_unimplemented(
    message = "a domain event stays inside its service and cannot be published to Kafka",
    label = "this is a domain event",
    note = "to make it a public contract, declare `kind = integration`, a `topic`, and a type that ends in `.v1`"
)]
pub trait CrossesServices: EventKind {}
impl CrossesServices for Integration {}
impl CrossesServices for Command {}

mod private {
    pub trait Sealed {}
    impl Sealed for super::Integration {}
    impl Sealed for super::Command {}
    impl Sealed for super::Domain {}
}
