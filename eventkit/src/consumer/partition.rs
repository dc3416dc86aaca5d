//! One assigned partition: its order, its in-flight deliveries, its offsets.
//!
//! It ends with its assignment. What it knew dies with it, so nothing of an
//! earlier assignment of the same partition can touch a later one.

use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedReceiver;

use super::group::{GroupContext, Stop};
use super::route::{Inbound, Route};
use super::scheduler::{Job, LaneId, Scheduler, Ticket};
use super::window::{Seq, Window};
use crate::delivery::{self, Ending};
use crate::event::Record;
use crate::handler::Order;

/// What source and partition say to one another without waiting.
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

    pub(crate) fn next_offset(&self) -> Option<i64> {
        Some(self.next_offset.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn received(&self, records: usize, bytes: usize) {
        self.buffered.fetch_add(records, Ordering::Relaxed);
        self.buffered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn settled(&self, bytes: usize) {
        self.buffered.fetch_sub(1, Ordering::Relaxed);
        self.buffered_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Sets `ended` however the task ends, a panic included.
struct EndedOnDrop(Arc<Shared>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Deliveries begun in a row.
const RUN: usize = 64;

type Running = Pin<Box<dyn Future<Output = (Done, Ending)> + Send>>;

/// A finished delivery, by what must be told of it.
struct Done {
    ticket: Ticket,
    seq: Seq,
    bytes: usize,
}

/// What a delivery runs on.
struct Work {
    seq: Seq,
    inbound: Arc<Inbound>,
    task: Task,
}

enum Task {
    Handle { handler: u32 },
    Bury { reason: String },
}

pub(crate) struct Partition {
    group: Arc<GroupContext>,
    shared: Arc<Shared>,
    stop: Stop,
    window: Window,
    scheduler: Scheduler<Work>,
    running: FuturesUnordered<Running>,
}

impl Partition {
    pub(crate) async fn run(
        group: Arc<GroupContext>,
        shared: Arc<Shared>,
        stop: Stop,
        inbox: UnboundedReceiver<Vec<Record>>,
    ) {
        let _ended = EndedOnDrop(shared.clone());
        let kill = stop.kill.clone();
        let partition = Self {
            group,
            shared,
            stop,
            window: Window::default(),
            scheduler: Scheduler::default(),
            running: FuturesUnordered::new(),
        };
        // A lost partition drops its deliveries where they stand.
        tokio::select! {
            biased;
            () = kill.cancelled() => {}
            () = partition.serve(inbox) => {}
        }
    }

    async fn serve(mut self, mut inbox: UnboundedReceiver<Vec<Record>>) {
        let drain = self.stop.drain.clone();
        loop {
            tokio::select! {
                biased;
                () = drain.cancelled() => break,
                Some((done, ending)) = self.running.next() => self.finish(&done, ending),
                batch = inbox.recv() => match batch {
                    Some(batch) => batch.into_iter().for_each(|record| self.receive(record)),
                    None => break,
                },
                // Left over from a long run.
                () = std::future::ready(()), if self.may_begin() => {}
            }
            self.begin().await;
        }
        while let Some((done, ending)) = self.running.next().await {
            self.finish(&done, ending);
        }
    }

    fn receive(&mut self, record: Record) {
        let (offset, bytes) = (record.offset, record.size());
        match self.group.routes.route(record, &self.group.names()) {
            Route::Skip => {
                self.window.push(offset, 0);
                self.shared.settled(bytes);
                self.publish_progress();
            }
            Route::Undecodable { inbound, reason } => {
                let seq = self.window.push(offset, 1);
                let work = Work {
                    seq,
                    inbound,
                    task: Task::Bury { reason },
                };
                self.scheduler.push(Job {
                    lane: None,
                    event: 0,
                    handler: 0,
                    fan_out: 1,
                    work,
                });
            }
            Route::Handlers {
                event,
                handlers,
                inbound,
            } => {
                let seq = self.window.push(offset, handlers.len());
                for handler in handlers.iter() {
                    let order = self.group.handlers[*handler as usize]
                        .definition
                        .policy
                        .order;
                    self.scheduler.push(Job {
                        lane: lane(order, inbound.record.key()),
                        event,
                        handler: *handler,
                        fan_out: handlers.len() as u32,
                        work: Work {
                            seq,
                            inbound: inbound.clone(),
                            task: Task::Handle { handler: *handler },
                        },
                    });
                }
            }
        }
    }

    fn may_begin(&self) -> bool {
        self.scheduler.has_ready() && self.running.len() < self.group.limits.in_flight
    }

    /// Starts what may run. A delivery that is ready at its first poll ends
    /// here, without a place among the running ones.
    async fn begin(&mut self) {
        // Not all at once: what runs wants to be polled, and a drain to be seen.
        for _ in 0..RUN {
            if self.stop.drain.is_cancelled() || self.running.len() >= self.group.limits.in_flight {
                break;
            }
            let Some((ticket, work)) = self.scheduler.next() else {
                break;
            };
            let mut running = self.start(ticket, work);
            match futures_util::poll!(running.as_mut()) {
                std::task::Poll::Ready((done, ending)) => self.finish(&done, ending),
                std::task::Poll::Pending => self.running.push(running),
            }
            // A long run of ready handlers lets other tasks have their turn.
            tokio::task::consume_budget().await;
        }
        self.shared
            .window
            .store(self.window.len(), Ordering::Relaxed);
    }

    fn start(&self, ticket: Ticket, work: Work) -> Running {
        let Work { seq, inbound, task } = work;
        let done = Done {
            ticket,
            seq,
            bytes: inbound.record.size(),
        };
        let (group, stop) = (self.group.clone(), self.stop.clone());
        Box::pin(async move {
            let ending = match task {
                Task::Handle { handler } => {
                    delivery::deliver(&group, handler, inbound, &stop).await
                }
                Task::Bury { reason } => {
                    delivery::bury_undecodable(&group, inbound, reason, &stop).await
                }
            };
            (done, ending)
        })
    }

    fn finish(&mut self, done: &Done, ending: Ending) {
        // An abandoned delivery keeps its key and its offset, so that the next
        // owner of the partition gets it again, in order.
        let Ending::Settled(_) = ending else { return };
        self.scheduler.finish(done.ticket);
        if self.window.settle(done.seq) {
            self.shared.settled(done.bytes);
        }
        self.publish_progress();
    }

    fn publish_progress(&self) {
        if let Some(next) = self.window.next_offset() {
            self.shared.next_offset.store(next, Ordering::Release);
        }
    }
}

/// Lane 0 is the whole partition; keys hash to the others. Two keys of one hash
/// wait for one another, which is harmless.
fn lane(order: Order, key: Option<&[u8]>) -> Option<LaneId> {
    match order {
        Order::None => None,
        Order::Partition => Some(LaneId(0)),
        Order::Key => key.map(|key| LaneId(FixedState::default().hash_one(key) | 1)),
    }
}
