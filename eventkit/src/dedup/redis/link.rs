//! The connection: made when first needed, replaced when it broke, and never
//! waited for without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
};

use super::RedisStats;
use crate::dedup::DedupError;

pub(super) struct Link {
    /// Or why there is none.
    client: Result<Client, String>,
    address: String,
    current: Mutex<Option<Connection>>,
    /// Held while connecting, so that nobody connects at the same time.
    connecting: tokio::sync::Mutex<()>,
    steps: AtomicU64,
    round_trips: AtomicU64,
    connections: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    number: u64,
    redis: MultiplexedConnection,
}

/// Why a request brought nothing.
pub(super) enum Failure {
    /// An error as the answer, or no way to ask.
    Refused(RedisError),
    /// No answer; whether the request was carried out is not known.
    Silent(String),
}

impl Link {
    /// A malformed address is told of when a connection is needed.
    pub(super) fn new(address: &str) -> Self {
        let client = open(address);
        let address = match &client {
            Ok(_) => without_secrets(address),
            Err(_) => None,
        };
        Self {
            client,
            address: address.unwrap_or_else(|| "redis".into()),
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            steps: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// `redis://host:port/database`, never with user or password.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> DedupError {
        let mut reason = reason.into();
        // A server that takes AUTH for an unknown command repeats its arguments.
        let password = self.client.as_ref().ok().and_then(|client| {
            let settings = client.get_connection_info().redis_settings();
            settings.password().filter(|password| !password.is_empty())
        });
        if let Some(password) = password {
            reason = reason.replace(password, "…");
        }
        DedupError::new(&self.address, reason)
    }

    pub(super) fn failed(&self, failure: Failure) -> DedupError {
        match failure {
            Failure::Refused(error) => self.error(error.to_string()),
            Failure::Silent(reason) => self.error(reason),
        }
    }

    pub(super) fn stats(&self) -> RedisStats {
        RedisStats {
            steps: self.steps.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_steps(&self, count: usize) {
        self.steps.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) async fn ping(&self, timeout: Duration) -> Result<(), DedupError> {
        let answer: Result<String, _> = self.request(timeout, &redis::cmd("PING")).await;
        answer.map(drop).map_err(|failure| self.failed(failure))
    }

    /// `None` where Redis does not say. Asked by `INFO`, which managed services
    /// allow, unlike `CONFIG`; an ACL may forbid both.
    pub(super) async fn eviction_policy(
        &self,
        timeout: Duration,
    ) -> Result<Option<String>, DedupError> {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        match self.request::<String>(timeout, &info).await {
            Ok(text) => Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("maxmemory_policy:"))
                .map(|policy| policy.trim().to_owned())),
            Err(Failure::Refused(error)) if is_answer(&error) => Ok(None),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Sends one command and waits for its answer, all within the timeout. If
    /// the connection breaks, another is made and the command sent once more: so
    /// it must bear being carried out twice.
    pub(super) async fn request<T: FromRedisValue>(
        &self,
        timeout: Duration,
        command: &Cmd,
    ) -> Result<T, Failure> {
        let mut used = None;
        let work = async {
            for last in [false, true] {
                let mut connection = self.connection().await?;
                used = Some(connection.number);
                self.round_trips.fetch_add(1, Ordering::Relaxed);
                match command.query_async(&mut connection.redis).await {
                    Err(error) if must_go(&error) => {
                        self.discard(connection.number);
                        used = None;
                        if last || !error.is_io_error() {
                            return Err(Failure::Refused(error));
                        }
                    }
                    answer => return answer.map_err(Failure::Refused),
                }
            }
            Err(Failure::Silent("the connection broke twice".into()))
        };
        let done = tokio::time::timeout(timeout, work).await;
        done.unwrap_or_else(|_| {
            // Dead lines look like slow servers; a new connection finds out.
            let waited_for = match used {
                Some(number) => {
                    self.discard(number);
                    "no answer"
                }
                None => "no connection",
            };
            Err(Failure::Silent(format!("{waited_for} within {timeout:?}")))
        })
    }

    /// Uses another connection from now on.
    pub(super) fn disconnect(&self) {
        *self.current() = None;
    }

    fn discard(&self, number: u64) {
        self.current()
            .take_if(|connection| connection.number == number);
    }

    fn current(&self) -> MutexGuard<'_, Option<Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let client = match &self.client {
            Ok(client) => client,
            Err(reason) => return Err(Failure::Silent(reason.clone())),
        };
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let _alone = self.connecting.lock().await;
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        // The time is limited outside.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let redis = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|error| Failure::Silent(format!("cannot connect: {error}")))?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { number, redis };
        *self.current() = Some(connection.clone());
        Ok(connection)
    }
}

/// Whether the server said so, over a sound connection.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// After a failover the address leads to the new primary, but the connection
/// still to the old one, which answers that it is read-only.
fn must_go(error: &RedisError) -> bool {
    !is_answer(error) || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

fn open(address: &str) -> Result<Client, String> {
    if address.starts_with("rediss:") || address.starts_with("valkeys:") {
        return Err(
            "TLS (`rediss://`) is not built in: use `redis://` inside a trusted network, \
                    or a TLS tunnel beside the service"
                .into(),
        );
    }
    let malformed = "the address is malformed: it should read \
                     `redis://[user:password@]host[:port][/database]`, with `/`, `?`, `#`, `@` \
                     and `%` in a password percent-encoded";
    without_secrets(address).ok_or(malformed)?;
    Client::open(address).map_err(|_| malformed.into())
}

/// `None`: not an address, or it cannot be told what in it is secret.
fn without_secrets(address: &str) -> Option<String> {
    let url = redis::parse_redis_url(address)?;
    let rest = [Some(url.path()), url.query(), url.fragment()];
    if rest.iter().flatten().any(|part| part.contains('@')) {
        return None;
    }
    if url.scheme().ends_with("unix") {
        return Some(format!("{}://{}", url.scheme(), url.path()));
    }
    let host = url.host_str()?;
    let port = url.port().unwrap_or(6379);
    let database = url.path().trim_matches('/');
    let database: u32 = match database {
        "" => 0,
        number => number.parse().ok()?,
    };
    Some(format!("{}://{host}:{port}/{database}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_no_secrets() {
        for (address, told) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
            ("redis://shop:s3cret@db:7000/4", "redis://db:7000/4"),
            ("redis://:s3cret@[::1]:7000", "redis://[::1]:7000/0"),
            ("redis://:s%2Fcret@db/1?protocol=resp3", "redis://db:6379/1"),
            (
                "unix:///run/redis.sock?pass=s3cret",
                "unix:///run/redis.sock",
            ),
        ] {
            let link = Link::new(address);
            assert!(link.client.is_ok(), "{address}");
            assert_eq!(link.address(), told);
        }
    }

    #[test]
    fn a_malformed_address_is_not_repeated() {
        for address in [
            "",
            "127.0.0.1:6379",
            "http://s3cret@db",
            "redis://s3cret",
            "redis://:s3cret/x@db",
            "redis://shop:12/s3cret@db",
            "redis://shop:12#s3cret@db",
            "redis://shop:12?s3cret@db",
            "redis://db/s3cret",
            "rediss://:s3cret@db",
        ] {
            let link = Link::new(address);
            let Err(reason) = &link.client else {
                assert_eq!(address, "redis://s3cret", "a host like any other");
                continue;
            };
            assert_eq!(link.address(), "redis");
            assert!(!reason.contains("s3cret"));
            assert_eq!(reason.contains("TLS"), address.starts_with("rediss"));
        }
    }

    #[test]
    fn a_password_that_redis_repeats_is_taken_out() {
        let error = Link::new("redis://:s3cret@db").error("unknown command 'AUTH' 's3cret'");
        assert_eq!(
            error.to_string(),
            "dedup store redis://db:6379/0: unknown command 'AUTH' '…'"
        );
    }
}
