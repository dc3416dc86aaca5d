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

/// What decides when a delivery may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// `None`: it waits for nothing.
    pub(crate) lane: Option<LaneId>,
    /// Which event type, as a number.
    pub(crate) event: u32,
    /// Which handler, as a number.
    pub(crate) handler: u32,
    /// How many handlers the event type has.
    pub(crate) fan_out: u32,
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
    /// Emptied lanes, kept for their memory.
    spare: Vec<VecDeque<Entry<T>>>,
}

/// Emptied lanes that are kept.
const SPARE: usize = 64;

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
            spare: Vec::new(),
        }
    }
}

impl<T> Scheduler<T> {
    /// Whether nothing that is unfinished holds up a job like this.
    pub(crate) fn is_free(&self, place: &Place) -> bool {
        let entries = place.lane.and_then(|lane| self.lanes.get(&lane));
        entries.is_none_or(|entries| entries.iter().all(|earlier| !earlier.holds_up(place)))
    }

    /// Takes a job in, to run when nothing holds it up.
    pub(crate) fn push(&mut self, place: Place, work: T) {
        if self.is_free(&place) {
            let ticket = self.occupy(place);
            self.ready.push_back((ticket, work));
        } else {
            self.enter(place, Some(work));
        }
    }

    /// Notes a job that runs already, so that later ones wait for it.
    pub(crate) fn occupy(&mut self, place: Place) -> Ticket {
        self.enter(place, None)
    }

    fn enter(&mut self, place: Place, work: Option<T>) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        if let Some(lane) = place.lane {
            let spare = &mut self.spare;
            let entries = self
                .lanes
                .entry(lane)
                .or_insert_with(|| spare.pop().unwrap_or_default());
            entries.push_back(Entry {
                number,
                event: place.event,
                handler: place.handler,
                fan_out: place.fan_out,
                work,
            });
        }
        Ticket {
            lane: place.lane,
            number,
        }
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
            let emptied = self.lanes.remove(&lane);
            if self.spare.len() < SPARE {
                self.spare.extend(emptied);
            }
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

impl<T> Entry<T> {
    fn holds_up(&self, later: &Place) -> bool {
        self.handler == later.handler || self.event != later.event
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
                    scheduler.push(Place {
                        lane: Some(LaneId(work.key)),
                        event: work.event,
                        handler: work.handler,
                        fan_out: handlers[work.event as usize].len() as u32,
                }, *work);
                } else if running.is_empty() && scheduler.queued() == 0 {
                    let Some(work) = arriving.next() else { break };
                    scheduler.push(Place {
                        lane: Some(LaneId(work.key)),
                        event: work.event,
                        handler: work.handler,
                        fan_out: handlers[work.event as usize].len() as u32,
                }, *work);
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
            scheduler.push(
                Place {
                    lane: Some(LaneId(1)),
                    event: 0,
                    handler,
                    fan_out: 2,
                },
                (round, handler),
            );
        }
        let (_stuck, first) = scheduler.next().unwrap();
        let (quick, second) = scheduler.next().unwrap();
        assert_eq!((first, second), ((1, 0), (1, 1)));
        assert!(scheduler.next().is_none());
        scheduler.finish(quick);
        assert_eq!(scheduler.next().unwrap().1, (2, 1));
    }
}
