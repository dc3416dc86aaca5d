//! What source and partition say to one another without waiting.
//!
//! The partition's task writes what it has done, the source's thread reads it when
//! it wants to know. `tests/loom` runs this file through all orders in which the two
//! can meet.

use super::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Shared {
    /// The next offset to read if the partition moved away now; -1: not known.
    next_offset: AtomicI64,
    /// Records received and not settled.
    buffered: AtomicUsize,
    buffered_bytes: AtomicUsize,
    /// Records between the oldest unsettled one and the newest.
    window: AtomicUsize,
    ended: AtomicBool,
}

impl Shared {
    pub(crate) fn new(next_offset: Option<i64>) -> Self {
        Self {
            next_offset: AtomicI64::new(next_offset.unwrap_or(-1)),
            buffered: AtomicUsize::new(0),
            buffered_bytes: AtomicUsize::new(0),
            window: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        }
    }
}

/// The source's side.
impl Shared {
    /// Before the records are handed over: they are never settled before.
    pub(crate) fn received(&self, records: usize, bytes: usize) {
        self.buffered.fetch_add(records, Ordering::Relaxed);
        self.buffered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn next_offset(&self) -> Option<i64> {
        Some(self.next_offset.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// Whoever sees records settled sees the next offset behind them too.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Acquire)
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    /// Once it has, what else is said stays as it is.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// The partition's side.
impl Shared {
    pub(crate) fn progress(&self, next_offset: Option<i64>, window: usize) {
        if let Some(next) = next_offset {
            self.next_offset.store(next, Ordering::Release);
        }
        self.window.store(window, Ordering::Relaxed);
    }

    /// After the progress that they made.
    pub(crate) fn settled(&self, records: usize, bytes: usize) {
        self.buffered_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.buffered.fetch_sub(records, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}
