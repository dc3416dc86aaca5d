//! What handlers did, in one file that all processes of a scene append to.
//!
//! A line is written with one call before its handler goes on, so it outlives
//! `kill -9`, and the file's order is the order in which things happened.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

/// An event, by key and number within the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) key: u32,
    pub(crate) n: u64,
}

impl Event {
    /// The key as it stands in the record.
    pub(crate) fn key_text(self) -> String {
        format!("k{}", self.key)
    }

    pub(crate) fn parse(key: &str, n: u64) -> Option<Self> {
        let key = key.strip_prefix('k')?.parse().ok()?;
        Some(Self { key, n })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A handler began with the event.
    Begun,
    /// The effect.
    Done,
}

/// A line of the journal; `at` is where it ends, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) what: What,
    pub(crate) event: Event,
    pub(crate) by: u32,
    pub(crate) at: u64,
}

/// The side that writes.
#[derive(Clone)]
pub(crate) struct Journal(Arc<File>);

impl Journal {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        Ok(Self(Arc::new(
            file.with_context(|| format!("opening {}", path.display()))?,
        )))
    }

    pub(crate) fn write(&self, what: What, event: Event) -> anyhow::Result<()> {
        let what = match what {
            What::Begun => 'B',
            What::Done => 'D',
        };
        let line = format!("{what} {} {} {}\n", event.key, event.n, std::process::id());
        Ok((&*self.0).write_all(line.as_bytes())?)
    }
}

/// The side that reads what was added since it last looked.
pub(crate) struct Reader {
    file: File,
    at: u64,
    /// The beginning of a line whose end was not there yet.
    rest: Vec<u8>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self {
            file,
            at: 0,
            rest: Vec::new(),
        })
    }

    pub(crate) fn read(&mut self) -> anyhow::Result<Vec<Entry>> {
        let start = self.at - self.rest.len() as u64;
        let mut bytes = std::mem::take(&mut self.rest);
        self.file.seek(SeekFrom::Start(self.at))?;
        self.at += self.file.read_to_end(&mut bytes)? as u64;
        let mut entries = Vec::new();
        let mut end = start;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.last() != Some(&b'\n') {
                self.rest = line.to_vec();
                break;
            }
            end += line.len() as u64;
            let text = std::str::from_utf8(line)?.trim_end();
            let entry = parse(text, end);
            entries.push(entry.with_context(|| format!("the journal says `{text}`"))?);
        }
        Ok(entries)
    }
}

fn parse(line: &str, at: u64) -> Option<Entry> {
    let mut words = line.split(' ');
    let what = match words.next()? {
        "B" => What::Begun,
        "D" => What::Done,
        _ => return None,
    };
    let event = Event {
        key: words.next()?.parse().ok()?,
        n: words.next()?.parse().ok()?,
    };
    let by = words.next()?.parse().ok()?;
    Some(Entry {
        what,
        event,
        by,
        at,
    })
}
