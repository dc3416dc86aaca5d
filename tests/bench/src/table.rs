//! Prints what was measured: medians, with the least and the most beside them.

use crate::load::Scale;
use crate::report::Report;
use crate::rounds::Rounds;
use crate::workloads::Workload;

pub fn print(workload: &Workload, rounds: &Rounds, scale: Scale) {
    println!("\n{}: {}", workload.name, workload.about);
    let head = std::iter::once("")
        .chain(workload.columns.iter().copied())
        .chain(["checks"]);
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for (name, reports) in &rounds.cases {
        let figures = workload.columns.iter().map(|column| {
            let figures = rounds.figures(name, column);
            if figures.is_empty() {
                "–".to_owned()
            } else {
                spread(&figures)
            }
        });
        let name = std::iter::once(name.clone());
        rows.push(name.chain(figures).chain([checks(reports)]).collect());
    }
    print_aligned(&rows);
    if scale == Scale::Short {
        println!("  a short run: the times above say nothing");
        return;
    }
    for verdict in (workload.verdicts)(rounds) {
        println!("{verdict}");
    }
}

/// The first and the last column to the left, figures to the right.
fn print_aligned(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => print!("  {cell:width$}"),
                last if last == columns - 1 => println!("  {cell}"),
                _ => print!("  {cell:>width$}"),
            }
        }
    }
}

/// What is not zero.
fn checks(reports: &[Report]) -> String {
    if reports.iter().all(Report::counts) {
        return "all zero".to_owned();
    }
    let mut found = Vec::new();
    for report in reports {
        for (name, value) in report.checks.iter().filter(|(_, value)| **value > 0) {
            found.push(format!("{value} {name}"));
        }
    }
    format!("DOES NOT COUNT: {}", found.join(", "))
}

/// `median (least … most)`
pub fn spread(values: &[f64]) -> String {
    if let [only] = values {
        return number(*only);
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ({} … {})",
        number(median(values)),
        number(least),
        number(most)
    )
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// Three digits or more, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 1_000.0 {
        return format!("{value:.0}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_the_median_between_the_extremes() {
        assert_eq!(spread(&[1_234_567.0, 3.0, 900.0]), "900 (3.00 … 1,234,567)");
        assert_eq!(median(&[1.0, 2.0]), 1.5);
    }
}
