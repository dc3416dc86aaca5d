//! The books, from what stands in the four databases: do orders, units and money
//! add up? See `sql/books.sql` for the view that they are drawn from.

use std::fmt;

use super::Connection;
use crate::report::{dollars, thousands};

/// The books at one moment.
#[derive(Debug, Default)]
pub(crate) struct Books {
    lines: Vec<(&'static str, String)>,
    /// What does not balance, a line each.
    pub(crate) problems: Vec<String>,
}

/// What the books are about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) run: u32,
    pub(crate) orders: usize,
    pub(crate) units_at_start: u32,
}

/// Lets the connection see each order's account.
pub(crate) async fn open(connection: &mut Connection) -> sqlx::Result<()> {
    sqlx::raw_sql(include_str!("../../sql/books.sql"))
        .execute(connection)
        .await?;
    Ok(())
}

impl Books {
    /// `letters_left`: dead letters that no replay has sent back.
    pub(crate) async fn draw_up(
        connection: &mut Connection,
        run: Run,
        letters_left: u64,
    ) -> sqlx::Result<Self> {
        let mut books = Self::default();
        books.orders(connection, run).await?;
        books.units(connection, run).await?;
        books.ledger(connection, run).await?;
        books.money(connection, run).await?;
        books.turns(connection, run).await?;
        books.notices(connection, run).await?;
        books.letters(connection, run, letters_left).await?;
        Ok(books)
    }

    /// After the faults were mended, no letter may be left.
    pub(crate) fn expect_no_letters(&mut self, left: u64) {
        if left > 0 {
            self.problem(format!("{left} dead letters are left after the replay"));
        }
    }

    /// Each order ends in exactly one way.
    async fn orders(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let (placed, confirmed, stock, payment, dead): (i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT COUNT(*),
                    COUNT(CASE WHEN state = 'confirmed' THEN 1 END),
                    COUNT(CASE WHEN state = 'cancelled for stock' THEN 1 END),
                    COUNT(CASE WHEN state = 'cancelled for payment' THEN 1 END),
                    COUNT(CASE WHEN state = 'open' AND is_dead_lettered = 1 THEN 1 END)
             FROM accounts WHERE run = $1",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        self.line(
            "orders",
            format!(
                "{} placed = {} confirmed + {} cancelled for stock + {} for payment + {} dead-lettered",
                thousands(placed),
                thousands(confirmed),
                thousands(stock),
                thousands(payment),
                thousands(dead)
            ),
        );
        if placed != run.orders as i64 {
            self.problem(format!(
                "{placed} orders are placed, and should be {}",
                run.orders
            ));
        }
        let wrong: Vec<(i64, String, i64, i64)> = sqlx::query_as(
            "SELECT number, state, ends, is_dead_lettered FROM accounts
             WHERE run = $1 AND ends + is_dead_lettered <> 1 ORDER BY number",
        )
        .bind(i64::from(run.run))
        .fetch_all(connection)
        .await?;
        for (number, state, ends, dead) in wrong {
            self.problem(match ends + dead {
                0 => format!("order {number} has no end"),
                _ if dead == 1 => format!("order {number} is {state}, and dead-lettered"),
                _ => format!("order {number} has {ends} ends, the last: {state}"),
            });
        }
        Ok(())
    }

    /// What left the shelf was sold, or is held for an order that is not ended.
    async fn units(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let (sold, held): (i64, i64) = sqlx::query_as(
            "SELECT CAST(COALESCE(SUM(CASE WHEN state = 'confirmed' THEN reserved - released ELSE 0 END), 0) AS bigint),
                    CAST(COALESCE(SUM(CASE WHEN state = 'confirmed' THEN 0 ELSE reserved - released END), 0) AS bigint)
             FROM accounts WHERE run = $1",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        let left: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(MAX(remaining), 0) AS bigint) FROM inventory.shelves WHERE run = $1",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        self.line(
            "units",
            format!(
                "{} at the start = {} sold + {} left + {} held for dead-lettered orders",
                thousands(run.units_at_start),
                thousands(sold),
                thousands(left),
                thousands(held)
            ),
        );
        if sold + left + held != i64::from(run.units_at_start) {
            let start = run.units_at_start;
            self.problem(format!("units: {sold} + {left} + {held} is not {start}"));
        }
        let wrong: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT number, units, reserved, released FROM accounts
             WHERE run = $1 AND NOT CASE
                 WHEN state = 'confirmed' THEN reserved - released = units
                 WHEN is_dead_lettered = 1 THEN reserved - released IN (0, units)
                 ELSE reserved = released
             END
             ORDER BY number",
        )
        .bind(i64::from(run.run))
        .fetch_all(connection)
        .await?;
        for (number, asked, reserved, released) in wrong {
            self.problem(format!(
                "order {number} asked for {asked} units, {reserved} were reserved and {released} released"
            ));
        }
        Ok(())
    }

    /// Each line of the stock ledger follows from those before.
    async fn ledger(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let wrong: Option<(i64, i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT line, expected, number, remaining, counted FROM (
                 SELECT line, number, remaining,
                        ROW_NUMBER() OVER (ORDER BY line) AS expected,
                        CAST($2 - SUM(taken) OVER (ORDER BY line) AS bigint) AS counted
                 FROM inventory.movements WHERE run = $1
             ) AS lines
             WHERE line <> expected OR remaining <> counted ORDER BY line LIMIT 1",
        )
        .bind(i64::from(run.run))
        .bind(i64::from(run.units_at_start))
        .fetch_optional(connection)
        .await?;
        if let Some((line, expected, number, remaining, counted)) = wrong {
            self.problem(if line == expected {
                format!(
                    "line {line} of the stock ledger, for order {number}: {remaining} units left, \
                     and {counted} by the count"
                )
            } else {
                format!("line {expected} of the stock ledger is missing")
            });
        }
        Ok(())
    }

    /// Every confirmed order is charged once, and nobody else.
    async fn money(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let (receipts, charged): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(cents), 0) AS bigint)
             FROM payment.charges WHERE run = $1",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        let (confirmed, due): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(cents), 0) AS bigint)
             FROM accounts WHERE run = $1 AND state = 'confirmed'",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        let money = |cents: i64| dollars(cents.unsigned_abs());
        self.line(
            "money",
            format!(
                "{} charged = {} for confirmed orders",
                money(charged),
                money(due)
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
                money(charged),
                money(due)
            ));
        }
        let wrong: Vec<(i64, i64, i64, String, i64)> = sqlx::query_as(
            "SELECT number, charges, charged, state, cents FROM accounts
             WHERE run = $1 AND NOT CASE
                 WHEN state = 'confirmed' THEN charges = 1 AND charged = cents
                 ELSE charges = 0
             END
             ORDER BY number",
        )
        .bind(i64::from(run.run))
        .fetch_all(connection)
        .await?;
        for (number, charges, charged, state, cents) in wrong {
            self.problem(format!(
                "order {number}, {state}, {} due at most, was charged {charges} times, {} in all",
                money(cents),
                money(charged)
            ));
        }
        Ok(())
    }

    /// Inventory took each customer's orders in their order. A dead-lettered
    /// one lost its turn.
    async fn turns(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let customers: i64 = sqlx::query_scalar(
            "SELECT COUNT(DISTINCT customer) FROM accounts WHERE run = $1 AND lost_turn = 0",
        )
        .bind(i64::from(run.run))
        .fetch_one(&mut *connection)
        .await?;
        self.line(
            "turns",
            format!(
                "{} customers, each served in the order of purchase",
                thousands(customers)
            ),
        );
        let wrong: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT customer, nth, number, before FROM (
                 SELECT a.customer, a.nth, a.number,
                        LAG(a.nth) OVER (PARTITION BY a.customer ORDER BY m.line) AS before
                 FROM inventory.movements AS m
                 JOIN accounts AS a ON a.run = m.run AND a.number = m.number
                 WHERE m.run = $1 AND m.is_decision = 1 AND a.lost_turn = 0
             ) AS turns
             WHERE before >= nth ORDER BY number",
        )
        .bind(i64::from(run.run))
        .fetch_all(connection)
        .await?;
        for (customer, nth, number, before) in wrong {
            self.problem(format!(
                "customer {customer}: purchase {nth} (order {number}) came after purchase {before}"
            ));
        }
        Ok(())
    }

    /// Each customer heard once how the order ended.
    async fn notices(&mut self, connection: &mut Connection, run: Run) -> sqlx::Result<()> {
        let sent: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM notification.notices WHERE run = $1")
                .bind(i64::from(run.run))
                .fetch_one(&mut *connection)
                .await?;
        self.line(
            "notices",
            format!("{}, one for each order that has ended", thousands(sent)),
        );
        let wrong: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT number, notices FROM accounts
             WHERE run = $1 AND notices <> CASE WHEN state = 'open' THEN 0 ELSE 1 END
             ORDER BY number",
        )
        .bind(i64::from(run.run))
        .fetch_all(&mut *connection)
        .await?;
        for (number, notices) in wrong {
            self.problem(format!("order {number}: {notices} notices to the customer"));
        }
        let wrong: Vec<(i64, String, String)> = sqlx::query_as(
            r#"SELECT n.number, n.said, COALESCE(o.state, 'unknown')
               FROM notification.notices AS n
               LEFT JOIN "order".orders AS o ON o.run = n.run AND o.number = n.number
               WHERE n.run = $1 AND (o.state IS NULL OR o.state NOT LIKE n.said || '%')
               ORDER BY n.number"#,
        )
        .bind(i64::from(run.run))
        .fetch_all(&mut *connection)
        .await?;
        for (number, said, state) in wrong {
            self.problem(format!(
                "order {number} is {state}, its customer heard: {said}"
            ));
        }
        Ok(())
    }

    async fn letters(
        &mut self,
        connection: &mut Connection,
        run: Run,
        left: u64,
    ) -> sqlx::Result<()> {
        let places: Vec<(String, String, i64)> = sqlx::query_as(
            r#"SELECT topic, kind, COUNT(*) FROM "order".letters
               WHERE run = $1 AND waiting = 1 GROUP BY topic, kind ORDER BY topic, kind"#,
        )
        .bind(i64::from(run.run))
        .fetch_all(connection)
        .await?;
        let places: Vec<String> = places
            .iter()
            .map(|(topic, kind, count)| format!("{count} {kind} in {topic}"))
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
        Ok(())
    }

    fn line(&mut self, name: &'static str, text: String) {
        self.lines.push((name, text));
    }

    fn problem(&mut self, text: String) {
        self.problems.push(text);
    }
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
