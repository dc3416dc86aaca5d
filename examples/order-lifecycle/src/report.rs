//! Tables and figures.

use std::fmt::Display;
use std::time::Duration;

use crate::ledger::Counts;
use crate::services::Service;

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

/// What each service did. The times run from an event's publication to the end
/// of its handler, retries included.
pub(crate) fn table(services: &[Service]) {
    println!("  service        handled  duplicates  retries  dead letters   p50 ms   p99 ms");
    for service in services {
        let totals = service.totals();
        println!(
            "  {:<13} {:>8}  {:>10}  {:>7}  {:>12}  {:>7}  {:>7}",
            service.name,
            thousands(totals.handled),
            thousands(totals.duplicates),
            thousands(totals.retries),
            thousands(totals.dead_letters),
            thousands(service.timings().percentile(50.0)),
            thousands(service.timings().percentile(99.0)),
        );
    }
    for remark in services.iter().filter_map(Service::remark) {
        println!("  Analytics adds: {remark}.");
    }
}

pub(crate) fn rate(services: &[Service], counts: Counts, took: Duration) {
    let per_second = |count: f64| thousands((count / took.as_secs_f64()).round() as u64);
    let deliveries: u64 = services.iter().map(Service::deliveries).sum();
    let here = if services.len() > 1 { "" } else { " here" };
    println!(
        "  {} orders in {:.2} s: {} orders/s, {} deliveries/s{here}",
        thousands(counts.settled()),
        took.as_secs_f64(),
        per_second(f64::from(counts.settled())),
        per_second(deliveries as f64),
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
