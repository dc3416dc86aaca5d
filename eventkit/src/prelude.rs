//! Everything that a service needs at hand: `use eventkit::prelude::*;`

pub use serde::{Deserialize, Serialize};

pub use crate::{
    App, Attempt, CancellationToken, Envelope, Event, HandlerError, Headers, Metadata, Publisher,
    State, handler, handlers,
};
