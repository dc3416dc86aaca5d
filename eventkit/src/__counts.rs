//! What each event passes through, for the instruction counts in `tests/counts`.
//!
//! A subject is made for a number of events, outside of what is counted, and
//! runs once. It panics where it did not do its work.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::__offline;
use crate::consumer::{Partition, PartitionContext, Route, Shared, Stop, Window};
use crate::dedup::{Claim, DedupKey, DedupStore, MemoryDedup};
use crate::event::wire::Attributes;
use crate::event::{Record, headers};
use crate::handler::HandlerDefinition;

const GROUP: &str = "group";
/// Records that the source sends at once.
const BATCH: usize = 512;
/// Different keys of the records.
const KEYS: usize = 100;

/// A partition from its inbox to its next offset.
pub struct Dispatch {
    context: Arc<PartitionContext>,
    inbox: UnboundedReceiver<Vec<Record>>,
    events: usize,
}

impl Dispatch {
    /// Records for this handler.
    pub fn new(handler: HandlerDefinition, events: usize) -> Self {
        let context = context(handler);
        let (sender, inbox) = unbounded_channel();
        let mut records = records(&handler, events).into_iter();
        while records.len() > 0 {
            let batch = records.by_ref().take(BATCH).collect();
            sender.send(batch).expect("the inbox is here");
        }
        Self {
            context,
            inbox,
            events,
        }
    }

    /// Until every delivery is settled.
    pub fn run(&mut self) {
        let shared = Arc::new(Shared::new(None));
        shared.received(self.events, 0);
        let (_, empty) = unbounded_channel();
        let inbox = std::mem::replace(&mut self.inbox, empty);
        let mut running = pin!(Partition::run(self.context.clone(), shared.clone(), inbox));
        let mut cx = Context::from_waker(Waker::noop());
        while running.as_mut().poll(&mut cx).is_pending() {}
        let handled = &self.context.group.handlers[0].counts.handled;
        assert_eq!(handled.load(Ordering::Relaxed), self.events as u64);
        assert_eq!(shared.next_offset(), Some(self.events as i64));
    }
}

/// A record's handlers and attributes, from its headers.
pub struct Headers {
    context: Arc<PartitionContext>,
    records: Vec<Record>,
}

impl Headers {
    /// Records for this handler.
    pub fn new(handler: HandlerDefinition, events: usize) -> Self {
        Self {
            context: context(handler),
            records: records(&handler, events),
        }
    }

    /// Reads all.
    pub fn run(&mut self) {
        let names = self.context.group.names();
        for record in self.records.drain(..) {
            match self.context.routes.route(record, &names) {
                Route::Handlers { inbound, .. } => {
                    let attributes = Attributes::new(&inbound.record, None, None);
                    black_box(attributes.metadata(1));
                }
                _ => panic!("no handler takes the record"),
            }
        }
    }
}

/// What dedup costs beside the handler: the key, the claim, the mark.
pub struct Dedup {
    store: MemoryDedup,
    ids: Vec<String>,
}

impl Dedup {
    /// Events that are all new.
    pub fn new(events: usize) -> Self {
        Self {
            store: MemoryDedup::new(),
            ids: (0..events).map(id).collect(),
        }
    }

    /// Claims and completes all.
    pub fn run(&mut self) {
        let (lease, ttl) = (Duration::from_secs(30), Duration::from_secs(3600));
        for id in &self.ids {
            let key = DedupKey::new(GROUP, "handler", "/shop", id);
            let claim = self.store.claim(&key, 0, lease).now_or_never();
            let Some(Ok(Claim::Claimed(token))) = claim else {
                panic!("the event is new");
            };
            let marked = self.store.complete(&key, token, ttl).now_or_never();
            assert!(matches!(marked, Some(Ok(true))));
        }
    }
}

/// The offset window, settled out of order.
pub struct Offsets {
    events: usize,
}

impl Offsets {
    /// Blocks of [`Offsets::BLOCK`] records.
    pub fn new(events: usize) -> Self {
        Self { events }
    }

    /// Records in the window at most.
    pub const BLOCK: usize = 100;

    /// Takes in and settles all.
    pub fn run(&mut self) {
        let mut window = Window::default();
        for block in 0..self.events / Self::BLOCK {
            let first = (block * Self::BLOCK) as i64;
            for at in 0..Self::BLOCK {
                window.push(black_box(first + at as i64), 1);
            }
            // 37 and 100 have no divisor in common, so that each has its turn.
            for at in 0..Self::BLOCK {
                let seq = first as u64 + (at * 37 % Self::BLOCK) as u64;
                assert!(window.settle(black_box(seq)));
                black_box(window.next_offset());
            }
        }
        assert_eq!(window.next_offset(), Some(self.events as i64));
    }
}

fn context(handler: HandlerDefinition) -> Arc<PartitionContext> {
    let group = __offline::group(GROUP, &[handler]);
    Arc::new(PartitionContext::new(group, handler.topic, Stop::new()))
}

/// Records with what eventkit's publisher writes.
fn records(handler: &HandlerDefinition, events: usize) -> Vec<Record> {
    let record = |number: usize| {
        let (id, cause) = (id(number), id(number + events));
        let headers = [
            (headers::SPEC_VERSION, "1.0"),
            (headers::ID, &id),
            (headers::TYPE, handler.event_type),
            (headers::SOURCE, "/shop"),
            (headers::TIME, "2026-03-04T05:06:07.089Z"),
            (headers::CONTENT_TYPE, headers::JSON),
            (headers::CORRELATION_ID, &cause),
            (headers::CAUSATION_ID, &cause),
        ];
        let headers = headers.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let key = format!("{:08}", number % KEYS);
        let payload = format!(r#"{{"order_id":{:08}}}"#, 10_000_000 + number);
        let (key, payload) = (Some(key.as_bytes()), Some(payload.as_bytes()));
        let mut record = Record::for_test(handler.topic, key, payload, &headers);
        record.offset = number as i64;
        record
    };
    (0..events).map(record).collect()
}

/// As long as a UUID, which ids are as a rule.
fn id(number: usize) -> String {
    format!("01890a5d-ac96-774b-bcce-{number:012x}")
}
