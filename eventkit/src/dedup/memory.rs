use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::ready;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::{Answer, Claim, DedupKey, DedupStore, Token};

/// Dedup inside this process: for tests, for the embedded broker, and for a
/// service that runs once and may repeat itself after a restart.
///
/// Clones share what they know. Nothing of it outlives the process, and no
/// other process sees it. At most `capacity` marks of handled and given-up
/// events are kept. When a mark would be one too many, expired marks go first,
/// then the oldest, with a warning: their events would be handled again. Claims
/// come on top, as many as are in flight, and are never dropped while they live.
///
/// ```
/// use std::time::Duration;
/// use eventkit::dedup::{Claim, DedupKey, DedupStore, MemoryDedup};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), eventkit::dedup::DedupError> {
/// let store = MemoryDedup::new();
/// let key = DedupKey::new("inventory", "reserve_stock", "shop", "order-1");
///
/// let lease = Duration::from_secs(30);
/// let Claim::Claimed(token) = store.claim(&key, 0, lease).await? else {
///     panic!("nobody else knows this event");
/// };
/// assert!(store.complete(&key, token, Duration::from_secs(3600)).await?);
/// assert_eq!(store.claim(&key, 0, lease).await?, Claim::Done);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryDedup(Arc<Inner>);

struct Inner {
    capacity: usize,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    evicted: Mutex<Evicted>,
}

const SHARDS: usize = 16;

/// Below this, one shard keeps exactly the capacity.
const TOO_SMALL_TO_SHARD: usize = 1024;

impl MemoryDedup {
    /// Keeps a million marks, about 250 MB when all are taken.
    pub fn new() -> Self {
        Self::with_capacity(1_000_000)
    }

    /// Keeps up to `capacity` marks, at least one.
    pub fn with_capacity(capacity: usize) -> Self {
        let count = if capacity < TOO_SMALL_TO_SHARD {
            1
        } else {
            SHARDS
        };
        let shard = || Mutex::new(Shard::new((capacity / count).max(1)));
        Self(Arc::new(Inner {
            capacity,
            hasher: RandomState::default(),
            shards: std::iter::repeat_with(shard).take(count).collect(),
            evicted: Mutex::default(),
        }))
    }

    fn shard(&self, key: &DedupKey) -> MutexGuard<'_, Shard> {
        let shards = &self.0.shards;
        let at = self.0.hasher.hash_one(key.as_str()) as usize % shards.len();
        shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, key: &DedupKey, token: Token, outcome: MarkKind, ttl: Duration) -> bool {
        let (held, evicted) = self.shard(key).finish(key, token, outcome, ttl);
        if evicted > 0 {
            self.tell_of_evicted(evicted);
        }
        held
    }

    fn tell_of_evicted(&self, count: u64) {
        let mut evicted = self
            .0
            .evicted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = evicted.tell(count, Instant::now()) {
            tracing::warn!(
                capacity = self.0.capacity,
                events,
                "dedup store memory is full: marks are dropped before their time, \
                 and their events would be handled again; give it more capacity or use Redis"
            );
        }
    }
}

impl Default for MemoryDedup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDedup")
            .field("capacity", &self.0.capacity)
            .finish_non_exhaustive()
    }
}

impl DedupStore for MemoryDedup {
    fn claim<'a>(&'a self, key: &'a DedupKey, round: u32, lease: Duration) -> Answer<'a, Claim> {
        Box::pin(ready(Ok(self.shard(key).claim(key, round, lease))))
    }

    fn renew<'a>(&'a self, key: &'a DedupKey, token: Token, lease: Duration) -> Answer<'a, bool> {
        Box::pin(ready(Ok(self.shard(key).renew(key, token, lease))))
    }

    fn complete<'a>(&'a self, key: &'a DedupKey, token: Token, ttl: Duration) -> Answer<'a, bool> {
        let held = self.finish(key, token, MarkKind::Done, ttl);
        Box::pin(ready(Ok(held)))
    }

    fn bury<'a>(
        &'a self,
        key: &'a DedupKey,
        token: Token,
        round: u32,
        ttl: Duration,
    ) -> Answer<'a, bool> {
        let held = self.finish(key, token, MarkKind::Dead(round), ttl);
        Box::pin(ready(Ok(held)))
    }

    fn release(&self, key: DedupKey, token: Token) {
        self.shard(&key).release(&key, token);
    }

    fn check(&self) -> Answer<'_, Vec<String>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

/// Claims and marks stand apart: claims are few and come and go, marks are many
/// and stay.
struct Shard {
    capacity: usize,
    claims: HashMap<Arc<str>, Held, RandomState>,
    /// Claims that nobody gave back are looked for at this many.
    sweep_at: usize,
    marks: HashMap<Arc<str>, Mark, RandomState>,
    /// Marks in order of age, by their time to live: so each queue is in order
    /// of expiry too, and there are as many as handlers have settings. A mark
    /// that is gone stays queued until it comes to the front, where its number
    /// tells.
    queues: BTreeMap<Duration, VecDeque<(u64, Arc<str>)>>,
    queued: usize,
    next_number: u64,
}

struct Held {
    token: Token,
    until: Instant,
}

struct Mark {
    number: u64,
    kind: MarkKind,
    by: Token,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MarkKind {
    Done,
    Dead(u32),
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            claims: HashMap::default(),
            sweep_at: SWEEP_AT_LEAST,
            marks: HashMap::default(),
            queues: BTreeMap::new(),
            queued: 0,
            next_number: 0,
        }
    }

    fn claim(&mut self, key: &DedupKey, round: u32, lease: Duration) -> Claim {
        let now = Instant::now();
        let key = key.as_str();
        if let Some(held) = self.claims.get(key)
            && held.until > now
        {
            return Claim::InProgress(held.until - now);
        }
        if let Some(mark) = self.marks.get(key) {
            match mark.kind {
                _ if mark.until <= now => {}
                MarkKind::Done => return Claim::Done,
                MarkKind::Dead(buried) if round <= buried => return Claim::Dead,
                MarkKind::Dead(_) => {}
            }
            self.marks.remove(key);
        }
        self.sweep_claims(now);
        let token = Token::random();
        let until = later(now, lease);
        self.claims.insert(key.into(), Held { token, until });
        Claim::Claimed(token)
    }

    fn renew(&mut self, key: &DedupKey, token: Token, lease: Duration) -> bool {
        let now = Instant::now();
        match self.claims.get_mut(key.as_str()) {
            Some(held) if held.token == token && held.until > now => {
                held.until = later(now, lease);
                true
            }
            _ => false,
        }
    }

    fn release(&mut self, key: &DedupKey, token: Token) {
        if let Some(held) = self.claims.get(key.as_str())
            && held.token == token
        {
            self.claims.remove(key.as_str());
        }
    }

    /// Whether the mark stands, and how many others went for it before their time.
    fn finish(
        &mut self,
        key: &DedupKey,
        token: Token,
        kind: MarkKind,
        ttl: Duration,
    ) -> (bool, u64) {
        let now = Instant::now();
        let key = key.as_str();
        let ours = |held: &Held| held.token == token && held.until > now;
        if !self.claims.get(key).is_some_and(ours) {
            // Asked again by the one who made the mark.
            let again = |mark: &Mark| mark.by == token && mark.kind == kind && mark.until > now;
            return (self.marks.get(key).is_some_and(again), 0);
        }
        let Some((key, _)) = self.claims.remove_entry(key) else {
            return (false, 0);
        };
        let evicted = self.make_room(ttl, now);
        let number = self.next_number;
        self.next_number += 1;
        let until = later(now, ttl);
        let queue = self.queues.entry(ttl).or_default();
        queue.push_back((number, key.clone()));
        self.queued += 1;
        let by = token;
        self.marks.insert(
            key,
            Mark {
                number,
                kind,
                by,
                until,
            },
        );
        (true, evicted)
    }

    /// Makes room for a mark of this time to live.
    fn make_room(&mut self, ttl: Duration, now: Instant) -> u64 {
        // Two are more than come in, so what is expired does not pile up while
        // there is room.
        for _ in 0..2 {
            if self
                .queues
                .get(&ttl)
                .is_some_and(|queue| self.is_due(queue, now))
            {
                self.pop(ttl);
            }
        }
        if self.queued < self.capacity {
            return 0;
        }
        let due = |shard: &Self| {
            let due =
                |(ttl, queue): (&Duration, &VecDeque<_>)| shard.is_due(queue, now).then_some(*ttl);
            shard.queues.iter().find_map(due)
        };
        while let Some(ttl) = due(self) {
            self.pop(ttl);
        }
        let mut evicted = 0;
        while self.queued >= self.capacity {
            let front =
                |(ttl, queue): (&Duration, &VecDeque<(u64, _)>)| Some((queue.front()?.0, *ttl));
            let Some((_, ttl)) = self.queues.iter().filter_map(front).min() else {
                break;
            };
            evicted += u64::from(self.pop(ttl));
        }
        evicted
    }

    /// Whether the mark at the front is expired or gone.
    fn is_due(&self, queue: &VecDeque<(u64, Arc<str>)>, now: Instant) -> bool {
        queue.front().is_some_and(|(number, key)| {
            let stands = |mark: &Mark| mark.number == *number && mark.until > now;
            !self.marks.get(key).is_some_and(stands)
        })
    }

    /// Takes the oldest mark of a queue away. `false`: it was gone already.
    fn pop(&mut self, ttl: Duration) -> bool {
        let Some(queue) = self.queues.get_mut(&ttl) else {
            return false;
        };
        let Some((number, key)) = queue.pop_front() else {
            return false;
        };
        self.queued -= 1;
        if queue.is_empty() {
            self.queues.remove(&ttl);
        }
        let stands = self
            .marks
            .get(&key)
            .is_some_and(|mark| mark.number == number);
        if stands {
            self.marks.remove(&key);
        }
        stands
    }

    /// Drops claims whose lease ended, whenever there are twice as many claims
    /// as lived the last time: a constant cost per claim.
    fn sweep_claims(&mut self, now: Instant) {
        if self.claims.len() >= self.sweep_at {
            self.claims.retain(|_, held| held.until > now);
            self.sweep_at = SWEEP_AT_LEAST.max(self.claims.len() * 2);
        }
    }
}

const SWEEP_AT_LEAST: usize = 16;

/// Far longer than a process lives, where the sum would overflow.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or_else(|| now + FOREVER)
}

#[derive(Default)]
struct Evicted {
    untold: u64,
    told: Option<Instant>,
}

impl Evicted {
    /// How many to warn of now: once a minute at most.
    fn tell(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.untold += count;
        let recently = |told| now.duration_since(told) < Duration::from_secs(60);
        if self.told.is_some_and(recently) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::{self, World};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(id: usize) -> DedupKey {
        DedupKey::new("group", "handler", "source", &id.to_string())
    }

    fn claim(store: &MemoryDedup, id: usize, lease: Duration) -> Claim {
        store.shard(&key(id)).claim(&key(id), 0, lease)
    }

    fn claimed(store: &MemoryDedup, id: usize) -> Token {
        match claim(store, id, HOUR) {
            Claim::Claimed(token) => token,
            other => panic!("{id} is {other:?}"),
        }
    }

    fn done(store: &MemoryDedup, id: usize, ttl: Duration) {
        let token = claimed(store, id);
        assert!(store.finish(&key(id), token, MarkKind::Done, ttl));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_marks_go_first_then_the_oldest_and_never_a_claim() {
        let store = MemoryDedup::with_capacity(3);
        let held = claimed(&store, 0);
        done(&store, 1, HOUR);
        done(&store, 2, HOUR / 2);
        done(&store, 3, HOUR * 2);
        tokio::time::advance(HOUR / 2).await;

        // 2 has expired.
        done(&store, 4, HOUR);
        assert_eq!(claim(&store, 1, HOUR), Claim::Done);
        assert_eq!(claim(&store, 3, HOUR), Claim::Done);
        // None has; 1 is the oldest.
        done(&store, 5, HOUR);
        assert_eq!(claim(&store, 3, HOUR), Claim::Done);
        assert_eq!(claim(&store, 4, HOUR), Claim::Done);
        assert_eq!(claim(&store, 5, HOUR), Claim::Done);
        claimed(&store, 1);
        for id in 10..20 {
            done(&store, id, HOUR);
        }
        assert!(store.shard(&key(0)).renew(&key(0), held, HOUR));
        assert_eq!(store.shard(&key(0)).marks.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_takes_no_memory() {
        let store = MemoryDedup::with_capacity(500);
        for id in 0..10_000 {
            claim(&store, id, Duration::from_millis(1));
            done(&store, 20_000 + id % 3, Duration::from_millis(1));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let shard = store.shard(&key(0));
        assert!(shard.claims.len() <= SWEEP_AT_LEAST);
        assert!(shard.queued <= 3, "{} queued", shard.queued);
        assert!(shard.marks.len() <= 3);
    }

    #[test]
    fn the_capacity_holds_over_all_shards() {
        let store = MemoryDedup::with_capacity(2_000);
        for id in 0..10_000 {
            done(&store, id, HOUR);
        }
        let marks = |shard: &Mutex<Shard>| shard.lock().expect("not poisoned").marks.len();
        let all: usize = store.0.shards.iter().map(marks).sum();
        assert_eq!(all, 2_000);
        assert_eq!(claim(&store, 9_999, HOUR), Claim::Done);
    }

    #[test]
    fn endless_times_do_not_overflow() {
        let store = MemoryDedup::new();
        let Claim::Claimed(token) = claim(&store, 1, Duration::MAX) else {
            panic!("absent at first");
        };
        assert!(store.finish(&key(1), token, MarkKind::Done, Duration::MAX));
        assert_eq!(claim(&store, 1, HOUR), Claim::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn evictions_are_told_once_a_minute_and_all_of_them() {
        let mut evicted = Evicted::default();
        assert_eq!(evicted.tell(1, Instant::now()), Some(1));
        assert_eq!(evicted.tell(2, Instant::now()), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(evicted.tell(3, Instant::now()), Some(5));
    }

    #[test]
    fn clones_share_and_debug_keeps_keys_to_itself() {
        let store = MemoryDedup::new();
        let clone = store.clone();
        done(&clone, 77, HOUR);
        assert_eq!(claim(&store, 77, HOUR), Claim::Done);
        assert_eq!(
            format!("{store:?}"),
            "MemoryDedup { capacity: 1000000, .. }"
        );
    }

    #[test]
    fn one_of_many_threads_gets_the_claim() {
        let store = MemoryDedup::new();
        let claimed = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..500)
                            .filter(|id| matches!(claim(&store, *id, HOUR), Claim::Claimed(_)))
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum::<usize>()
        });
        assert_eq!(claimed, 500);
    }

    struct Paused(MemoryDedup);

    impl World for Paused {
        fn store(&self) -> &dyn DedupStore {
            &self.0
        }

        async fn pass(&self, time: Duration) {
            tokio::time::advance(time).await;
        }

        async fn outlive(&self, _key: &DedupKey, lease: Duration) {
            tokio::time::advance(lease).await;
        }
    }

    proptest::proptest! {
        #[test]
        fn is_the_state_machine(steps in machine::steps(machine::Time::Passes)) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(machine::run(&Paused(MemoryDedup::new()), "m", &steps));
        }
    }
}
