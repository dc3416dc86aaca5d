//! What is wrong in the databases, the books tell.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::Databases;
use super::shop::books::{self, Books, Run};
use super::shop::shelf;
use super::shop::tables::Store;
use crate::args::ServiceName;
use crate::events::{LedgerLine, OrderId};

const RUN: Run = Run {
    run: 7,
    orders: 3,
    units_at_start: 10,
};

/// Three orders of one customer, a CD at a dollar each: one is confirmed, one
/// cancelled for payment, one dead-lettered with its CD held. Another run's beside.
const SOUND: &str = r#"
    INSERT INTO "order".orders (run, number, customer, nth, units, cents, state, ends) VALUES
        (7, 1, 1, 1, 1, 100, 'confirmed', 1),
        (7, 2, 1, 2, 1, 100, 'cancelled for payment', 1),
        (7, 3, 1, 3, 1, 100, 'open', 0),
        (8, 1, 1, 1, 1, 100, 'open', 0);
    INSERT INTO inventory.movements (run, line, number, taken, remaining, is_decision) VALUES
        (7, 1, 1, 1, 9, 1), (7, 2, 2, 1, 8, 1), (7, 3, 2, -1, 9, 0), (7, 4, 3, 1, 8, 1),
        (8, 1, 1, 1, 9, 1);
    INSERT INTO inventory.shelves (run, line, remaining, taken) VALUES (7, 4, 8, 1), (8, 1, 9, 1);
    INSERT INTO payment.charges (receipt, run, number, cents) VALUES ('a', 7, 1, 100);
    INSERT INTO notification.notices (run, number, said) VALUES
        (7, 1, 'confirmed'), (7, 2, 'cancelled');
    INSERT INTO "order".letters (run, topic, place, position, number, consumer, kind) VALUES
        (7, 'stock.payment.dlq', 0, 0, 3, 'payment', 'exhausted');
"#;

/// The books after these statements.
async fn books(statements: &[&str]) -> Books {
    let databases = Databases::create().expect("a folder");
    for service in ServiceName::WITH_DATABASE {
        let store = Store::open(service, &databases).await.expect("a database");
        store.pool.close().await;
    }
    let mut connection: SqliteConnection = databases.all().await.expect("a connection");
    books::open(&mut connection).await.expect("the view");
    for statement in statements {
        let statement = AssertSqlSafe((*statement).to_owned());
        let done = sqlx::raw_sql(statement).execute(&mut connection).await;
        done.expect("sound SQL");
    }
    let books = Books::draw_up(&mut connection, RUN, 1).await;
    books.expect("the books")
}

#[tokio::test]
async fn sound_books_balance() {
    let books = books(&[SOUND]).await;
    assert_eq!(books.problems, [""; 0]);
    let told = books.to_string();
    for line in [
        "3 placed = 1 confirmed + 0 cancelled for stock + 1 for payment + 1 dead-lettered",
        "10 at the start = 1 sold + 8 left + 1 held for dead-lettered orders",
        "$1.00 charged = $1.00 for confirmed orders",
        "2, one for each order that has ended",
        "1 exhausted in stock.payment.dlq",
        "They balance.",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[tokio::test]
async fn each_fault_is_told() {
    for (fault, problem) in [
        (
            "INSERT INTO payment.charges VALUES ('b', 7, 1, 100)",
            "order 1, confirmed, $1.00 due at most, was charged 2 times, $2.00 in all",
        ),
        (
            "INSERT INTO payment.charges VALUES ('b', 7, 2, 100)",
            "order 2, cancelled for payment, $1.00 due at most, was charged 1 times",
        ),
        (
            "DELETE FROM payment.charges",
            "$0.00 charged is not $1.00 due",
        ),
        (
            "INSERT INTO inventory.movements VALUES (7, 5, 1, 1, 7, 1);
             UPDATE inventory.shelves SET remaining = 7 WHERE run = 7",
            "order 1 asked for 1 units, 2 were reserved and 0 released",
        ),
        (
            "UPDATE inventory.shelves SET remaining = 7 WHERE run = 7",
            "units: 1 + 7 + 1 is not 10",
        ),
        (
            "UPDATE inventory.movements SET remaining = 7 WHERE run = 7 AND line = 2",
            "line 2 of the stock ledger, for order 2: 7 units left, and 8 by the count",
        ),
        (
            "DELETE FROM inventory.movements WHERE run = 7 AND line = 3",
            "line 3 of the stock ledger is missing",
        ),
        (
            r#"UPDATE "order".orders SET ends = 2 WHERE run = 7 AND number = 1"#,
            "order 1 has 2 ends, the last: confirmed",
        ),
        (r#"DELETE FROM "order".letters"#, "order 3 has no end"),
        (
            r#"UPDATE "order".letters SET number = 1"#,
            "order 1 is confirmed, and dead-lettered",
        ),
        (
            r#"DELETE FROM "order".orders WHERE run = 7 AND number = 3"#,
            "2 orders are placed, and should be 3",
        ),
        (
            r#"UPDATE "order".orders SET nth = 3 - nth WHERE run = 7 AND number < 3"#,
            "customer 1: purchase 1 (order 2) came after purchase 2",
        ),
        (
            "INSERT INTO notification.notices VALUES (7, 2, 'cancelled')",
            "order 2: 2 notices to the customer",
        ),
        (
            "DELETE FROM notification.notices",
            "order 1: 0 notices to the customer",
        ),
        (
            "UPDATE notification.notices SET said = 'cancelled' WHERE number = 1",
            "order 1 is confirmed, its customer heard: cancelled",
        ),
        (
            "INSERT INTO notification.notices VALUES (7, 4, 'confirmed')",
            "order 4 is unknown, its customer heard: confirmed",
        ),
    ] {
        let books = books(&[SOUND, fault]).await;
        let told = books.to_string();
        assert!(told.contains(problem), "{fault}\n{problem}\n{told}");
        assert!(told.contains("They do NOT balance"), "{told}");
    }
}

#[tokio::test]
async fn the_shelf_gives_no_more_than_it_has() {
    let databases = Databases::create().expect("a folder");
    let inventory = Store::open(ServiceName::Inventory, &databases).await;
    let inventory = inventory.expect("a database");
    let mut tx = inventory.pool.begin().await.expect("a transaction");
    let order = |run| OrderId { run, number: 1 };
    let line = |line, left| LedgerLine { line, left };
    let taken = shelf::take(&mut tx, 3, order(1), 2).await;
    assert_eq!(taken.expect("taken"), (true, line(1, 1)));
    let taken = shelf::take(&mut tx, 3, order(1), 2).await;
    assert_eq!(taken.expect("refused"), (false, line(2, 1)));
    let back = shelf::put_back(&mut tx, order(1), 2).await;
    assert_eq!(back.expect("put back"), line(3, 3));
    let taken = shelf::take(&mut tx, 3, order(2), 3).await;
    assert_eq!(taken.expect("another run's"), (true, line(1, 0)));
    let taken = shelf::take(&mut tx, 3, order(3), 4).await;
    assert_eq!(taken.expect("refused"), (false, line(1, 3)));
}
