//! The scheduler beside a plain model of its rule, over random steps.

use proptest::prelude::*;
use proptest::sample::Index;

use super::{LaneId, Place, Scheduler, Ticket};

/// Handlers of each event type; their numbers are the group's.
const HANDLERS: [&[u32]; 3] = [&[0], &[1, 2], &[3, 4, 5]];

#[derive(Debug, Clone)]
enum Step {
    /// A record comes in, for all handlers of its type, or, as a replay, for one.
    Receive {
        lanes: [Option<u64>; 3],
        event: usize,
        replay: Option<Index>,
    },
    /// What may run next begins.
    Begin,
    /// One of those that run ends.
    Finish(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Handlers of one type may order by key, by partition, or not at all.
    let lane = || prop_oneof![8 => (0..3u64).prop_map(Some), 1 => Just(None)];
    let receive = (
        [lane(), lane(), lane()],
        any::<bool>(),
        0..3usize,
        any::<Option<Index>>(),
    );
    let receive = receive.prop_map(|(mut lanes, alike, event, replay)| {
        if alike {
            lanes = [lanes[0]; 3];
        }
        Step::Receive {
            lanes,
            event,
            replay,
        }
    });
    let step = prop_oneof![
        3 => receive,
        4 => Just(Step::Begin),
        3 => any::<usize>().prop_map(Step::Finish),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Queued,
    Running,
    Finished,
}

struct Job {
    lane: Option<u64>,
    event: usize,
    handler: u32,
    state: State,
}

#[derive(Default)]
struct Model(Vec<Job>);

impl Model {
    fn holds_up(earlier: &Job, later: &Job) -> bool {
        earlier.state != State::Finished
            && later.lane.is_some()
            && earlier.lane == later.lane
            && (earlier.handler == later.handler || earlier.event != later.event)
    }

    fn is_free(&self, at: usize) -> bool {
        !self.0[..at]
            .iter()
            .any(|earlier| Self::holds_up(earlier, &self.0[at]))
    }

    /// Jobs that are queued, and that nothing holds up.
    fn ready(&self) -> Vec<usize> {
        (0..self.0.len())
            .filter(|at| self.0[*at].state == State::Queued && self.is_free(*at))
            .collect()
    }

    fn unfinished(&self) -> impl Iterator<Item = &Job> {
        self.0.iter().filter(|job| job.state != State::Finished)
    }
}

fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut scheduler = Scheduler::default();
    let mut model = Model::default();
    let mut running: Vec<(Ticket, usize)> = Vec::new();
    // All that came is ended in the end.
    let rest = std::iter::repeat([Step::Begin, Step::Finish(0)]).flatten();
    for (number, step) in steps.iter().cloned().chain(rest).enumerate() {
        match step {
            Step::Receive {
                lanes,
                event,
                replay,
            } => {
                let all = HANDLERS[event];
                let named = replay.map(|index| index.index(all.len()));
                for (at, handler) in all.iter().enumerate() {
                    if named.is_some_and(|named| named != at) {
                        continue;
                    }
                    let place = Place {
                        lane: lanes[at].map(LaneId),
                        event: event as u32,
                        handler: *handler,
                        fan_out: all.len() as u32,
                    };
                    let id = model.0.len();
                    model.0.push(Job {
                        lane: lanes[at],
                        event,
                        handler: *handler,
                        state: State::Queued,
                    });
                    prop_assert_eq!(scheduler.is_free(&place), model.is_free(id));
                    scheduler.push(place, id);
                }
            }
            Step::Begin => match scheduler.next() {
                Some((ticket, id)) => {
                    prop_assert!(model.ready().contains(&id), "{} may not run yet", id);
                    model.0[id].state = State::Running;
                    running.push((ticket, id));
                }
                None => prop_assert_eq!(model.ready(), Vec::<usize>::new(), "held up by nothing"),
            },
            Step::Finish(pick) => {
                if !running.is_empty() {
                    let (ticket, id) = running.swap_remove(pick % running.len());
                    model.0[id].state = State::Finished;
                    scheduler.finish(ticket);
                }
            }
        }
        prop_assert_eq!(scheduler.has_ready(), !model.ready().is_empty());
        // It holds what is unfinished, and nothing of what was.
        let held: usize = scheduler.lanes.values().map(|entries| entries.len()).sum();
        let in_lanes = model.unfinished().filter(|job| job.lane.is_some()).count();
        prop_assert_eq!(held, in_lanes);
        prop_assert!(scheduler.lanes.values().all(|entries| !entries.is_empty()));
        if number >= steps.len() && model.unfinished().next().is_none() {
            break;
        }
        prop_assert!(number < steps.len() + 3000, "never ends");
    }
    Ok(())
}

proptest! {
    #[test]
    fn runs_all_that_may_run_and_nothing_else(steps in steps()) {
        check(steps)?;
    }
}
