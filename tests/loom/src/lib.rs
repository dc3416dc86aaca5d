//! What crosses threads in eventkit's engine, through all orders in which the
//! threads can meet. The code under test is the engine's own file, with loom's
//! atomics in the place of the standard library's.
#![cfg(test)]

use loom::sync::atomic;

#[path = "../../../eventkit/src/consumer/shared.rs"]
mod shared;

use loom::sync::Arc;
use loom::thread;
use shared::Shared;

const RECORDS: i64 = 3;

/// A partition that settles three records, one by one, and ends.
fn partition(shared: &Shared) {
    for next in 1..=RECORDS {
        shared.progress(Some(next), (RECORDS - next) as usize);
        shared.settled(1, 10);
    }
    shared.end();
}

/// Begins with three records received.
fn met(source: impl Fn(&Shared) + Sync + Send + 'static) {
    loom::model(move || {
        let shared = Arc::new(Shared::new(None));
        shared.received(RECORDS as usize, 30);
        let other = shared.clone();
        let task = thread::spawn(move || partition(&other));
        source(&shared);
        task.join().expect("the partition's side");
        assert_eq!(shared.next_offset(), Some(RECORDS));
        let left = (shared.buffered(), shared.buffered_bytes(), shared.window());
        assert_eq!(left, (0, 0, 0));
    });
}

#[test]
fn the_next_offset_is_not_ahead_of_what_is_settled_and_never_goes_back() {
    met(|shared| {
        let mut last = None;
        for _ in 0..3 {
            let next = shared.next_offset();
            assert!(next >= last, "{next:?} after {last:?}");
            assert!(next.is_none_or(|next| (1..=RECORDS).contains(&next)));
            last = next;
        }
    });
}

#[test]
fn whoever_sees_records_settled_sees_the_offset_behind_them() {
    met(|shared| {
        let settled = RECORDS - shared.buffered() as i64;
        assert!(shared.next_offset().unwrap_or(0) >= settled);
    });
}

#[test]
fn once_the_partition_has_ended_its_last_offset_is_seen() {
    met(|shared| {
        if shared.has_ended() {
            assert_eq!(shared.next_offset(), Some(RECORDS));
            assert_eq!(shared.buffered(), 0);
        }
    });
}

#[test]
fn records_that_arrive_meanwhile_are_counted() {
    met(|shared| {
        shared.received(2, 20);
        let buffered = shared.buffered();
        assert!((2..=RECORDS as usize + 2).contains(&buffered));
        shared.settled(2, 20);
    });
}
