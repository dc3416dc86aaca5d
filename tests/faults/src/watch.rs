//! Reads again and again what a group has committed, and beside it how far the
//! handlers had come at that moment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::journal::Event;
use crate::ledger::Ledger;
use crate::oracle::Commit;

const PAUSE: Duration = Duration::from_millis(50);
/// A broker that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Watched {
    pub(crate) servers: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    /// Those that are there, or will be.
    pub(crate) partitions: i32,
    pub(crate) letters: String,
    pub(crate) journal: PathBuf,
    /// Where effects stand that the handlers cannot write down by themselves.
    pub(crate) ledger: Option<Ledger>,
}

#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Changes only.
    pub(crate) commits: Vec<Commit>,
    pub(crate) letters: Vec<Event>,
}

/// A thread that watches until it is dropped.
pub(crate) struct Watch {
    seen: Arc<Mutex<Sightings>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(mut watched: Watched) -> anyhow::Result<Self> {
        let (seen, stop) = (Arc::<Mutex<Sightings>>::default(), Arc::default());
        let offsets = client(&watched.servers, &watched.group)?;
        let letters = Letters::new(&watched)?;
        let thread = std::thread::spawn({
            let (seen, stop): (_, Arc<AtomicBool>) = (seen.clone(), Arc::clone(&stop));
            move || watch(&mut watched, &offsets, letters, &seen, &stop)
        });
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Sightings) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last committed offset of each partition.
    pub(crate) fn committed(&self) -> HashMap<i32, i64> {
        let last = |commit: &Commit| (commit.partition, commit.next);
        self.read(|seen| seen.commits.iter().map(last).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(
    watched: &mut Watched,
    offsets: &BaseConsumer,
    mut letters: Letters,
    seen: &Mutex<Sightings>,
    stop: &AtomicBool,
) {
    let mut last: HashMap<i32, i64> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        let mut list = TopicPartitionList::new();
        for partition in 0..watched.partitions {
            list.add_partition(&watched.topic, partition);
        }
        let Ok(committed) = offsets.committed_offsets(list, PATIENCE) else {
            continue;
        };
        let changed: Vec<(i32, i64)> = committed
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(next) => Some((element.partition(), next)),
                _ => None,
            })
            .filter(|(partition, next)| last.insert(*partition, *next) != Some(*next))
            .collect();
        if let Some(ledger) = &mut watched.ledger {
            ledger.copy(stop);
        }
        // What justifies a commit happened before it: both are read after it.
        let buried = letters.read();
        let journal = std::fs::metadata(&watched.journal).map_or(0, |file| file.len());
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.letters.extend(buried);
        let letters = seen.letters.len();
        seen.commits
            .extend(changed.into_iter().map(|(partition, next)| Commit {
                partition,
                next,
                journal,
                letters,
            }));
    }
}

/// The dead-letter topic, read to its end each time.
struct Letters {
    consumer: BaseConsumer,
    topic: String,
    /// The next offset of each known partition.
    next: HashMap<i32, i64>,
}

impl Letters {
    fn new(watched: &Watched) -> anyhow::Result<Self> {
        Ok(Self {
            consumer: client(&watched.servers, "faults-letters")?,
            topic: watched.letters.clone(),
            next: HashMap::new(),
        })
    }

    fn read(&mut self) -> Vec<Event> {
        let mut found = Vec::new();
        if self.next.is_empty() && !self.assign() {
            return found;
        }
        let mut open: HashMap<i32, i64> = HashMap::new();
        for (partition, next) in &self.next {
            let marks = self
                .consumer
                .fetch_watermarks(&self.topic, *partition, PATIENCE);
            if let Ok((_, end)) = marks
                && end > *next
            {
                open.insert(*partition, end);
            }
        }
        while !open.is_empty() {
            let Some(Ok(message)) = self.consumer.poll(PATIENCE) else {
                break;
            };
            let (partition, next) = (message.partition(), message.offset() + 1);
            self.next.insert(partition, next);
            open.retain(|open, end| *open != partition || next < *end);
            let id = message.headers().and_then(|headers| {
                let id = headers.iter().find(|header| header.key == "ce_id");
                Some(String::from_utf8_lossy(id?.value?).into_owned())
            });
            found.extend(id.and_then(|id| {
                let (key, n) = id.split_once('/')?;
                Event::parse(key, n.parse().ok()?)
            }));
        }
        found
    }

    fn assign(&mut self) -> bool {
        let metadata = self.consumer.fetch_metadata(None, PATIENCE);
        let Ok(metadata) = metadata else { return false };
        let topic = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.topic);
        let partitions = topic.map_or(0, |topic| topic.partitions().len() as i32);
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(&self.topic, partition, Offset::Beginning);
            if added.is_ok() {
                self.next.insert(partition, 0);
            }
        }
        partitions > 0 && self.consumer.assign(&list).is_ok()
    }
}

fn client(servers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "20")
        .set("reconnect.backoff.max.ms", "500")
        .create()?)
}
