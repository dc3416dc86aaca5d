//! What the Order service has seen happen: the books are drawn from it.
//!
//! It knows the orders that it placed, and everything else only from the
//! others' events and from the dead-letter topics. So one process or five make
//! no difference.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use eventkit::Metadata;
use tokio::sync::watch;
use uuid::Uuid;

use crate::data::Purchase;
use crate::events::{LedgerLine, OrderId, Reason};
use crate::journey::Journey;
use crate::letters::Letter;
use crate::sync::lock;

/// What an event says of its order.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Reserved {
        units: u32,
        line: LedgerLine,
    },
    Insufficient {
        line: LedgerLine,
    },
    Released {
        units: u32,
        line: LedgerLine,
    },
    Charged {
        cents: u64,
        receipt: Uuid,
        attempts: u32,
    },
    Declined {
        reason: String,
    },
    Confirmed,
    Cancelled {
        reason: Reason,
    },
    Notified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Confirmed,
    CancelledForStock,
    CancelledForPayment,
}

#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    run: u32,
    pages: Arc<Mutex<Pages>>,
    counts: Arc<watch::Sender<Counts>>,
}

#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) orders: Vec<OrderPage>,
    /// The lines of Inventory's ledger by their number.
    pub(crate) stock: BTreeMap<u64, StockLine>,
    /// Every charge by its receipt.
    pub(crate) receipts: HashMap<Uuid, (u32, u64)>,
    /// The dead letters of this round.
    pub(crate) letters: Vec<Letter>,
    pub(crate) journey: Option<Journey>,
    pub(crate) counts: Counts,
}

/// One order.
#[derive(Debug)]
pub(crate) struct OrderPage {
    pub(crate) purchase: Purchase,
    /// Each with the id of the event that said so.
    pub(crate) outcomes: Vec<(Outcome, String)>,
    pub(crate) notices: Vec<String>,
    pub(crate) reserved: u32,
    pub(crate) released: u32,
    /// It stands in a dead-letter topic, and waits for what comes after.
    pub(crate) dead_lettered: bool,
    /// Inventory did not take it in its turn.
    pub(crate) out_of_turn: bool,
    state: Progress,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct StockLine {
    pub(crate) number: u32,
    /// Units that it took off the shelf; none where there were not enough, and
    /// less than none for a release.
    pub(crate) taken: i64,
    pub(crate) left: u32,
    pub(crate) is_decision: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    Unplaced,
    Open,
    Settled(Option<Outcome>),
}

/// How far the run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) placed: u32,
    pub(crate) confirmed: u32,
    pub(crate) cancelled_for_stock: u32,
    pub(crate) cancelled_for_payment: u32,
    pub(crate) dead_lettered: u32,
}

impl Counts {
    pub(crate) fn settled(&self) -> u32 {
        self.confirmed + self.cancelled_for_stock + self.cancelled_for_payment + self.dead_lettered
    }

    pub(crate) fn open(&self) -> u32 {
        self.placed - self.settled()
    }

    fn of(&mut self, state: Progress) -> Option<&mut u32> {
        match state {
            Progress::Unplaced | Progress::Open => None,
            Progress::Settled(None) => Some(&mut self.dead_lettered),
            Progress::Settled(Some(Outcome::Confirmed)) => Some(&mut self.confirmed),
            Progress::Settled(Some(Outcome::CancelledForStock)) => {
                Some(&mut self.cancelled_for_stock)
            }
            Progress::Settled(Some(Outcome::CancelledForPayment)) => {
                Some(&mut self.cancelled_for_payment)
            }
        }
    }
}

impl OrderPage {
    fn new(purchase: Purchase) -> Self {
        Self {
            purchase,
            outcomes: Vec::new(),
            notices: Vec::new(),
            reserved: 0,
            released: 0,
            dead_lettered: false,
            out_of_turn: false,
            state: Progress::Unplaced,
        }
    }

    /// Settled is what nobody has anything left to do for.
    fn progress(&self) -> Progress {
        match self.outcomes.first() {
            _ if self.state == Progress::Unplaced => Progress::Unplaced,
            _ if self.dead_lettered => {
                Progress::Settled(self.outcomes.first().map(|(outcome, _)| *outcome))
            }
            None => Progress::Open,
            Some((outcome, _)) => {
                let released = *outcome != Outcome::CancelledForPayment || self.released > 0;
                if released && !self.notices.is_empty() {
                    Progress::Settled(Some(*outcome))
                } else {
                    Progress::Open
                }
            }
        }
    }
}

impl Ledger {
    pub(crate) fn new(run: u32, purchases: Vec<Purchase>) -> Self {
        let pages = Pages {
            orders: purchases.into_iter().map(OrderPage::new).collect(),
            stock: BTreeMap::new(),
            receipts: HashMap::new(),
            letters: Vec::new(),
            journey: None,
            counts: Counts::default(),
        };
        Self {
            run,
            pages: Arc::new(Mutex::new(pages)),
            counts: Arc::new(watch::Sender::default()),
        }
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.pages)
    }

    pub(crate) fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    pub(crate) fn follow(&self, journey: Journey) {
        self.pages().journey = Some(journey);
    }

    pub(crate) fn placed(&self, order: OrderId) {
        self.change(order, |_, page| page.state = Progress::Open);
    }

    /// Writes down an event, once, however often it comes.
    pub(crate) fn write(&self, order: OrderId, event: &Metadata, entry: &Entry) {
        self.change(order, |pages, page| {
            if let Some(journey) = &mut pages.journey
                && journey.order == order
            {
                journey.step(event, entry);
            }
            pages.enter(page, order.number, &event.id, entry);
        });
    }

    /// Writes down a dead letter of this run.
    pub(crate) fn dead_letter(&self, letter: Letter) {
        if letter.order.run != self.run {
            return;
        }
        self.change(letter.order, |pages, page| {
            // Analytics is not on an order's way.
            page.dead_lettered |= letter.group != "analytics";
            page.out_of_turn |= letter.group == "inventory";
            pages.letters.push(letter);
        });
    }

    /// What was dead-lettered goes on its way again.
    pub(crate) fn reopen(&self) {
        let letters = std::mem::take(&mut self.pages().letters);
        for letter in letters {
            self.change(letter.order, |_, page| page.dead_lettered = false);
        }
    }

    fn change(&self, order: OrderId, change: impl FnOnce(&mut Pages, &mut OrderPage)) {
        if order.run != self.run {
            return;
        }
        let mut pages = self.pages();
        let index = order.number as usize - 1;
        let Some(page) = pages.orders.get_mut(index) else {
            return;
        };
        // Taken out for the moment, so that page and pages can both be written.
        let blank = OrderPage::new(page.purchase.clone());
        let mut page = std::mem::replace(page, blank);
        let before = page.state;
        change(&mut pages, &mut page);
        page.state = page.progress();
        let after = page.state;
        pages.orders[index] = page;
        if before == after {
            return;
        }
        let counts = &mut pages.counts;
        if let Some(count) = counts.of(before) {
            *count -= 1;
        }
        if let Some(count) = counts.of(after) {
            *count += 1;
        }
        counts.placed += u32::from(before == Progress::Unplaced);
        self.counts.send_replace(*counts);
    }
}

impl Pages {
    fn enter(&mut self, page: &mut OrderPage, number: u32, event_id: &str, entry: &Entry) {
        match entry {
            Entry::Reserved { units, line } => {
                if self.stock_line(number, *line, i64::from(*units), true) {
                    page.reserved += units;
                }
            }
            Entry::Insufficient { line } => {
                self.stock_line(number, *line, 0, true);
            }
            Entry::Released { units, line } => {
                if self.stock_line(number, *line, -i64::from(*units), false) {
                    page.released += units;
                }
            }
            Entry::Charged { cents, receipt, .. } => {
                self.receipts.insert(*receipt, (number, *cents));
            }
            Entry::Declined { .. } => {}
            Entry::Confirmed => page.ends(Outcome::Confirmed, event_id),
            Entry::Cancelled {
                reason: Reason::Stock,
            } => {
                page.ends(Outcome::CancelledForStock, event_id);
            }
            Entry::Cancelled {
                reason: Reason::Payment,
            } => {
                page.ends(Outcome::CancelledForPayment, event_id);
            }
            Entry::Notified => {
                if !page.notices.iter().any(|id| id == event_id) {
                    page.notices.push(event_id.to_owned());
                }
            }
        }
    }

    /// `false` for a line that is known already.
    fn stock_line(&mut self, number: u32, line: LedgerLine, taken: i64, is_decision: bool) -> bool {
        let written = StockLine {
            number,
            taken,
            left: line.left,
            is_decision,
        };
        self.stock.insert(line.line, written).is_none()
    }
}

impl OrderPage {
    fn ends(&mut self, outcome: Outcome, event_id: &str) {
        if !self.outcomes.iter().any(|(_, id)| id == event_id) {
            self.outcomes.push((outcome, event_id.to_owned()));
        }
    }
}

#[cfg(test)]
impl Ledger {
    /// Places an order and writes down what comes of it, as events `1`, `2`, ….
    pub(crate) fn tell(&self, number: u32, entries: &[Entry]) {
        let order = OrderId {
            run: self.run,
            number,
        };
        self.placed(order);
        for (index, entry) in entries.iter().enumerate() {
            self.change(order, |pages, page| {
                pages.enter(page, number, &index.to_string(), entry);
            });
        }
    }
}
