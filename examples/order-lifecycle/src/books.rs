//! The books: do orders, units and money add up?

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::ledger::{Outcome, Pages};
use crate::report::{dollars, thousands};

/// The books at one moment.
#[derive(Debug)]
pub(crate) struct Books {
    lines: Vec<(&'static str, String)>,
    /// What does not balance, a line each.
    pub(crate) problems: Vec<String>,
}

impl Books {
    /// `letters_left`: dead letters that no replay has sent back.
    pub(crate) fn draw_up(pages: &Pages, units_at_start: u32, letters_left: u64) -> Self {
        let mut books = Self {
            lines: Vec::new(),
            problems: Vec::new(),
        };
        books.orders(pages);
        books.units(pages, units_at_start);
        books.money(pages);
        books.turns(pages);
        books.notices(pages);
        books.letters(pages, letters_left);
        books
    }

    /// After the faults were mended, no letter may be left.
    pub(crate) fn expect_no_letters(&mut self, pages: &Pages, letters_left: u64) {
        if letters_left > 0 {
            self.problem(format!(
                "{letters_left} dead letters are left after the replay"
            ));
        }
        for letter in &pages.letters {
            self.problem(format!(
                "order {} was dead-lettered again, {} in {}",
                letter.order, letter.kind, letter.topic
            ));
        }
    }

    /// Each order ends in exactly one way.
    fn orders(&mut self, pages: &Pages) {
        let counts = pages.counts;
        self.line(
            "orders",
            format!(
                "{} placed = {} confirmed + {} cancelled for stock + {} for payment + {} dead-lettered",
                thousands(counts.placed),
                thousands(counts.confirmed),
                thousands(counts.cancelled_for_stock),
                thousands(counts.cancelled_for_payment),
                thousands(counts.dead_lettered)
            ),
        );
        for (number, page) in numbered(pages) {
            let ends = page.outcomes.len() + usize::from(page.dead_lettered);
            if ends == 1 {
                continue;
            }
            let mut how: Vec<String> = page
                .outcomes
                .iter()
                .map(|(outcome, id)| format!("{outcome:?} ({id})"))
                .collect();
            how.extend(page.dead_lettered.then(|| "dead-lettered".to_owned()));
            self.problem(match ends {
                0 => format!("order {number} has no end"),
                _ => format!("order {number} has {ends} ends: {}", how.join(", ")),
            });
        }
    }

    /// What left the shelf was sold, or is held for an order that is not ended.
    fn units(&mut self, pages: &Pages, at_start: u32) {
        let mut left = i64::from(at_start);
        for (expected, (line, entry)) in (1..).zip(&pages.stock) {
            left -= entry.taken;
            if *line != expected {
                self.problem(format!("line {expected} of the stock ledger is missing"));
                return;
            }
            if left != i64::from(entry.left) {
                self.problem(format!(
                    "line {line} of the stock ledger, for order {}: {} units left, and {left} by the count",
                    entry.number, entry.left
                ));
                return;
            }
        }
        let (mut sold, mut held) = (0, 0);
        for (number, page) in numbered(pages) {
            let kept = i64::from(page.reserved) - i64::from(page.released);
            let asked = i64::from(page.purchase.units);
            let is_confirmed = ends_as(page, Outcome::Confirmed);
            let as_it_should = match is_confirmed {
                true => kept == asked,
                false if page.dead_lettered => kept == 0 || kept == asked,
                false => kept == 0,
            };
            if !as_it_should {
                self.problem(format!(
                    "order {number} asked for {asked} units, {} were reserved and {} released",
                    page.reserved, page.released
                ));
            }
            *(if is_confirmed { &mut sold } else { &mut held }) += kept;
        }
        let balanced = sold + held + left == i64::from(at_start);
        self.line(
            "units",
            format!(
                "{} at the start = {} sold + {} left + {} held for dead-lettered orders",
                thousands(at_start),
                thousands(sold),
                thousands(left),
                thousands(held)
            ),
        );
        if !balanced {
            self.problem(format!("units: {sold} + {left} + {held} is not {at_start}"));
        }
    }

    /// Every confirmed order is charged once, and nobody else.
    fn money(&mut self, pages: &Pages) {
        let mut charges: HashMap<u32, Vec<u64>> = HashMap::new();
        for (number, cents) in pages.receipts.values() {
            charges.entry(*number).or_default().push(*cents);
        }
        let (mut due, mut confirmed) = (0, 0);
        for (number, page) in numbered(pages) {
            let charged = charges.get(&number).map_or(&[][..], Vec::as_slice);
            let expected = if ends_as(page, Outcome::Confirmed) {
                due += page.purchase.cents;
                confirmed += 1;
                &[page.purchase.cents][..]
            } else {
                &[]
            };
            if charged != expected {
                let list = |cents: &[u64]| match cents {
                    [] => "nothing".to_owned(),
                    cents => cents
                        .iter()
                        .map(|c| dollars(*c))
                        .collect::<Vec<_>>()
                        .join(" and "),
                };
                self.problem(format!(
                    "order {number} was charged {}, and should be charged {}",
                    list(charged),
                    list(expected)
                ));
            }
        }
        let charged: u64 = pages.receipts.values().map(|(_, cents)| cents).sum();
        let receipts = pages.receipts.len();
        self.line(
            "money",
            format!(
                "{} charged = {} for confirmed orders",
                dollars(charged),
                dollars(due)
            ),
        );
        self.line(
            "charges",
            format!(
                "{} receipts = {} confirmed orders",
                thousands(receipts),
                thousands(confirmed)
            ),
        );
        if charged != due {
            self.problem(format!(
                "{} charged is not {} due",
                dollars(charged),
                dollars(due)
            ));
        }
    }

    /// Inventory took each customer's orders in their order. A dead-lettered
    /// one lost its turn.
    fn turns(&mut self, pages: &Pages) {
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for entry in pages.stock.values().filter(|entry| entry.is_decision) {
            let page = &pages.orders[entry.number as usize - 1];
            if page.out_of_turn {
                continue;
            }
            let purchase = &page.purchase;
            let last = last.entry(purchase.customer).or_default();
            if purchase.nth <= *last {
                self.problem(format!(
                    "customer {}: purchase {} (order {}) came after purchase {last}",
                    purchase.customer, purchase.nth, entry.number
                ));
            }
            *last = purchase.nth;
        }
        self.line(
            "turns",
            format!(
                "{} customers, each served in the order of purchase",
                thousands(last.len())
            ),
        );
    }

    /// Each customer heard once how the order ended.
    fn notices(&mut self, pages: &Pages) {
        let mut sent = 0;
        for (number, page) in numbered(pages) {
            sent += page.notices.len();
            if page.notices.len() != usize::from(!page.outcomes.is_empty()) {
                self.problem(format!(
                    "order {number}: {} notices to the customer",
                    page.notices.len()
                ));
            }
        }
        self.line(
            "notices",
            format!("{}, one for each order that has ended", thousands(sent)),
        );
    }

    fn letters(&mut self, pages: &Pages, left: u64) {
        let mut by_place: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for letter in &pages.letters {
            *by_place.entry((&letter.topic, &letter.kind)).or_default() += 1;
        }
        let places: Vec<String> = by_place
            .iter()
            .map(|((topic, kind), count)| format!("{count} {kind} in {topic}"))
            .collect();
        let list = if places.is_empty() {
            String::new()
        } else {
            format!(": {}", places.join(", "))
        };
        self.line(
            "letters",
            format!("{left} wait in the dead-letter topics{list}"),
        );
    }

    fn line(&mut self, name: &'static str, text: String) {
        self.lines.push((name, text));
    }

    fn problem(&mut self, text: String) {
        self.problems.push(text);
    }
}

fn numbered(pages: &Pages) -> impl Iterator<Item = (u32, &crate::ledger::OrderPage)> {
    (1..).zip(&pages.orders)
}

fn ends_as(page: &crate::ledger::OrderPage, outcome: Outcome) -> bool {
    page.outcomes.iter().any(|(ended, _)| *ended == outcome)
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in &self.lines {
            writeln!(f, "  {name:<9}{text}")?;
        }
        for problem in &self.problems {
            writeln!(f, "  UNBALANCED  {problem}")?;
        }
        if self.problems.is_empty() {
            writeln!(f, "  They balance.")
        } else {
            writeln!(
                f,
                "  They do NOT balance: {} lines above.",
                self.problems.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::data::Purchase;
    use crate::events::{LedgerLine, Reason};
    use crate::ledger::{Entry, Ledger};

    /// Orders for one CD at a dollar by one customer, from a shelf of ten.
    fn ledger(orders: u32) -> Ledger {
        let purchase = |nth| Purchase {
            customer: 1,
            nth,
            date: 19_970_101,
            units: 1,
            cents: 100,
        };
        Ledger::new(7, (1..=orders).map(purchase).collect())
    }

    fn problems(ledger: &Ledger) -> Vec<String> {
        Books::draw_up(&ledger.pages(), 10, 0).problems
    }

    fn reserved(line: u64, left: u32) -> Entry {
        let line = LedgerLine { line, left };
        Entry::Reserved { units: 1, line }
    }

    fn charged() -> Entry {
        let receipt = Uuid::now_v7();
        Entry::Charged {
            cents: 100,
            receipt,
            attempts: 1,
        }
    }

    #[test]
    fn sound_books_balance_whatever_comes_twice() {
        let ledger = ledger(2);
        let charge = charged();
        ledger.tell(
            1,
            &[
                reserved(1, 9),
                charge.clone(),
                charge,
                Entry::Confirmed,
                Entry::Notified,
            ],
        );
        let released = LedgerLine { line: 3, left: 9 };
        let released = Entry::Released {
            units: 1,
            line: released,
        };
        let cancelled = Entry::Cancelled {
            reason: Reason::Payment,
        };
        ledger.tell(2, &[reserved(2, 8), cancelled, released, Entry::Notified]);
        assert_eq!(problems(&ledger), [""; 0]);
        assert_eq!(ledger.pages().counts.open(), 0);
    }

    #[test]
    fn a_second_charge_is_told() {
        let ledger = ledger(1);
        ledger.tell(
            1,
            &[
                reserved(1, 9),
                charged(),
                charged(),
                Entry::Confirmed,
                Entry::Notified,
            ],
        );
        let problems = problems(&ledger);
        assert!(
            problems[0].contains("order 1 was charged $1.00 and $1.00"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_second_reservation_is_told() {
        let ledger = ledger(1);
        ledger.tell(
            1,
            &[
                reserved(1, 9),
                reserved(2, 8),
                charged(),
                Entry::Confirmed,
                Entry::Notified,
            ],
        );
        assert!(
            problems(&ledger)[0].contains("2 were reserved"),
            "{:?}",
            problems(&ledger)
        );
    }

    #[test]
    fn two_ends_no_end_and_a_lost_turn_are_told() {
        let ledger = ledger(3);
        let cancelled = Entry::Cancelled {
            reason: Reason::Stock,
        };
        ledger.tell(
            2,
            &[
                reserved(1, 9),
                charged(),
                Entry::Confirmed,
                cancelled,
                Entry::Notified,
            ],
        );
        ledger.tell(
            1,
            &[reserved(2, 8), charged(), Entry::Confirmed, Entry::Notified],
        );
        ledger.tell(3, &[]);
        let problems = problems(&ledger).join("\n");
        assert!(problems.contains("order 2 has 2 ends"), "{problems}");
        assert!(problems.contains("order 3 has no end"), "{problems}");
        assert!(
            problems.contains("purchase 1 (order 1) came after purchase 2"),
            "{problems}"
        );
    }
}
