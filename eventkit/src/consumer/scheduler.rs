//! Which delivery may run now.
//!
//! For one key, events are handled in the order of their partition; handlers of
//! the same event do not wait for one another. So a delivery waits for every
//! earlier unfinished one of its key that is the same handler's, or another
//! event type's.

use std::collections::VecDeque;

use hashbrown::HashMap;

/// Deliveries that must keep an order: those of one key, or of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneId(pub(crate) u64);

/// One delivery as the scheduler sees it; `T` is what the caller runs.
#[derive(Debug, Clone)]
pub(crate) struct Job<T> {
    pub(crate) lane: Option<LaneId>,
    /// Which event type, as a number.
    pub(crate) event: u32,
    /// Which handler, as a number.
    pub(crate) handler: u32,
    /// How many handlers the event type has.
    pub(crate) fan_out: u32,
    pub(crate) work: T,
}

/// Names a running job, to say later that it is finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    lane: Option<LaneId>,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    lanes: HashMap<LaneId, VecDeque<Entry<T>>>,
    ready: VecDeque<(Ticket, T)>,
    next_number: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    event: u32,
    handler: u32,
    fan_out: u32,
    /// `None` once it is ready or running.
    work: Option<T>,
}

impl<T> Default for Scheduler<T> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            ready: VecDeque::new(),

            next_number: 0,
        }
    }
}

impl<T> Scheduler<T> {
    pub(crate) fn push(&mut self, job: Job<T>) {
        let number = self.next_number;
        self.next_number += 1;
        let ticket = Ticket {
            lane: job.lane,
            number,
        };
        let Some(lane) = job.lane else {
            self.ready.push_back((ticket, job.work));
            return;
        };
        let entries = self.lanes.entry(lane).or_default();
        let waits = entries
            .iter()
            .any(|earlier| earlier.handler == job.handler || earlier.event != job.event);
        let work = if waits {
            Some(job.work)
        } else {
            self.ready.push_back((ticket, job.work));
            None
        };
        entries.push_back(Entry {
            number,
            event: job.event,
            handler: job.handler,
            fan_out: job.fan_out,
            work,
        });
    }

    /// The next job that may run.
    pub(crate) fn next(&mut self) -> Option<(Ticket, T)> {
        self.ready.pop_front()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Lets those run that waited for this one.
    pub(crate) fn finish(&mut self, ticket: Ticket) {
        let Some(lane) = ticket.lane else { return };
        let Some(entries) = self.lanes.get_mut(&lane) else {
            return;
        };
        if let Some(index) = entries
            .iter()
            .position(|entry| entry.number == ticket.number)
        {
            entries.remove(index);
        }
        if entries.is_empty() {
            self.lanes.remove(&lane);
            return;
        }
        release(lane, entries, &mut self.ready);
    }

    /// Jobs that are not running: ready ones and waiting ones.
    #[cfg(test)]
    fn queued(&self) -> usize {
        let waiting = |entries: &VecDeque<Entry<T>>| {
            entries.iter().filter(|entry| entry.work.is_some()).count()
        };
        self.ready.len() + self.lanes.values().map(waiting).sum::<usize>()
    }
}

/// Moves to `ready` what nothing earlier holds up any more.
fn release<T>(lane: LaneId, entries: &mut VecDeque<Entry<T>>, ready: &mut VecDeque<(Ticket, T)>) {
    let event = entries[0].event;
    let mut holding: Vec<u32> = Vec::new();
    for entry in entries.iter_mut() {
        // Behind another event type everything waits.
        if entry.event != event || holding.len() as u32 >= entry.fan_out {
            break;
        }
        if holding.contains(&entry.handler) {
            continue;
        }
        holding.push(entry.handler);
        if let Some(work) = entry.work.take() {
            ready.push_back((
                Ticket {
                    lane: Some(lane),
                    number: entry.number,
                },
                work,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Work {
        key: u64,
        event: u32,
        handler: u32,
        at: usize,
    }

    fn conflict(a: &Work, b: &Work) -> bool {
        a.key == b.key && (a.handler == b.handler || a.event != b.event)
    }

    proptest! {
        #[test]
        fn keeps_the_order_of_every_key_and_forgets_nothing(
            records in proptest::collection::vec((0u64..4, 0u32..3), 1..80),
            picks in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..400),
        ) {
            // Event 0 has one handler, 1 has two, 2 has three; numbers are global.
            let handlers: [&[u32]; 3] = [&[0], &[1, 2], &[3, 4, 5]];
            let mut scheduler = Scheduler::default();
            let mut all = Vec::new();
            for (key, event) in records {
                for handler in handlers[event as usize] {
                    all.push(Work { key, event, handler: *handler, at: all.len() });
                }
            }
            let mut arriving = all.iter();
            let mut running: Vec<(Ticket, Work)> = Vec::new();
            let mut finished = vec![false; all.len()];
            let mut picks = picks.iter().cycle();
            while finished.iter().any(|done| !done) {
                let (arrive, pick) = picks.next().unwrap();
                if *arrive && let Some(work) = arriving.next() {
                    scheduler.push(Job {
                        lane: Some(LaneId(work.key)),
                        event: work.event,
                        handler: work.handler,
                        fan_out: handlers[work.event as usize].len() as u32,
                        work: *work,
                    });
                } else if running.is_empty() && scheduler.queued() == 0 {
                    let Some(work) = arriving.next() else { break };
                    scheduler.push(Job {
                        lane: Some(LaneId(work.key)),
                        event: work.event,
                        handler: work.handler,
                        fan_out: handlers[work.event as usize].len() as u32,
                        work: *work,
                    });
                }
                while let Some((ticket, work)) = scheduler.next() {
                    // Nothing that it must wait for is unfinished.
                    for earlier in &all[..work.at] {
                        prop_assert!(finished[earlier.at] || !conflict(earlier, &work));
                    }
                    running.push((ticket, work));
                }
                // Whatever could run does run.
                prop_assert!(!running.is_empty() || scheduler.queued() == 0);
                if !running.is_empty() {
                    let (ticket, work) = running.swap_remove(pick.index(running.len()));
                    finished[work.at] = true;
                    scheduler.finish(ticket);
                }
            }
            prop_assert!(scheduler.lanes.is_empty());
            prop_assert_eq!(scheduler.queued(), 0);
        }
    }

    #[test]
    fn handlers_of_one_event_do_not_wait_for_one_another() {
        let mut scheduler = Scheduler::default();
        for (round, handler) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            scheduler.push(Job {
                lane: Some(LaneId(1)),
                event: 0,
                handler,
                fan_out: 2,
                work: (round, handler),
            });
        }
        let (_stuck, first) = scheduler.next().unwrap();
        let (quick, second) = scheduler.next().unwrap();
        assert_eq!((first, second), ((1, 0), (1, 1)));
        assert!(scheduler.next().is_none());
        scheduler.finish(quick);
        assert_eq!(scheduler.next().unwrap().1, (2, 1));
    }
}
