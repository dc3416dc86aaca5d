use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::Step;

/// A handler's effect: who did what for which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub by: String,
    pub key: String,
    pub n: u64,
}

/// Effects in the order in which they happened.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    done: Arc<Mutex<Vec<Effect>>>,
}

impl Effects {
    pub fn record(&self, by: &str, step: &Step) {
        self.list().push(Effect {
            by: by.to_owned(),
            key: step.key.clone(),
            n: step.n,
        });
    }

    pub fn len(&self) -> usize {
        self.list().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn all(&self) -> Vec<Effect> {
        self.list().clone()
    }

    /// How often something was done, by key and number.
    pub fn counts(&self) -> BTreeMap<(String, u64), usize> {
        let mut counts = BTreeMap::new();
        for effect in self.list().iter() {
            *counts.entry((effect.key.clone(), effect.n)).or_default() += 1;
        }
        counts
    }

    pub fn of(&self, by: &str) -> usize {
        self.list().iter().filter(|effect| effect.by == by).count()
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Effect>> {
        self.done
            .lock()
            .expect("no test panics while it holds this")
    }

    /// Each key's numbers, each where it stands first, must be 0, 1, 2, …
    pub fn assert_order_of_first_occurrences(effects: &[Effect]) {
        let mut next: HashMap<&str, u64> = HashMap::new();
        for (at, effect) in effects.iter().enumerate() {
            let next = next.entry(&effect.key).or_default();
            assert!(
                effect.n <= *next,
                "effect {at}: {} {} before {} {next}",
                effect.key,
                effect.n,
                effect.key
            );
            *next = (*next).max(effect.n + 1);
        }
    }

    /// Each key's numbers must be 0, 1, 2, … to the end, each once.
    pub fn assert_once_and_in_order(effects: &[Effect], keys: usize, each: u64) {
        let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for effect in effects {
            by_key.entry(&effect.key).or_default().push(effect.n);
        }
        assert_eq!(by_key.len(), keys, "keys with effects");
        let wanted: Vec<u64> = (0..each).collect();
        for (key, numbers) in by_key {
            assert_eq!(numbers, wanted, "effects of {key}");
        }
    }
}
