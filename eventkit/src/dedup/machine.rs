//! The state machine of dedup as a plain model, and random steps that a store
//! and the model take side by side. Also used by the tests against servers.

use std::collections::HashMap;
use std::time::Duration;

use eventkit::dedup::{Claim, DedupKey, DedupStore, Token};
use proptest::prelude::*;

/// What happens between steps, in which the stores differ.
pub(crate) trait World {
    fn store(&self) -> &dyn DedupStore;

    /// Lets time pass, for stores whose clock is the test's.
    async fn pass(&self, time: Duration);

    /// Lets the claim on `key` end, whose lease began just now.
    async fn outlive(&self, key: &DedupKey, lease: Duration);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test program has one of them")]
pub(crate) enum Time {
    /// Steps of time come between the others, leases and marks are short.
    Passes,
    /// Leases and marks outlast the test, except where a step ends them.
    Stands,
}

/// `token` is one of those given out so far, by its place; past the end, one
/// that nobody got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    key: usize,
    token: usize,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Claim { round: u32, lease: Duration },
    Renew { lease: Duration },
    Complete { ttl: Duration },
    Bury { round: u32, ttl: Duration },
    Release,
    EndLease,
    Pass(Duration),
}

const KEYS: usize = 3;

pub(crate) fn steps(time: Time) -> impl Strategy<Value = Vec<Step>> {
    let span = move |most: u64| match time {
        Time::Passes => (1..most).prop_map(Duration::from_millis).boxed(),
        Time::Stands => Just(Duration::from_secs(3600)).boxed(),
    };
    let (lease, ttl) = (|| span(50), || span(200));
    let round = || 0..3u32;
    let what = prop_oneof![
        6 => (round(), lease()).prop_map(|(round, lease)| What::Claim { round, lease }),
        2 => lease().prop_map(|lease| What::Renew { lease }),
        3 => ttl().prop_map(|ttl| What::Complete { ttl }),
        3 => (round(), ttl()).prop_map(|(round, ttl)| What::Bury { round, ttl }),
        2 => Just(What::Release),
        1 => Just(What::EndLease),
        (if time == Time::Passes { 4 } else { 0 }) =>
            (1..60u64).prop_map(|passed| What::Pass(Duration::from_millis(passed))),
    ];
    // Recent tokens are the likely holders.
    let token = prop_oneof![3 => 0..3usize, 1 => 0..20usize];
    let step = (0..KEYS, token, what).prop_map(|(key, token, what)| Step { key, token, what });
    prop::collection::vec(step, 1..60)
}

#[derive(Debug, Clone, Copy)]
enum State {
    Claimed {
        token: Token,
        until: Duration,
    },
    Done {
        by: Token,
        until: Duration,
    },
    Dead {
        by: Token,
        round: u32,
        until: Duration,
    },
}

#[derive(Default)]
struct Model {
    now: Duration,
    states: HashMap<usize, State>,
}

impl Model {
    fn state(&mut self, key: usize) -> Option<State> {
        let state = *self.states.get(&key)?;
        let (State::Claimed { until, .. } | State::Done { until, .. } | State::Dead { until, .. }) =
            state;
        (until > self.now).then_some(state)
    }

    fn holds(&mut self, key: usize, token: Token) -> bool {
        matches!(self.state(key), Some(State::Claimed { token: holder, .. }) if holder == token)
    }

    /// What a claim must answer; `None`: it is granted.
    fn refusal(&mut self, key: usize, round: u32) -> Option<Claim> {
        match self.state(key)? {
            State::Claimed { until, .. } => Some(Claim::InProgress(until - self.now)),
            State::Done { .. } => Some(Claim::Done),
            State::Dead { round: buried, .. } => (round <= buried).then_some(Claim::Dead),
        }
    }

    fn complete(&mut self, key: usize, token: Token, ttl: Duration) -> bool {
        if self.holds(key, token) {
            let until = self.now + ttl;
            self.states.insert(key, State::Done { by: token, until });
            return true;
        }
        matches!(self.state(key), Some(State::Done { by, .. }) if by == token)
    }

    fn bury(&mut self, key: usize, token: Token, round: u32, ttl: Duration) -> bool {
        if self.holds(key, token) {
            let (by, until) = (token, self.now + ttl);
            self.states.insert(key, State::Dead { by, round, until });
            return true;
        }
        matches!(self.state(key), Some(State::Dead { by, round: r, .. }) if (by, r) == (token, round))
    }
}

/// What must never be, told without the model: until when nobody else may get
/// a key, and from which round on somebody may.
#[derive(Default)]
struct Promises(HashMap<usize, (Duration, Option<u32>)>);

impl Promises {
    /// `but_from`: the round from which a claim is granted all the same.
    fn make(&mut self, key: usize, until: Duration, but_from: Option<u32>) {
        self.0.insert(key, (until, but_from));
    }

    fn is_kept_by_a_claim(&self, key: usize, round: u32, now: Duration) -> bool {
        self.0.get(&key).is_none_or(|(until, but_from)| {
            *until <= now || but_from.is_some_and(|from| round >= from)
        })
    }
}

/// Takes the steps, on keys of its own, and panics where the store and the
/// model differ.
pub(crate) async fn run(world: &impl World, name: &str, steps: &[Step]) {
    let keys: Vec<DedupKey> = (0..KEYS)
        .map(|id| DedupKey::new("group", "handler", name, &id.to_string()))
        .collect();
    let store = world.store();
    let mut model = Model::default();
    let mut given: Vec<Token> = Vec::new();
    let mut promises = Promises::default();

    for (number, step) in steps.iter().enumerate() {
        let key = &keys[step.key];
        let token = given.iter().rev().nth(step.token).copied();
        let token = token.unwrap_or_else(Token::random);
        let says = |what: &str| format!("step {number} {step:?}: {what}");
        match step.what {
            What::Claim { round, lease } => {
                let answer = store.claim(key, round, lease).await.expect("an answer");
                match (model.refusal(step.key, round), answer) {
                    (None, Claim::Claimed(token)) => {
                        assert!(!given.contains(&token), "{}", says("a token given twice"));
                        given.push(token);
                        let kept = promises.is_kept_by_a_claim(step.key, round, model.now);
                        assert!(kept, "{}", says("somebody has it"));
                        let until = model.now + lease;
                        promises.make(step.key, until, None);
                        model
                            .states
                            .insert(step.key, State::Claimed { token, until });
                    }
                    // A server's clock goes on.
                    (Some(Claim::InProgress(most)), Claim::InProgress(left)) => {
                        assert!(
                            left <= most && left > most.saturating_sub(CLOCK_GOES_ON),
                            "{}",
                            says(&format!("{left:?} of {most:?} left"))
                        );
                    }
                    (expected, answer) => {
                        assert_eq!(expected, Some(answer), "{}", says("claim"));
                    }
                }
            }
            What::Renew { lease } => {
                let held = model.holds(step.key, token);
                let answer = store.renew(key, token, lease).await.expect("an answer");
                assert_eq!(answer, held, "{}", says("renew"));
                if held {
                    let until = model.now + lease;
                    promises.make(step.key, until, None);
                    model
                        .states
                        .insert(step.key, State::Claimed { token, until });
                }
            }
            What::Complete { ttl } => {
                let held = model.holds(step.key, token);
                let answer = store.complete(key, token, ttl).await.expect("an answer");
                if answer && held {
                    promises.make(step.key, model.now + ttl, None);
                }
                let expected = model.complete(step.key, token, ttl);
                assert_eq!(answer, expected, "{}", says("complete"));
            }
            What::Bury { round, ttl } => {
                let held = model.holds(step.key, token);
                let answer = store.bury(key, token, round, ttl).await.expect("an answer");
                if answer && held {
                    promises.make(step.key, model.now + ttl, Some(round + 1));
                }
                let expected = model.bury(step.key, token, round, ttl);
                assert_eq!(answer, expected, "{}", says("bury"));
            }
            What::Release => {
                store.release(key.clone(), token);
                if model.holds(step.key, token) {
                    model.states.remove(&step.key);
                    promises.0.remove(&step.key);
                }
            }
            What::EndLease => {
                if let Some(State::Claimed { token, .. }) = model.state(step.key) {
                    let short = Duration::from_millis(1);
                    let answer = store.renew(key, token, short).await.expect("an answer");
                    assert!(answer, "{}", says("the holder renews"));
                    world.outlive(key, short).await;
                    model.states.remove(&step.key);
                    promises.0.remove(&step.key);
                    model.now += short;
                }
            }
            What::Pass(time) => {
                world.pass(time).await;
                model.now += time;
            }
        }
    }

    // Of all tokens ever given, a key has at most the one holder.
    for (id, key) in keys.iter().enumerate() {
        for token in &given {
            let answer = store.renew(key, *token, Duration::from_millis(1)).await;
            assert_eq!(
                answer.expect("an answer"),
                model.holds(id, *token),
                "at the end"
            );
        }
    }
}

const CLOCK_GOES_ON: Duration = Duration::from_secs(60);
