//! What a contender is given to do: a topic and what stands in it.

use crate::fill::Orders;

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Full,
    /// Shows that everything works; its times say nothing.
    Short,
}

impl Scale {
    pub fn events(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Short => (full / 50).max(400),
        }
    }

    pub fn keys(self, full: u32) -> u32 {
        match self {
            Self::Full => full,
            Self::Short => (full / 50).max(20),
        }
    }
}

/// How often which key occurs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keys {
    Uniform,
    /// The n-th key in proportion to `n^-exponent`.
    Zipf(f64),
}

/// The events of one topic. The same load is the same topic, filled once.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub name: String,
    pub partitions: i32,
    /// Different events.
    pub events: u64,
    pub keys: u32,
    pub distribution: Keys,
    /// One of this many deliveries repeats an earlier event.
    pub duplicate_every: Option<u64>,
    /// One of this many events can never be handled.
    pub poison_every: Option<u64>,
    /// Bytes added to each event.
    pub padding: usize,
    /// Written by the contender itself, into a topic of its own.
    pub fresh: bool,
}

impl Load {
    pub fn new(name: &str, events: u64, keys: u32) -> Self {
        Self {
            name: name.to_owned(),
            partitions: 8,
            events,
            keys,
            distribution: Keys::Uniform,
            duplicate_every: None,
            poison_every: None,
            padding: 0,
            fresh: false,
        }
    }

    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    pub fn zipf(mut self, exponent: f64) -> Self {
        self.distribution = Keys::Zipf(exponent);
        self
    }

    pub fn duplicate_every(mut self, deliveries: u64) -> Self {
        self.duplicate_every = Some(deliveries);
        self
    }

    pub fn poison_every(mut self, events: u64) -> Self {
        self.poison_every = Some(events);
        self
    }

    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Its events, in order; always the same.
    pub fn orders(&self) -> Orders<'_> {
        Orders::new(self)
    }

    pub fn topic(&self, group: &str) -> String {
        let Self {
            name,
            partitions,
            events,
            ..
        } = self;
        if self.fresh {
            format!("{group}-{name}")
        } else {
            format!("bench-{name}-{events}-{partitions}")
        }
    }

    /// Records in the topic: events and their repetitions.
    pub fn deliveries(&self) -> u64 {
        match self.duplicate_every {
            // Of n deliveries n-1 are new.
            Some(every) => self.events * every / (every - 1),
            None => self.events,
        }
    }

    pub fn is_poison(&self, number: u64) -> bool {
        self.poison_every
            .is_some_and(|every| number.is_multiple_of(every))
    }

    pub fn poisoned(&self) -> u64 {
        (0..self.events)
            .filter(|number| self.is_poison(*number))
            .count() as u64
    }
}
