//! One assigned partition: its order, its in-flight deliveries, its offsets.
//!
//! It ends with its assignment. What it knew dies with it, so nothing of an
//! earlier assignment of the same partition can touch a later one.

use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use foldhash::fast::FixedState;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use tokio::sync::mpsc::UnboundedReceiver;

use super::group::{PartitionContext, count};
use super::route::{Inbound, Route};
use super::scheduler::{LaneId, Place, Scheduler, Ticket};
use super::shared::Shared;
use super::window::{Seq, Window};
use crate::delivery::{Ending, Settled, Slot};
use crate::event::{Received, Record};
use crate::handler::{Among, Delivery, Order, Shared as SharedInbound};

/// Says that it has ended however the task ends, a panic included.
struct EndedOnDrop(Arc<Shared>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Records and deliveries begun in a row, before those that run have their turn.
const RUN: usize = 16;

/// A delivery under way.
struct Running {
    slot: Option<Slot>,
    label: Label,
}

/// What must be known of a delivery when it has ended.
#[derive(Clone, Copy)]
struct Label {
    /// None where nothing can wait for it.
    ticket: Option<Ticket>,
    handler: Option<u32>,
    seq: Seq,
    bytes: usize,
}

impl Future for Running {
    type Output = (Slot, Label, Ending);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.as_mut().expect("polled after its end");
        let ending = std::task::ready!(slot.poll(cx));
        let slot = self.slot.take().expect("was there a moment ago");
        Poll::Ready((slot, self.label, ending))
    }
}

/// What a delivery runs on.
struct Work {
    seq: Seq,
    bytes: usize,
    task: Task,
}

enum Task {
    Handle {
        handler: u32,
        inbound: SharedInbound,
    },
    Bury {
        inbound: Inbound,
        reason: String,
    },
}

pub(crate) struct Partition<R> {
    context: Arc<PartitionContext>,
    shared: Arc<Shared>,
    window: Window,
    scheduler: Scheduler<Work>,
    running: FuturesUnordered<Running>,
    /// Behind the last record of which a delivery was begun; once a delivery
    /// gave up, at most its record.
    horizon: Seq,
    /// Received and not looked at.
    incoming: std::vec::IntoIter<R>,
    /// Rooms of ended deliveries, by handler.
    spare: Vec<Vec<Slot>>,
    tally: Tally,
}

/// What happened since it was last told to others: their memory is far away.
#[derive(Default)]
struct Tally {
    records: usize,
    bytes: usize,
    /// By handler: handled, duplicates, dead letters.
    endings: Vec<[u64; 3]>,
}

impl<R: Received> Partition<R> {
    pub(crate) async fn run(
        context: Arc<PartitionContext>,
        shared: Arc<Shared>,
        inbox: UnboundedReceiver<Vec<R>>,
    ) {
        let _ended = EndedOnDrop(shared.clone());
        let kill = context.stop.kill.clone();
        let handlers = context.group.handlers.len();
        let partition = Self {
            context,
            shared,
            window: Window::default(),
            scheduler: Scheduler::default(),
            running: FuturesUnordered::new(),
            horizon: 0,
            incoming: Vec::new().into_iter(),
            spare: (0..handlers).map(|_| Vec::new()).collect(),
            tally: Tally {
                endings: vec![[0; 3]; handlers],
                ..Tally::default()
            },
        };
        // A lost partition drops its deliveries where they stand.
        tokio::select! {
            biased;
            () = kill.cancelled() => {}
            () = partition.serve(inbox) => {}
        }
    }

    async fn serve(mut self, mut inbox: UnboundedReceiver<Vec<R>>) {
        let drain = self.context.stop.drain.clone();
        let mut drained = pin!(drain.cancelled());
        loop {
            tokio::select! {
                biased;
                () = &mut drained => break,
                Some(ended) = self.running.next() => {
                    self.finish(ended);
                    self.finish_others().await;
                }
                batch = inbox.recv(), if self.incoming.len() == 0 => match batch {
                    Some(batch) => self.incoming = batch.into_iter(),
                    None => break,
                },
                // Left over from a long run.
                () = std::future::ready(()), if self.may_begin() => {}
            }
            std::future::poll_fn(|cx| {
                self.begin(cx);
                Poll::Ready(())
            })
            .await;
            self.tell();
            // A long run of ready handlers lets other tasks have their turn.
            tokio::task::consume_budget().await;
        }
        self.catch_up().await;
    }

    /// Lets what runs finish. Records before the last one that was begun are
    /// begun too while there is time: otherwise those behind them, which are
    /// done, would be delivered again.
    async fn catch_up(mut self) {
        let until = Instant::now() + self.context.group.limits.catch_up;
        // What gives up now is delivered again, and all that is behind it.
        self.finish_others().await;
        loop {
            let more = Instant::now() < until
                && std::future::poll_fn(|cx| Poll::Ready(self.begin_before(cx))).await;
            self.tell();
            tokio::task::consume_budget().await;
            if more {
                continue;
            }
            match self.running.next().await {
                Some(ended) => self.finish(ended),
                None => return,
            }
        }
    }

    /// Starts what may run and stands before the horizon, up to a run; `true`
    /// when there may be more.
    fn begin_before(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..RUN {
            if !self.has_room() {
                return false;
            }
            let Some((ticket, work)) = self.scheduler.next() else {
                return false;
            };
            // The others, and with them their keys, are left to the next owner.
            if work.seq < self.horizon {
                self.start(Some(ticket), None, work, cx);
            }
        }
        true
    }

    fn may_begin(&self) -> bool {
        (self.scheduler.has_ready() || self.incoming.len() > 0) && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.running.len() < self.context.group.limits.in_flight
    }

    /// Starts what may run, and looks at what was received.
    fn begin(&mut self, cx: &mut Context<'_>) {
        for _ in 0..RUN {
            if !self.has_room() {
                return;
            }
            if let Some((ticket, work)) = self.scheduler.next() {
                self.start(Some(ticket), None, work, cx);
            } else if let Some(received) = self.incoming.next() {
                self.receive(received, cx);
            } else {
                return;
            }
        }
    }

    fn receive(&mut self, received: R, cx: &mut Context<'_>) {
        let context = self.context.clone();
        let record = received.into_record(context.topic.clone());
        let (offset, bytes) = (record.offset, record.size());
        match context.routes.route(record, &context.group.names()) {
            Route::Skip => {
                self.window.push(offset, 0);
                self.tally.settled(bytes);
            }
            Route::Undecodable { inbound, reason } => {
                let seq = self.window.push(offset, 1);
                let task = Task::Bury { inbound, reason };
                self.start(None, None, Work { seq, bytes, task }, cx);
            }
            Route::Handlers {
                event,
                handlers,
                fan_out,
                inbound,
            } => {
                let seq = self.window.push(offset, handlers.len());
                let place = |handler, record: &Record| Place {
                    lane: lane(
                        context.group.handlers[handler as usize]
                            .definition
                            .policy
                            .order,
                        record.key(),
                    ),
                    event,
                    handler,
                    fan_out,
                };
                if let [handler] = *handlers {
                    let place = place(handler, &inbound.record);
                    let inbound = SharedInbound::Alone(inbound);
                    let task = Task::Handle { handler, inbound };
                    self.offer(place, Work { seq, bytes, task }, cx);
                } else {
                    let shared = Arc::new(Among::new(inbound));
                    for handler in handlers.iter().copied() {
                        let inbound = SharedInbound::Among(shared.clone());
                        let place = place(handler, &inbound.record);
                        let task = Task::Handle { handler, inbound };
                        self.offer(place, Work { seq, bytes, task }, cx);
                    }
                }
            }
        }
    }

    /// Starts a delivery at once where nothing holds it up.
    fn offer(&mut self, place: Place, work: Work, cx: &mut Context<'_>) {
        if self.has_room() && self.scheduler.is_free(&place) {
            self.start(None, Some(place), work, cx);
        } else {
            self.scheduler.push(place, work);
        }
    }

    /// Polls a delivery for the first time. One that is ready ends here, without
    /// a place among the running ones and without a ticket.
    fn start(
        &mut self,
        ticket: Option<Ticket>,
        place: Option<Place>,
        work: Work,
        cx: &mut Context<'_>,
    ) {
        let Work { seq, bytes, task } = work;
        self.horizon = self.horizon.max(seq + 1);
        let context = self.context.clone();
        let (handler, slot) = match task {
            Task::Handle { handler, inbound } => {
                let spare = self.spare[handler as usize].pop();
                let make = context.group.handlers[handler as usize].definition.slot;
                let mut slot = spare.unwrap_or_else(make);
                slot.begin(Delivery::new(context, inbound, handler));
                (Some(handler), slot)
            }
            Task::Bury { inbound, reason } => (None, Slot::burial(context, inbound, reason)),
        };
        let mut running = Running {
            slot: Some(slot),
            label: Label {
                ticket,
                handler,
                seq,
                bytes,
            },
        };
        match Pin::new(&mut running).poll(cx) {
            Poll::Ready(ended) => self.finish(ended),
            Poll::Pending => {
                if let Some(place) = place {
                    running.label.ticket = Some(self.scheduler.occupy(place));
                }
                self.running.push(running);
            }
        }
    }

    /// What else has ended, up to a run.
    async fn finish_others(&mut self) {
        for _ in 0..RUN {
            match poll!(self.running.next()) {
                Poll::Ready(Some(ended)) => self.finish(ended),
                _ => return,
            }
        }
    }

    fn finish(&mut self, (slot, label, ending): (Slot, Label, Ending)) {
        if let Some(handler) = label.handler {
            let spare = &mut self.spare[handler as usize];
            if spare.len() < self.context.group.limits.in_flight {
                spare.push(slot);
            }
        }
        // An abandoned delivery keeps its key and its offset, so that the next
        // owner of the partition gets it again, in order.
        let Ending::Settled(settled) = ending else {
            self.horizon = self.horizon.min(label.seq);
            return;
        };
        if let Some(ticket) = label.ticket {
            self.scheduler.finish(ticket);
        }
        self.tally.ended(label.handler, settled);
        if self.window.settle(label.seq) {
            self.tally.settled(label.bytes);
        }
    }

    /// Tells the source, and those who count, what happened in this turn.
    fn tell(&mut self) {
        let tally = &mut self.tally;
        self.shared
            .progress(self.window.next_offset(), self.window.len());
        if tally.records > 0 {
            self.shared.settled(tally.records, tally.bytes);
            (tally.records, tally.bytes) = (0, 0);
        }
        for (endings, handler) in tally.endings.iter_mut().zip(&self.context.group.handlers) {
            let counts = &handler.counts;
            let counters = [&counts.handled, &counts.duplicates, &counts.dead_letters];
            for (number, counter) in endings.iter_mut().zip(counters) {
                if *number > 0 {
                    count(counter, std::mem::take(number));
                }
            }
        }
    }
}

impl Tally {
    fn settled(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    fn ended(&mut self, handler: Option<u32>, settled: Settled) {
        if let Some(endings) = handler.and_then(|handler| self.endings.get_mut(handler as usize)) {
            let which = match settled {
                Settled::Handled => 0,
                Settled::Duplicate => 1,
                Settled::DeadLettered => 2,
            };
            endings[which] += 1;
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
