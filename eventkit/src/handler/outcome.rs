use super::HandlerError;
use crate::event::{IntoEvents, Outgoing};

/// How one run of a handler ended: with events to publish, or with a failure.
pub type Outcome = Result<Outgoing, HandlerError>;

/// What a handler may return: anything that is [`IntoEvents`], plain or in a
/// `Result` whose error converts into [`HandlerError`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not something a handler can return",
    note = "a handler returns `()`, an event, an enum of events, or `Option`, `Vec` or a tuple of these, each plain or in a `Result`",
    note = "the error of a `Result` is any error type, `anyhow::Error` or `HandlerError`",
    note = "a domain event stays inside its service and is not published"
)]
pub trait IntoOutcome {
    /// Encodes what was returned.
    fn into_outcome(self) -> Outcome;
}

#[diagnostic::do_not_recommend]
impl<T: IntoEvents> IntoOutcome for T {
    fn into_outcome(self) -> Outcome {
        let mut outgoing = Outgoing::default();
        self.into_events(&mut outgoing)
            .map_err(HandlerError::reject)?;
        Ok(outgoing)
    }
}

#[diagnostic::do_not_recommend]
impl<T: IntoEvents, E: Into<HandlerError>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)?.into_outcome()
    }
}
