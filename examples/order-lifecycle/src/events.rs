//! What the services say to one another. The key is the customer everywhere, so
//! that what happens to one customer's orders happens in order.

use std::fmt;
use std::str::FromStr;

use eventkit::prelude::*;
use uuid::Uuid;

use crate::faults;

pub(crate) const TOPICS: [&str; 6] = [
    "orders",
    "stock",
    "payments",
    "outcomes",
    "notifications",
    "operations",
];
pub(crate) const PARTITIONS: i32 = 8;

/// An order's name: the run that placed it, and its number there, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct OrderId {
    pub(crate) run: u32,
    pub(crate) number: u32,
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.to_string()
    }
}

impl FromStr for OrderId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-').and_then(|(run, number)| {
            Some(Self {
                run: u32::from_str_radix(run, 16).ok()?,
                number: number.parse().ok()?,
            })
        });
        parts.ok_or_else(|| "not an order id".to_owned())
    }
}

impl TryFrom<String> for OrderId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = customer)]
pub(crate) struct OrderPlaced {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) date: u32,
    #[serde(deserialize_with = "faults::number_or_text")]
    pub(crate) units: u32,
    pub(crate) cents: u64,
}

/// The same event from a till whose software writes the number of CDs as text.
/// Until the decoder is mended, no service can read it.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "OrderPlaced.v1", topic = "orders", key = customer)]
pub(crate) struct OrderPlacedInText {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) date: u32,
    pub(crate) units: String,
    pub(crate) cents: u64,
}

/// A line in Inventory's ledger: it numbers what it decides and moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerLine {
    pub(crate) line: u64,
    /// Units on the shelf after it.
    pub(crate) left: u32,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "StockReserved.v1", topic = "stock", key = customer)]
pub(crate) struct StockReserved {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) units: u32,
    pub(crate) cents: u64,
    pub(crate) ledger: LedgerLine,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "StockInsufficient.v1", topic = "stock", key = customer)]
pub(crate) struct StockInsufficient {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) ledger: LedgerLine,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "StockReleased.v1", topic = "stock", key = customer)]
pub(crate) struct StockReleased {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) units: u32,
    pub(crate) ledger: LedgerLine,
}

/// What Inventory answers to an order.
#[derive(Debug, Event)]
pub(crate) enum Reservation {
    Reserved(StockReserved),
    Insufficient(StockInsufficient),
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "PaymentCharged.v1", topic = "payments", key = customer)]
pub(crate) struct PaymentCharged {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) cents: u64,
    /// The gateway's receipt; another charge would have another.
    pub(crate) receipt: Uuid,
    pub(crate) attempts: u32,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "PaymentFailed.v1", topic = "payments", key = customer)]
pub(crate) struct PaymentFailed {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    /// The reservation that is to be released.
    pub(crate) units: u32,
    pub(crate) reason: String,
}

/// What Payment answers to a reservation.
#[derive(Debug, Event)]
pub(crate) enum Payment {
    Charged(PaymentCharged),
    Failed(PaymentFailed),
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "OrderConfirmed.v1", topic = "outcomes", key = customer)]
pub(crate) struct OrderConfirmed {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reason {
    Stock,
    Payment,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "OrderCancelled.v1", topic = "outcomes", key = customer)]
pub(crate) struct OrderCancelled {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
    pub(crate) reason: Reason,
}

#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "CustomerNotified.v1", topic = "notifications", key = customer)]
pub(crate) struct CustomerNotified {
    pub(crate) order: OrderId,
    pub(crate) customer: u32,
}

/// What broke in a run is mended: every service may send its dead letters back.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "FaultsMended.v1", topic = "operations", key = run)]
pub(crate) struct FaultsMended {
    pub(crate) run: u32,
}
