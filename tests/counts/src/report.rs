use std::collections::BTreeSet;
use std::fmt;

use crate::Figures;

/// How far off a figure may be, in percent.
const TOLERANCE: f64 = 2.0;

/// What was counted beside what was expected.
#[derive(Debug)]
pub struct Report(Vec<Row>);

#[derive(Debug)]
struct Row {
    name: String,
    expected: Option<f64>,
    counted: Option<f64>,
}

impl Report {
    /// Every name of either side is a row.
    pub fn new(expected: &Figures, counted: &Figures) -> Self {
        let names: BTreeSet<&String> = expected.0.keys().chain(counted.0.keys()).collect();
        let row = |name: &String| Row {
            name: name.clone(),
            expected: expected.0.get(name).copied(),
            counted: counted.0.get(name).copied(),
        };
        Self(names.into_iter().map(row).collect())
    }

    /// Whether every figure is what was expected.
    pub fn holds(&self) -> bool {
        self.0.iter().all(Row::holds)
    }
}

impl Row {
    /// In percent; more than expected is positive.
    fn off(&self) -> Option<f64> {
        let (expected, counted) = self.expected.zip(self.counted)?;
        Some((counted - expected) / expected * 100.0)
    }

    fn holds(&self) -> bool {
        self.off().is_some_and(|off| off.abs() <= TOLERANCE)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |figure: Option<f64>| figure.map_or("none".into(), |it| format!("{it:.1}"));
        writeln!(
            f,
            "{:<18}{:>12}{:>12}",
            "instructions/event", "expected", "counted"
        )?;
        for row in &self.0 {
            let (expected, counted) = (figure(row.expected), figure(row.counted));
            write!(f, "{:<18}{expected:>12}{counted:>12}", row.name)?;
            if let Some(off) = row.off() {
                write!(f, "{off:>+9.2} %")?;
            }
            writeln!(f, "{}", if row.holds() { "" } else { "  OFF" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expected: &str, counted: &str) -> bool {
        let figures = |text| Figures::expected(text).unwrap();
        Report::new(&figures(expected), &figures(counted)).holds()
    }

    #[test]
    fn more_and_less_than_expected_fail_alike_and_so_does_a_missing_figure() {
        assert!(holds("a = 100.0", "a = 101.9"));
        assert!(holds("a = 100.0", "a = 98.1"));
        assert!(!holds("a = 100.0", "a = 102.1"));
        assert!(!holds("a = 100.0", "a = 97.9"));
        assert!(!holds("a = 100.0", "a = 100.0\nb = 1.0"));
        assert!(!holds("a = 100.0\nb = 1.0", "a = 100.0"));
    }
}
