//! Dedup in Redis: what all processes of a service share.
//!
//! `RedisDedup` turns each call into a step and queues it; `batch` sends what is
//! queued, many steps in one round trip; `script` writes and reads such a round
//! trip; `link` owns the connection and knows nothing of dedup.

mod batch;
mod link;
mod script;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::batch::Queue;
use self::link::Link;
use self::script::{Reply, Step, What};
use super::{Answer, Claim, DedupError, DedupKey, DedupStore, Token};

/// Dedup in Redis 6 or later, shared by all processes that use the same prefix.
///
/// Calls made at the same time travel together: one round trip of up to 512,
/// two of them under way at once. Every round trip ends within the
/// [timeout](Self::timeout), with an error if Redis did not answer. A broken
/// connection is replaced, and what was under way is asked for once more.
///
/// What an error leaves open is safe: a claim that Redis granted without our
/// knowing is given back when Redis answers again, or else ends with its lease.
/// A claim whose future is dropped is given back too.
///
/// Redis must not evict keys: `maxmemory-policy noeviction`, else events are
/// handled again under memory pressure; [`check`](DedupStore::check) tells. A
/// failover to a replica may lose the last marks, as replication is
/// asynchronous; their events may then be handled again.
///
/// One server, or a name that always leads to the primary. Of Redis Cluster only
/// one slot can be used, since a script may only touch keys of one: give a
/// prefix with a hash tag, such as `{eventkit}:dedup:`, and the address of the
/// node that has its slot. TLS (`rediss://`) is not built in.
///
/// ```no_run
/// use std::time::Duration;
/// use eventkit::dedup::{DedupStore, RedisDedup};
///
/// # async fn example() -> Result<(), eventkit::dedup::DedupError> {
/// let store = RedisDedup::connect("redis://127.0.0.1:6379")
///     .await?
///     .prefix("shop:dedup:")
///     .timeout(Duration::from_secs(1));
/// for warning in store.check().await? {
///     eprintln!("{warning}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisDedup {
    link: Arc<Link>,
    queue: Arc<Queue>,
    prefix: Arc<str>,
    timeout: Duration,
}

/// What a [`RedisDedup`] and its clones did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Claims, renewals, marks and releases that were sent.
    pub steps: u64,
    /// Requests that were sent, each with one answer to wait for.
    pub round_trips: u64,
    /// Connections that were made.
    pub connections: u64,
}

impl RedisDedup {
    /// Connects now, or says why not, within 2 seconds.
    ///
    /// The address is `redis://[user:password@]host[:port][/database]`, or
    /// `unix:///path`. Special characters in a password are percent-encoded.
    ///
    /// # Errors
    ///
    /// The address is malformed, or Redis does not answer or refuses us.
    pub async fn connect(address: impl AsRef<str>) -> Result<Self, DedupError> {
        let store = Self::lazy(address);
        store.link.ping(store.timeout).await?;
        Ok(store)
    }

    /// Connects when first used. Until then nothing is said about a malformed
    /// address or an absent server; [`check`](DedupStore::check) tells.
    ///
    /// ```
    /// use eventkit::dedup::{DedupStore, RedisDedup};
    ///
    /// let store = RedisDedup::lazy("redis://shop:secret@cache.internal/3");
    /// assert_eq!(store.describe(), "redis://cache.internal:6379/3");
    /// ```
    pub fn lazy(address: impl AsRef<str>) -> Self {
        Self {
            link: Arc::new(Link::new(address.as_ref())),
            queue: Arc::default(),
            prefix: "eventkit:dedup:".into(),
            timeout: Duration::from_secs(2),
        }
    }

    /// What all keys begin with; `eventkit:dedup:` by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self.queue = Arc::default();
        self
    }

    /// How long a round trip may take, connecting included; 2 seconds by
    /// default. A call that must queue behind two slow round trips waits for
    /// one of them first.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.queue = Arc::default();
        self
    }

    /// How much it did so far, over all clones.
    ///
    /// ```
    /// # use eventkit::dedup::RedisDedup;
    /// assert_eq!(RedisDedup::lazy("redis://127.0.0.1").stats().round_trips, 0);
    /// ```
    pub fn stats(&self) -> RedisStats {
        self.link.stats()
    }

    async fn ask(&self, key: &DedupKey, token: Token, what: What) -> Result<Reply, DedupError> {
        let (sender, answer) = oneshot::channel();
        let key = key.clone();
        self.submit(Step::new(key, token, what, Some(sender)))?;
        // The worker answers each step unless its runtime ends.
        let gone = || {
            Err(self
                .link
                .error("the runtime that the store worked on has ended"))
        };
        answer.await.unwrap_or_else(|_| gone())
    }

    async fn holds(&self, key: &DedupKey, token: Token, what: What) -> Result<bool, DedupError> {
        match self.ask(key, token, what).await? {
            Reply::Yes => Ok(true),
            Reply::No => Ok(false),
            other => Err(self.link.error(format!("{other:?} answers {what:?}"))),
        }
    }

    fn submit(&self, step: Step) -> Result<(), DedupError> {
        let run = |steps| batch::run(self.link.clone(), self.prefix.clone(), self.timeout, steps);
        self.queue
            .submit(step, run)
            .map_err(|_| self.link.error("used outside a tokio runtime"))
    }
}

impl DedupStore for RedisDedup {
    fn claim<'a>(&'a self, key: &'a DedupKey, round: u32, lease: Duration) -> Answer<'a, Claim> {
        Box::pin(async move {
            let token = Token::random();
            let unknown = GivenBack {
                store: self,
                key,
                token,
            };
            let what = What::Claim { round, lease };
            let claim = match self.ask(key, token, what).await? {
                Reply::Claimed => Claim::Claimed(token),
                Reply::Done => Claim::Done,
                Reply::Dead => Claim::Dead,
                Reply::Busy(left) => Claim::InProgress(left),
                other => return Err(self.link.error(format!("{other:?} answers a claim"))),
            };
            std::mem::forget(unknown);
            Ok(claim)
        })
    }

    fn renew<'a>(&'a self, key: &'a DedupKey, token: Token, lease: Duration) -> Answer<'a, bool> {
        Box::pin(self.holds(key, token, What::Renew { lease }))
    }

    fn complete<'a>(&'a self, key: &'a DedupKey, token: Token, ttl: Duration) -> Answer<'a, bool> {
        Box::pin(self.holds(key, token, What::Complete { ttl }))
    }

    fn bury<'a>(
        &'a self,
        key: &'a DedupKey,
        token: Token,
        round: u32,
        ttl: Duration,
    ) -> Answer<'a, bool> {
        Box::pin(self.holds(key, token, What::Bury { round, ttl }))
    }

    fn release(&self, key: DedupKey, token: Token) {
        // Outside a runtime nothing can be sent; the claim ends with its lease.
        let _ = self.submit(Step::new(key, token, What::Release, None));
    }

    fn check(&self) -> Answer<'_, Vec<String>> {
        Box::pin(async move {
            self.link.ping(self.timeout).await?;
            script::run(&self.link, &self.prefix, self.timeout, &[]).await?;
            let policy = self.link.eviction_policy(self.timeout).await?;
            let evicts = |policy: &String| policy != "noeviction";
            let warning = |policy| {
                format!(
                    "{}: maxmemory-policy is `{policy}`, so Redis may drop marks when memory is \
                     short, and their events would be handled again; set it to `noeviction`",
                    self.describe()
                )
            };
            Ok(policy.filter(evicts).map(warning).into_iter().collect())
        })
    }

    fn describe(&self) -> String {
        self.link.address().into()
    }
}

impl fmt::Debug for RedisDedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDedup")
            .field("address", &self.link.address())
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A claim whose answer is not known. Dropped with the future that waits for it,
/// or on an error, it is given back: nobody else has to wait for its lease.
struct GivenBack<'a> {
    store: &'a RedisDedup,
    key: &'a DedupKey,
    token: Token,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.store.release(self.key.clone(), self.token);
    }
}
