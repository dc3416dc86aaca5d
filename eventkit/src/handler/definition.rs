use std::any::{TypeId, type_name};

use super::{Call, Delivery, HandlerError, Outcome, Policy, Transaction};
use crate::delivery::{MakeSlot, slot_for};
use crate::event::Kind;
use crate::event::checks::Declared;

/// A handler as `#[handler]` describes it: what it listens to, how it is to be
/// treated, how it is called. Made by the macro; listed with
/// [`handlers!`](crate::handlers).
#[derive(Debug, Clone, Copy)]
pub struct HandlerDefinition {
    #[doc(hidden)]
    pub name: &'static str,
    #[doc(hidden)]
    pub event_type: &'static str,
    #[doc(hidden)]
    pub topic: &'static str,
    #[doc(hidden)]
    pub kind: Kind,
    #[doc(hidden)]
    pub policy: Policy,
    #[doc(hidden)]
    pub requirements: fn(&mut Requirements),
    pub(crate) slot: MakeSlot,
    pub(crate) inbox: bool,
    /// File and line of the function, for the start-up checks.
    #[doc(hidden)]
    pub location: (&'static str, u32),
}

impl HandlerDefinition {
    /// The handler's name: the function's, unless `name = "…"` says otherwise.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The type of the events it takes.
    pub fn event_type(&self) -> &'static str {
        self.event_type
    }

    /// The topic it listens to.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The same handler in another consumer group.
    #[must_use]
    pub fn in_group(mut self, group: &'static str) -> Self {
        self.policy.group = Some(group);
        self
    }
}

/// What `handlers![…]` asks of a name: implemented by `#[handler]` beside the function.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "put `#[handler(event = \"…\")]` on the function"
)]
pub trait Registered {
    const DEFINITION: HandlerDefinition;
}

/// Lists handlers by hand, for [`App::handlers`](crate::App::handlers).
///
/// ```
/// # use eventkit::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(type = "OrderPlaced.v1", topic = "orders")]
/// # struct OrderPlaced {}
/// # #[handler(event = "OrderPlaced.v1")]
/// # async fn reserve_stock(_: OrderPlaced) {}
/// # mod mail {
/// #     use eventkit::prelude::*;
/// #     #[handler(event = "OrderPlaced.v1")]
/// #     pub async fn confirm(_: super::OrderPlaced) {}
/// # }
/// # fn main() {
/// let app = App::new("inventory").handlers(handlers![reserve_stock, mail::confirm]);
/// # }
/// ```
#[macro_export]
macro_rules! handlers {
    ($($handler:path),* $(,)?) => {
        ::std::vec![$(<$handler as $crate::__private::Registered>::DEFINITION),*]
    };
}

/// A handler, from what `#[handler]` knows of it.
#[doc(hidden)]
pub const fn __define<H: Call>(
    name: &'static str,
    location: (&'static str, u32),
    events: &[Option<Declared>],
    policy: Policy,
    requirements: fn(&mut Requirements),
) -> HandlerDefinition {
    let event = Declared::among(events);
    HandlerDefinition {
        name,
        event_type: event.event_type,
        topic: event.topic,
        kind: event.kind,
        policy,
        requirements,
        slot: slot_for::<H>,
        inbox: H::INBOX,
        location,
    }
}

/// Stands in for a handler whose attribute is wrong: the program does not
/// compile, and this keeps `handlers![…]` from raising a second error.
#[doc(hidden)]
pub const __MISWRITTEN: HandlerDefinition =
    __define::<Miswritten>("", ("", 0), &[], Policy::DEFAULT, |_| {});

struct Miswritten;

impl Call for Miswritten {
    async fn call(_: &Delivery, _: Option<&mut Transaction>) -> Outcome {
        Err(HandlerError::reject("the handler did not compile"))
    }
}

/// A handler found at link time.
#[doc(hidden)]
#[derive(Debug)]
pub struct Linked(pub HandlerDefinition);

inventory::collect!(Linked);

/// All handlers that were linked into this program.
pub(crate) fn linked() -> Vec<HandlerDefinition> {
    inventory::iter::<Linked>().map(|linked| linked.0).collect()
}

/// What a handler's parameters need of the App, for the start-up checks.
#[derive(Debug, Default)]
pub struct Requirements {
    pub(crate) states: Vec<(TypeId, &'static str)>,
    /// The databases of the transactions that it takes.
    pub(crate) databases: Vec<(TypeId, &'static str)>,
}

impl Requirements {
    /// The App must have been given a state of this type.
    pub fn state<T: 'static>(&mut self) {
        self.states.push((TypeId::of::<T>(), type_name::<T>()));
    }

    /// The App's inbox must be in a database of this type.
    #[doc(hidden)]
    pub fn transaction<DB: 'static>(&mut self) {
        self.databases.push((TypeId::of::<DB>(), type_name::<DB>()));
    }
}
