//! Tables and figures.

use std::fmt::Display;
use std::time::Duration;

use crate::args::ServiceName;
use crate::figures::{Timings, Totals};

/// `1234567` cents are `$12,345.67`.
pub(crate) fn dollars(cents: u64) -> String {
    format!("${}.{:02}", thousands(cents / 100), cents % 100)
}

/// `6919` is `6,919`.
pub(crate) fn thousands(number: impl Display + Copy) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let behind = digits.len() - index;
        if index > 0 && behind.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What a service did.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) service: ServiceName,
    pub(crate) totals: Totals,
    pub(crate) timings: Timings,
    pub(crate) remark: Option<String>,
}

/// What each service did. The times run from the transaction that tells of an event
/// to the end of its handler: outbox, broker, waiting and retries included.
pub(crate) fn table(rows: &[Row]) {
    println!("  service        handled  duplicates  retries  dead letters   p50 ms   p99 ms");
    for row in rows {
        println!(
            "  {:<13} {:>8}  {:>10}  {:>7}  {:>12}  {:>7}  {:>7}",
            row.service,
            thousands(row.totals.handled),
            thousands(row.totals.duplicates),
            thousands(row.totals.retries),
            thousands(row.totals.dead_letters),
            thousands(row.timings.percentile(50.0)),
            thousands(row.timings.percentile(99.0)),
        );
    }
    for remark in rows.iter().filter_map(|row| row.remark.as_ref()) {
        println!("  Analytics adds: {remark}.");
    }
}

pub(crate) fn rate(orders: i64, took: Duration) {
    let per_second = (orders as f64 / took.as_secs_f64()).round() as u64;
    println!(
        "  {} orders in {:.2} s: {} orders/s",
        thousands(orders),
        took.as_secs_f64(),
        thousands(per_second),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped() {
        assert_eq!(dollars(1_234_567), "$12,345.67");
        assert_eq!(dollars(5), "$0.05");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(-1000), "-1,000");
        assert_eq!(thousands(-100), "-100");
    }
}
