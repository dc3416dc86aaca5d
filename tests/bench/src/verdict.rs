//! What is asked of eventkit, and whether it was reached.

use crate::table::{median, spread};

pub struct Verdict {
    what: String,
    values: Vec<f64>,
    bound: Bound,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    pub fn at_least(what: &str, values: Vec<f64>, bound: f64) -> Self {
        Self {
            what: what.to_owned(),
            values,
            bound: Bound::AtLeast(bound),
        }
    }

    pub fn at_most(what: &str, values: Vec<f64>, bound: f64) -> Self {
        Self {
            what: what.to_owned(),
            values,
            bound: Bound::AtMost(bound),
        }
    }

    /// The median decides.
    pub fn is_hit(&self) -> bool {
        let median = median(&self.values);
        match self.bound {
            Bound::AtLeast(bound) => median >= bound,
            Bound::AtMost(bound) => median <= bound,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.is_hit() { "hit " } else { "MISS" };
        let asked = match self.bound {
            Bound::AtLeast(bound) => format!("at least {bound}"),
            Bound::AtMost(bound) => format!("at most {bound}"),
        };
        write!(
            f,
            "  {word}  {}: {} ({asked})",
            self.what,
            spread(&self.values)
        )
    }
}
