use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A handler's failure, and what is to become of the delivery.
///
/// Any error converts into it with `?`, `anyhow::Error` and strings too, and is
/// then tried again. To say something else, say it where the error arises:
///
/// ```
/// use std::time::Duration;
/// use eventkit::HandlerError;
///
/// fn charge(cents: i64) -> Result<(), HandlerError> {
///     if cents < 0 {
///         // No retry will mend this: straight to the dead-letter topic.
///         return Err(HandlerError::reject("negative amount"));
///     }
///     let answer: Result<(), std::io::Error> = Ok(());
///     answer.map_err(HandlerError::retry)?; // the same as `answer?`
///     if cents == 1 {
///         // Not now; this is not a failure and does not count as one.
///         return Err(HandlerError::defer(Duration::from_secs(30)));
///     }
///     Ok(())
/// }
/// # charge(5).unwrap();
/// ```
///
/// The text goes into the dead letter and into logs; keep payloads out of it.
pub struct HandlerError {
    verdict: Verdict,
    kind: FailureKind,
    error: Box<dyn StdError + Send + Sync>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Retry,
    Reject,
    Defer(Duration),
}

/// Why a delivery failed, as the dead letter names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Error,
    Rejected,
    Undecodable,
    Timeout,
    Panic,
}

impl HandlerError {
    /// Worth another attempt. What `?` does.
    pub fn retry(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Verdict::Retry, FailureKind::Error, error)
    }

    /// Not worth another attempt: straight to the dead-letter topic.
    pub fn reject(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Verdict::Reject, FailureKind::Rejected, error)
    }

    /// Not now: the handler runs again after `wait`, and this run does not
    /// count as an attempt. Its key waits meanwhile.
    pub fn defer(wait: Duration) -> Self {
        Self::new(Verdict::Defer(wait), FailureKind::Error, "deferred")
    }

    pub(crate) fn undecodable(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Verdict::Reject, FailureKind::Undecodable, error)
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        let text = format!("timed out after {}", humantime::format_duration(after));
        Self::new(Verdict::Retry, FailureKind::Timeout, text)
    }

    pub(crate) fn panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = format!("panicked: {}", said.unwrap_or("no message"));
        Self::new(Verdict::Retry, FailureKind::Panic, text)
    }

    fn new(
        verdict: Verdict,
        kind: FailureKind,
        error: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            verdict,
            kind,
            error: error.into(),
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    pub(crate) fn cause(&self) -> &(dyn StdError + 'static) {
        &*self.error
    }

    /// The error and its sources on one line.
    pub(crate) fn text(&self) -> String {
        crate::error::chain(&*self.error)
    }
}

// No `std::error::Error` here: it would collide with the conversion below.
impl<E> From<E> for HandlerError
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("verdict", &self.verdict)
            .field("error", &self.text())
            .finish()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
