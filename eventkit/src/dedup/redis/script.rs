//! The round trip: steps into one call of a Lua script, its reply into answers.
//!
//! One script for a whole batch, not a pipeline of scripts: there is a single
//! reply, so an error in the middle cannot shift the replies of others on a
//! shared connection, and Redis reads and runs one command. The script catches
//! the errors of each key, so that one bad key fails alone. The reply is one text,
//! which repeats a number drawn for the batch.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, Script, ServerErrorKind};
use tokio::sync::oneshot;

use super::link::{Failure, Link};
use crate::dedup::{DedupError, DedupKey, Token};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SOURCE));
const SOURCE: &str = include_str!("script.lua");

/// One step of the state machine, on its way to Redis.
pub(super) struct Step {
    key: DedupKey,
    token: Token,
    what: What,
    answer: Option<oneshot::Sender<Result<Reply, DedupError>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Claim { round: u32, lease: Duration },
    Renew { lease: Duration },
    Complete { ttl: Duration },
    Bury { round: u32, ttl: Duration },
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Claimed,
    Done,
    Dead,
    Busy(Duration),
    Yes,
    No,
}

impl Step {
    pub(super) fn new(
        key: DedupKey,
        token: Token,
        what: What,
        answer: Option<oneshot::Sender<Result<Reply, DedupError>>>,
    ) -> Self {
        Self {
            key,
            token,
            what,
            answer,
        }
    }

    /// A claim that nobody waits for any more. Marks are worth sending even then.
    pub(super) fn is_abandoned(&self) -> bool {
        let unwanted = self.answer.as_ref().is_some_and(oneshot::Sender::is_closed);
        unwanted && matches!(self.what, What::Claim { .. })
    }

    pub(super) fn answer(self, reply: Result<Reply, DedupError>) {
        if let Some(answer) = self.answer {
            let _ = answer.send(reply);
        }
    }
}

/// Takes the steps, in one round trip (two if Redis does not know the script).
/// The answers are in order, one per step.
pub(super) async fn run(
    link: &Link,
    prefix: &str,
    timeout: Duration,
    steps: &[Step],
) -> Result<Vec<Result<Reply, DedupError>>, DedupError> {
    let nonce = Token::random().as_u128().to_string();
    let mut call = redis::cmd("EVALSHA");
    call.arg(SCRIPT.get_hash());
    write(&mut call, &nonce, prefix, steps);
    let answers = match link.request(timeout, &call).await {
        Err(Failure::Refused(error))
            if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) =>
        {
            let mut call = redis::cmd("EVAL");
            call.arg(SOURCE);
            write(&mut call, &nonce, prefix, steps);
            link.request(timeout, &call).await
        }
        other => other,
    };
    let answers: String = answers.map_err(|failure| link.failed(failure))?;
    let replies = read(&answers, &nonce, steps.len()).ok_or_else(|| {
        // Whatever this connection says next may be meant for others as well.
        link.disconnect();
        link.error("the reply belongs to other steps")
    })?;
    if replies.iter().any(|reply| is_read_only(reply)) {
        // After a failover, the address leads to the new primary.
        link.disconnect();
    }
    let told = |reply: Result<Reply, &str>| reply.map_err(|error| link.error(error));
    Ok(replies.into_iter().map(told).collect())
}

fn is_read_only(reply: &Result<Reply, &str>) -> bool {
    reply.is_err_and(|error| error.starts_with("READONLY"))
}

fn write(call: &mut Cmd, nonce: &str, prefix: &str, steps: &[Step]) {
    call.arg(steps.len());
    let mut text = String::with_capacity(128);
    for step in steps {
        text.clear();
        text.push_str(prefix);
        text.push_str(step.key.as_str());
        call.arg(&text);
    }
    call.arg(nonce);
    for step in steps {
        text.clear();
        // Writing to a string cannot fail.
        let (said, time) = match step.what {
            What::Claim { round, lease } => (write!(text, "c{round}"), lease),
            What::Renew { lease } => (text.write_char('r'), lease),
            What::Complete { ttl } => (text.write_char('d'), ttl),
            What::Bury { round, ttl } => (write!(text, "x{round}"), ttl),
            What::Release => (text.write_char('f'), Duration::ZERO),
        };
        debug_assert!(said.is_ok());
        call.arg(&text);
        text.clear();
        let _ = write!(text, "{:032x}", step.token.as_u128());
        call.arg(&text).arg(millis(time));
    }
}

/// Redis takes neither nothing nor what overflows its clock.
fn millis(time: Duration) -> u64 {
    const THOUSAND_YEARS: u128 = 1000 * 365 * 24 * 3600 * 1000;
    u64::try_from(time.as_millis().clamp(1, THOUSAND_YEARS)).unwrap_or(u64::MAX)
}

/// `None`: not the reply to these steps.
fn read<'a>(answers: &'a str, nonce: &str, steps: usize) -> Option<Vec<Result<Reply, &'a str>>> {
    let mut lines = answers.split('\n');
    if lines.next() != Some(nonce) {
        return None;
    }
    let replies: Vec<_> = lines.map(answer).collect::<Option<_>>()?;
    (replies.len() == steps).then_some(replies)
}

fn answer(line: &str) -> Option<Result<Reply, &str>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    Some(Ok(match word {
        "claimed" => Reply::Claimed,
        "done" => Reply::Done,
        "dead" => Reply::Dead,
        // Negative where somebody took the lease's end away.
        "busy" => Reply::Busy(Duration::from_millis(
            u64::try_from(rest.parse::<i64>().ok()?)
                .unwrap_or(1000)
                .max(1),
        )),
        "yes" => Reply::Yes,
        "no" => Reply::No,
        "error" => return Some(Err(rest)),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_read() {
        let answers = "7\nclaimed\ndone\ndead\nbusy 1500\nbusy 0\nyes\nno\n\
                       error WRONGTYPE not a string";
        assert_eq!(
            read(answers, "7", 8),
            Some(vec![
                Ok(Reply::Claimed),
                Ok(Reply::Done),
                Ok(Reply::Dead),
                Ok(Reply::Busy(Duration::from_millis(1500))),
                Ok(Reply::Busy(Duration::from_millis(1))),
                Ok(Reply::Yes),
                Ok(Reply::No),
                Err("WRONGTYPE not a string"),
            ])
        );
    }

    #[test]
    fn a_reply_to_other_steps_is_not_taken() {
        assert!(read("7\nclaimed\ndone", "7", 2).is_some());
        assert!(read("7\nclaimed\ndone", "8", 2).is_none());
        assert!(read("7\nclaimed\ndone", "7", 1).is_none());
        assert!(read("7\nclaimed", "7", 2).is_none());
        assert!(read("7\nclaimed\nwhat", "7", 2).is_none());
        assert!(read("", "7", 0).is_none());
        assert_eq!(read("7", "7", 0), Some(vec![]));
    }

    #[test]
    fn times_fit_what_redis_takes() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_secs(2)), 2000);
        assert!(millis(Duration::MAX) < u64::MAX / 1000);
    }
}
