//! Dedup in Redis, against servers of the test's own.

#[path = "../../eventkit/src/dedup/machine.rs"]
mod machine;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eventkit::dedup::{Claim, DedupKey, DedupStore, RedisDedup, Token};
use eventkit_tests::free_port;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(20);

fn key(id: usize) -> DedupKey {
    DedupKey::new("group", "handler", "source", &id.to_string())
}

async fn claimed(store: &RedisDedup, id: usize, lease: Duration) -> Token {
    match store.claim(&key(id), 0, lease).await {
        Ok(Claim::Claimed(token)) => token,
        other => panic!("{id}: {other:?}"),
    }
}

/// A claim that waits for nobody: it is granted in the end, errors or not.
async fn claimed_in_the_end(store: &RedisDedup, id: usize) -> Token {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.claim(&key(id), 0, HOUR).await {
            Ok(Claim::Claimed(token)) => return token,
            other => assert!(Instant::now() < deadline, "{id}: {other:?}"),
        }
    }
}

/// `redis-server`, ended when dropped.
struct Server {
    process: Child,
    port: u16,
    options: Vec<String>,
}

impl Server {
    async fn start(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for _ in 0..5 {
            let port = free_port();
            // Another program may take the port first.
            if let Some(process) = Self::run(port, &options).await {
                return Self {
                    process,
                    port,
                    options,
                };
            }
        }
        panic!("redis-server ends at once, on five ports");
    }

    async fn run(port: u16, options: &[String]) -> Option<Child> {
        let program = std::env::var("EVENTKIT_REDIS_SERVER").unwrap_or("redis-server".into());
        let mut process = Command::new(&program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{program}`: {error}"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            if process.try_wait().expect("our child").is_some() {
                return None;
            }
            if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                let mut answer = [0; 1];
                if stream.write_all(b"PING\r\n").await.is_ok()
                    && stream.read_exact(&mut answer).await.is_ok()
                {
                    return Some(process);
                }
            }
            assert!(Instant::now() < deadline, "`{program}` does not answer");
            tokio::task::yield_now().await;
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.process.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    fn kill(&mut self) {
        self.process.kill().expect("our child");
        self.process.wait().expect("our child");
    }

    async fn restart(&mut self) {
        let process = Self::run(self.port, &self.options).await;
        self.process = process.expect("the port is free again");
    }

    async fn store(&self) -> RedisDedup {
        RedisDedup::connect(self.url()).await.expect("a connection")
    }

    async fn raw(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("an address");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection")
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]);
        let answer = asked.query_async(&mut self.raw().await).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    async fn until_gone(&self, key: &DedupKey) {
        let mut raw = self.raw().await;
        let deadline = Instant::now() + PATIENCE;
        let name = format!("eventkit:dedup:{}", key.as_str());
        loop {
            let mut exists = redis::cmd("EXISTS");
            let exists: bool = exists
                .arg(&name)
                .query_async(&mut raw)
                .await
                .expect("an answer");
            if !exists {
                return;
            }
            assert!(Instant::now() < deadline, "{name} does not end");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_made_together_are_a_few_round_trips_and_so_are_marks() {
    let server = Server::start(&[]).await;
    let store = server.store().await;
    claimed(&store, 9999, HOUR).await;

    let before = store.stats();
    let tokens = join_all((0..500).map(|id| claimed(&store, id, HOUR))).await;
    let claims = store.stats();
    let mark = async |(id, token)| store.complete(&key(id), token, HOUR).await;
    let marks = tokens.into_iter().enumerate().map(mark);
    let marks: Result<Vec<bool>, _> = join_all(marks).await.into_iter().collect();
    let after = store.stats();

    assert_eq!(marks.expect("answers"), [true; 500]);
    assert_eq!(claims.steps - before.steps, 500);
    assert_eq!(after.steps - claims.steps, 500);
    let (claims, marks) = (
        claims.round_trips - before.round_trips,
        after.round_trips - claims.round_trips,
    );
    assert!(
        claims <= 25 && marks <= 25,
        "{claims} and {marks} round trips"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_claims_one_is_granted() {
    let server = Server::start(&[]).await;
    let (one, other) = (server.store().await, server.store().await);
    for id in 0..50 {
        let key = key(id);
        let answers = tokio::join!(one.claim(&key, 0, HOUR), other.claim(&key, 0, HOUR));
        match (answers.0.expect("an answer"), answers.1.expect("an answer")) {
            (Claim::Claimed(_), Claim::InProgress(left))
            | (Claim::InProgress(left), Claim::Claimed(_)) => {
                assert!(left <= HOUR && left > HOUR - PATIENCE, "{left:?}");
            }
            answers => panic!("{answers:?}"),
        }
    }
}

#[tokio::test]
async fn who_lost_the_lease_marks_nothing() {
    let server = Server::start(&[]).await;
    let (slow, quick) = (server.store().await, server.store().await);
    let lost = claimed(&slow, 1, SHORT).await;
    server.until_gone(&key(1)).await;
    let held = claimed(&quick, 1, HOUR).await;

    assert!(!slow.renew(&key(1), lost, HOUR).await.expect("an answer"));
    assert!(!slow.complete(&key(1), lost, HOUR).await.expect("an answer"));
    assert!(!slow.bury(&key(1), lost, 0, HOUR).await.expect("an answer"));
    slow.release(key(1), lost);
    let again = slow.claim(&key(1), 0, HOUR).await.expect("an answer");
    assert!(matches!(again, Claim::InProgress(_)), "{again:?}");
    assert!(
        quick
            .complete(&key(1), held, HOUR)
            .await
            .expect("an answer")
    );
}

#[tokio::test]
async fn claims_and_marks_end_by_themselves() {
    let server = Server::start(&[]).await;
    let store = server.store().await.prefix("shop:");
    let leased = claimed(&store, 1, HOUR).await;
    let done = claimed(&store, 2, SHORT * 60_000).await;
    let dead = claimed(&store, 3, SHORT * 60_000).await;
    assert!(store.renew(&key(1), leased, HOUR).await.expect("an answer"));
    assert!(
        store
            .complete(&key(2), done, HOUR)
            .await
            .expect("an answer")
    );
    assert!(store.bury(&key(3), dead, 2, HOUR).await.expect("an answer"));

    for (id, begins) in [(1, "c"), (2, "d."), (3, "x2.")] {
        let name = format!("shop:{}", key(id).as_str());
        let value: String = server.ask(&["GET", &name]).await;
        assert!(value.starts_with(begins), "{id}: {value}");
        let left: i64 = server.ask(&["PTTL", &name]).await;
        assert!((3_500_000..=3_600_000).contains(&left), "{id}: {left}");
    }
}

#[tokio::test]
async fn one_bad_key_fails_alone() {
    let server = Server::start(&[]).await;
    let store = server.store().await;
    let bad = format!("eventkit:dedup:{}", key(25).as_str());
    let foreign = format!("eventkit:dedup:{}", key(26).as_str());
    let _: i64 = server.ask(&["LPUSH", &bad, "x"]).await;
    let _: String = server.ask(&["SET", &foreign, "hello"]).await;
    let done = claimed(&store, 24, HOUR).await;
    assert!(
        store
            .complete(&key(24), done, HOUR)
            .await
            .expect("an answer")
    );

    let before = store.stats().round_trips;
    let keys: Vec<DedupKey> = (0..50).map(key).collect();
    let answers = join_all(keys.iter().map(|key| store.claim(key, 0, HOUR))).await;
    assert_eq!(store.stats().round_trips - before, 1);
    for (id, answer) in answers.into_iter().enumerate() {
        match (id, answer) {
            (24, Ok(Claim::Done)) => {}
            (25, Err(error)) => assert!(error.to_string().contains("WRONGTYPE"), "{error}"),
            (26, Err(error)) => assert!(error.to_string().contains("holds"), "{error}"),
            (24..27, answer) => panic!("{id}: {answer:?}"),
            (_, Ok(Claim::Claimed(token))) => {
                let renewed = store.renew(&key(id), token, HOUR).await;
                assert!(renewed.expect("an answer"), "{id} got another's token");
            }
            (_, answer) => panic!("{id}: {answer:?}"),
        }
    }
    let kept: String = server.ask(&["GET", &foreign]).await;
    assert_eq!(kept, "hello");
}

#[tokio::test]
async fn a_full_redis_is_an_error_until_it_has_room() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let store = server.store().await;
    let token = claimed(&store, 1, HOUR).await;
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let error = store
        .claim(&key(2), 0, HOUR)
        .await
        .expect_err("out of memory");
    assert!(error.to_string().contains("OOM"), "{error}");
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    claimed(&store, 2, HOUR).await;
    assert!(store.renew(&key(1), token, HOUR).await.expect("an answer"));
}

#[tokio::test]
async fn a_frozen_redis_is_an_error_in_time_and_then_works_again() {
    let server = Server::start(&[]).await;
    let timeout = Duration::from_millis(300);
    let store = server.store().await.timeout(timeout);
    claimed(&store, 1, HOUR).await;

    server.signal("-STOP");
    for (id, expected) in [(2, "no answer within 300ms"), (3, "no connection within")] {
        let begin = Instant::now();
        let error = store.claim(&key(id), 0, HOUR).await.expect_err("frozen");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains(&server.url()), "{error}");
        let waited = begin.elapsed();
        assert!(waited < timeout * 3, "{waited:?}");
    }
    let begin = Instant::now();
    let error = store.check().await.expect_err("frozen");
    assert!(error.to_string().contains("within 300ms"), "{error}");
    assert!(begin.elapsed() < timeout * 2);

    server.signal("-CONT");
    claimed_in_the_end(&store, 4).await;
    // The claims that were not answered were carried out late, and given back
    // by then, or never sent.
    claimed_in_the_end(&store, 3).await;
}

#[tokio::test]
async fn a_claim_that_nobody_waits_for_is_given_back() {
    let server = Server::start(&[]).await;
    let store = server.store().await.timeout(PATIENCE);
    claimed(&store, 1, HOUR).await;

    server.signal("-STOP");
    let sent = store.stats().steps + 1;
    let unwanted = tokio::spawn({
        let store = store.clone();
        async move { store.claim(&key(2), 0, HOUR).await }
    });
    while store.stats().steps < sent {
        tokio::task::yield_now().await;
    }
    unwanted.abort();
    assert!(unwanted.await.expect_err("aborted").is_cancelled());
    server.signal("-CONT");
    claimed_in_the_end(&store, 2).await;
}

#[tokio::test]
async fn what_was_given_back_arrives_after_the_store_is_gone() {
    let server = Server::start(&[]).await;
    let store = server.store().await;
    let token = claimed(&store, 1, HOUR).await;
    store.release(key(1), token);
    drop(store);
    server.until_gone(&key(1)).await;
}

#[tokio::test]
async fn a_restarted_redis_is_found_again() {
    let mut server = Server::start(&[]).await;
    let store = server.store().await;
    claimed(&store, 1, HOUR).await;

    server.kill();
    let error = store.claim(&key(2), 0, HOUR).await.expect_err("killed");
    assert!(error.to_string().contains("cannot connect"), "{error}");
    server.restart().await;
    claimed(&store, 2, HOUR).await;

    // Without an error in between: the broken connection is noticed and replaced.
    server.kill();
    server.restart().await;
    claimed(&store, 1, HOUR).await;
    assert_eq!(store.stats().connections, 3);
}

#[tokio::test]
async fn an_emptied_redis_knows_nothing() {
    let server = Server::start(&[]).await;
    let store = server.store().await;
    let token = claimed(&store, 1, HOUR).await;
    assert!(
        store
            .complete(&key(1), token, HOUR)
            .await
            .expect("an answer")
    );
    let _: String = server.ask(&["FLUSHALL"]).await;
    let _: String = server.ask(&["SCRIPT", "FLUSH"]).await;
    let held = claimed(&store, 1, HOUR).await;
    assert_ne!(held, token);
}

/// Forwards to a server; cuts the line instead of one answer when told to.
async fn cutting(server: &Server) -> (String, Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    let cut = Arc::new(AtomicBool::new(false));
    let (port, told) = (server.port, cut.clone());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                let mut server = server.expect("the server");
                let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
                loop {
                    tokio::select! {
                        Ok(count) = client.read(&mut asked) => {
                            if count == 0 || server.write_all(&asked[..count]).await.is_err() {
                                break;
                            }
                        }
                        Ok(count) = server.read(&mut answered) => {
                            if count == 0
                                || told.swap(false, Ordering::Relaxed)
                                || client.write_all(&answered[..count]).await.is_err()
                            {
                                break;
                            }
                        }
                        else => break,
                    }
                }
            });
        }
    });
    (url, cut)
}

#[tokio::test]
async fn an_answer_lost_with_the_connection_is_asked_for_again() {
    let server = Server::start(&[]).await;
    let (url, cut) = cutting(&server).await;
    let store = RedisDedup::connect(url).await.expect("a connection");
    claimed(&store, 0, HOUR).await;

    let lose_the_answer = || cut.store(true, Ordering::Relaxed);
    lose_the_answer();
    let token = claimed(&store, 1, HOUR).await;
    lose_the_answer();
    assert!(store.renew(&key(1), token, HOUR).await.expect("an answer"));
    lose_the_answer();
    assert!(
        store
            .complete(&key(1), token, HOUR)
            .await
            .expect("an answer")
    );
    let token = claimed(&store, 2, HOUR).await;
    lose_the_answer();
    assert!(
        store
            .bury(&key(2), token, 3, HOUR)
            .await
            .expect("an answer")
    );
    assert!(!cut.load(Ordering::Relaxed));
    assert_eq!(store.stats().connections, 5);

    let done = store.claim(&key(1), 0, HOUR).await.expect("an answer");
    assert_eq!(done, Claim::Done);
    let dead = store.claim(&key(2), 3, HOUR).await.expect("an answer");
    assert_eq!(dead, Claim::Dead);
    let replayed = store.claim(&key(2), 4, HOUR).await.expect("an answer");
    assert!(matches!(replayed, Claim::Claimed(_)));
}

#[tokio::test]
async fn a_redis_that_evicts_is_warned_of() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let store = server.store().await;
    assert_eq!(
        store.check().await.expect("an answer"),
        Vec::<String>::new()
    );

    let _: String = server
        .ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await;
    let warnings = store.check().await.expect("an answer");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("`allkeys-lru`") && warnings[0].contains("noeviction"));

    // A service that may not ask is not warned, and works.
    let _: String = server.ask(&["ACL", "SETUSER", "default", "-info"]).await;
    assert_eq!(
        store.check().await.expect("an answer"),
        Vec::<String>::new()
    );
    // One that may not run scripts learns it at the start.
    let _: String = server
        .ask(&["ACL", "SETUSER", "default", "-@scripting"])
        .await;
    let error = store.check().await.expect_err("no scripts");
    assert!(error.to_string().contains("evalsha"), "{error}");
}

#[tokio::test]
async fn the_password_is_told_to_nobody_but_redis() {
    let server = Server::start(&["--requirepass", "s3cret"]).await;
    let url = |password| format!("redis://:{password}@127.0.0.1:{}/2", server.port);
    let store = RedisDedup::connect(url("s3cret")).await.expect("let in");
    claimed(&store, 1, HOUR).await;
    let told = format!("redis://127.0.0.1:{}/2", server.port);
    assert_eq!(store.describe(), told);
    assert!(!format!("{store:?}").contains("s3cret"));

    let error = RedisDedup::connect(url("s3cret-wrong"))
        .await
        .expect_err("kept out");
    assert!(error.to_string().contains("cannot connect"), "{error}");
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(text.contains(&told) && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_lazy_store_says_at_the_check_what_is_wrong() {
    let mut server = Server::start(&[]).await;
    let url = server.url();
    server.kill();
    let store = RedisDedup::lazy(&url);
    let error = store.check().await.expect_err("nobody there");
    assert!(error.to_string().contains(&url), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");

    let error = RedisDedup::lazy("redis://a b").check().await;
    let error = error.expect_err("malformed").to_string();
    assert!(error.contains("malformed"), "{error}");
    let error = RedisDedup::connect("rediss://127.0.0.1").await;
    let error = error.expect_err("no TLS").to_string();
    assert!(error.contains("TLS"), "{error}");

    server.restart().await;
    store.check().await.expect("there now");
    claimed(&store, 1, HOUR).await;
}

#[test]
fn a_store_outlives_the_runtime_it_began_in() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime().block_on(Server::start(&[]));
    let store = RedisDedup::lazy(server.url());
    let token = runtime().block_on(claimed(&store, 1, HOUR));
    let done = runtime().block_on(store.complete(&key(1), token, HOUR));
    assert!(done.expect("an answer"));
    store.release(key(1), token);
}

struct Real {
    server: Server,
    store: RedisDedup,
}

impl machine::World for Real {
    fn store(&self) -> &dyn DedupStore {
        &self.store
    }

    async fn pass(&self, _time: Duration) {
        unreachable!("no steps of time");
    }

    async fn outlive(&self, key: &DedupKey, _lease: Duration) {
        self.server.until_gone(key).await;
    }
}

#[test]
fn is_the_state_machine() {
    use proptest::test_runner::{Config, TestRunner};

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(&[]));
    let store = runtime.block_on(server.store());
    let world = Real { server, store };
    let mut config = Config::with_cases(40);
    config.failure_persistence = None;
    let number = std::cell::Cell::new(0);
    TestRunner::new(config)
        .run(&machine::steps(machine::Time::Stands), |steps| {
            number.set(number.get() + 1);
            let name = number.get().to_string();
            runtime.block_on(machine::run(&world, &name, &steps));
            Ok(())
        })
        .expect("the store is the model");
}
