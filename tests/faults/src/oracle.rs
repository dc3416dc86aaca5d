//! Judges a scene by what was written, what was done, what was buried, and what
//! was committed at which moment.

use std::collections::{BTreeMap, HashMap};

use crate::journal::{Entry, Event, What};

/// An event in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) event: Event,
}

/// A committed offset that was read, and what had happened by then: the length
/// of the journal and the number of dead letters were read after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: i32,
    pub(crate) next: i64,
    pub(crate) journal: u64,
    pub(crate) letters: usize,
}

/// Everything that is known of a scene.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) written: Vec<Written>,
    pub(crate) entries: Vec<Entry>,
    /// Dead letters in the order in which they were seen.
    pub(crate) letters: Vec<Event>,
    pub(crate) commits: Vec<Commit>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) events: usize,
    /// Neither done nor in the dead-letter topic.
    pub(crate) lost: usize,
    /// Effects beyond the first of an event.
    pub(crate) duplicates: usize,
    /// First runs that began, or ended, before an earlier event of the key.
    pub(crate) disorder: usize,
    /// Events whose offset was committed before they were done or buried.
    pub(crate) commits_past: usize,
    /// Commits lower than one before.
    pub(crate) commits_back: usize,
}

impl Evidence {
    pub(crate) fn verdict(&self) -> Verdict {
        let known = Known::of(self);
        let mut events: Vec<Event> = self.written.iter().map(|written| written.event).collect();
        events.sort_unstable();
        events.dedup();
        let settled = |event: &&Event| known.is_settled(**event, u64::MAX, usize::MAX);
        Verdict {
            events: events.len(),
            lost: events.len() - events.iter().filter(settled).count(),
            duplicates: known.duplicates,
            disorder: self.disorder(&events, &known),
            commits_past: self.commits_past(&known),
            commits_back: self.commits_back(),
        }
    }

    /// An event that ends in the dead-letter topic holds up nobody.
    fn disorder(&self, events: &[Event], known: &Known) -> usize {
        let mut next: HashMap<u32, std::collections::VecDeque<u64>> = HashMap::new();
        for event in events.iter().filter(|event| known.done.contains_key(event)) {
            next.entry(event.key).or_default().push_back(event.n);
        }
        let mut seen = std::collections::HashSet::new();
        let mut disorder = 0;
        for entry in &self.entries {
            let Event { key, n } = entry.event;
            if !known.done.contains_key(&entry.event)
                || !seen.insert((entry.what == What::Begun, key, n))
            {
                continue;
            }
            let Some(waiting) = next.get_mut(&key) else {
                continue;
            };
            if waiting.front() != Some(&n) {
                disorder += 1;
            }
            if entry.what == What::Done {
                waiting.retain(|waiting| *waiting != n);
            }
        }
        disorder
    }

    fn commits_past(&self, known: &Known) -> usize {
        let mut by_partition: HashMap<i32, BTreeMap<i64, Event>> = HashMap::new();
        for written in &self.written {
            let partition = by_partition.entry(written.partition).or_default();
            partition.insert(written.offset, written.event);
        }
        let mut past = 0;
        for commit in &self.commits {
            let Some(open) = by_partition.get_mut(&commit.partition) else {
                continue;
            };
            let above = open.split_off(&commit.next);
            let committed = std::mem::replace(open, above);
            past += committed
                .values()
                .filter(|event| !known.is_settled(**event, commit.journal, commit.letters))
                .count();
        }
        past
    }

    fn commits_back(&self) -> usize {
        let mut last: HashMap<i32, i64> = HashMap::new();
        self.commits
            .iter()
            .filter(|commit| {
                let before = last.insert(commit.partition, commit.next);
                before.is_some_and(|before| commit.next < before)
            })
            .count()
    }
}

/// When each event was first done and first buried.
struct Known {
    done: HashMap<Event, u64>,
    buried: HashMap<Event, usize>,
    duplicates: usize,
}

impl Known {
    fn of(evidence: &Evidence) -> Self {
        let mut known = Self {
            done: HashMap::new(),
            buried: HashMap::new(),
            duplicates: 0,
        };
        for entry in &evidence.entries {
            if entry.what == What::Begun {
                continue;
            }
            match known.done.entry(entry.event) {
                std::collections::hash_map::Entry::Vacant(first) => {
                    first.insert(entry.at);
                }
                std::collections::hash_map::Entry::Occupied(_) => known.duplicates += 1,
            }
        }
        for (index, event) in evidence.letters.iter().enumerate() {
            known.buried.entry(*event).or_insert(index);
        }
        known
    }

    fn is_settled(&self, event: Event, journal: u64, letters: usize) -> bool {
        self.done.get(&event).is_some_and(|at| *at <= journal)
            || self
                .buried
                .get(&event)
                .is_some_and(|index| *index < letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four events of one key in one partition, done one after the other.
    fn flawless() -> Evidence {
        let mut evidence = Evidence::default();
        for n in 0..4 {
            let event = Event { key: 0, n };
            evidence.written.push(Written {
                partition: 0,
                offset: n as i64 * 2,
                event,
            });
            begun_and_done(&mut evidence, n);
            commit(&mut evidence, n as i64 * 2 + 1);
        }
        evidence
    }

    fn begun_and_done(evidence: &mut Evidence, n: u64) {
        push(evidence, What::Begun, n);
        push(evidence, What::Done, n);
    }

    fn push(evidence: &mut Evidence, what: What, n: u64) {
        let (event, by) = (Event { key: 0, n }, 1);
        let at = evidence.entries.len() as u64 + 1;
        evidence.entries.push(Entry {
            what,
            event,
            by,
            at,
        });
    }

    fn commit(evidence: &mut Evidence, next: i64) {
        evidence.commits.push(Commit {
            partition: 0,
            next,
            journal: evidence.entries.len() as u64,
            letters: evidence.letters.len(),
        });
    }

    #[test]
    fn a_flawless_scene_has_no_findings() {
        let found = flawless().verdict();
        assert_eq!(
            found,
            Verdict {
                events: 4,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn an_event_without_an_effect_is_lost_and_its_commit_was_early() {
        let mut evidence = flawless();
        evidence.entries.retain(|entry| entry.event.n != 2);
        let found = evidence.verdict();
        assert_eq!((found.lost, found.commits_past), (1, 1));
    }

    #[test]
    fn a_dead_letter_is_not_lost_and_allows_the_commit() {
        let mut evidence = flawless();
        evidence.entries.retain(|entry| entry.event.n != 2);
        evidence.letters.push(Event { key: 0, n: 2 });
        for commit in &mut evidence.commits {
            commit.letters = usize::from(commit.next > 4);
        }
        let found = evidence.verdict();
        assert_eq!((found.lost, found.commits_past, found.disorder), (0, 0, 0));
    }

    #[test]
    fn a_commit_before_the_effect_is_found_though_the_effect_comes_later() {
        let mut evidence = flawless();
        evidence.commits[1].next = 5;
        assert_eq!(evidence.verdict().commits_past, 1);
    }

    #[test]
    fn a_commit_that_goes_back_is_found() {
        let mut evidence = flawless();
        commit(&mut evidence, 3);
        assert_eq!(evidence.verdict().commits_back, 1);
    }

    #[test]
    fn a_second_effect_is_a_duplicate_and_not_disorder() {
        let mut evidence = flawless();
        begun_and_done(&mut evidence, 1);
        let found = evidence.verdict();
        assert_eq!((found.duplicates, found.disorder), (1, 0));
    }

    #[test]
    fn an_event_that_begins_before_the_one_before_it_is_done_is_disorder() {
        let mut evidence = flawless();
        evidence.entries.clear();
        evidence.commits.clear();
        begun_and_done(&mut evidence, 0);
        push(&mut evidence, What::Begun, 1);
        push(&mut evidence, What::Begun, 2);
        push(&mut evidence, What::Done, 1);
        push(&mut evidence, What::Done, 2);
        begun_and_done(&mut evidence, 3);
        assert_eq!(evidence.verdict().disorder, 1);
    }

    #[test]
    fn a_run_that_was_cut_off_and_repeated_is_not_disorder() {
        let mut evidence = flawless();
        evidence.entries.clear();
        evidence.commits.clear();
        push(&mut evidence, What::Begun, 0);
        (0..4).for_each(|n| begun_and_done(&mut evidence, n));
        assert_eq!(evidence.verdict().disorder, 0);
    }
}
