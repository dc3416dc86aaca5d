//! One order's way through the services, as a tree: each event under the one
//! that caused it.

use std::fmt;
use std::time::SystemTime;

use eventkit::Metadata;

use crate::events::OrderId;
use crate::ledger::Entry;

#[derive(Debug, Clone)]
pub(crate) struct Journey {
    pub(crate) order: OrderId,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    id: String,
    cause: Option<String>,
    event_type: String,
    source: String,
    time: SystemTime,
    remark: String,
}

impl Journey {
    pub(crate) fn new(order: OrderId) -> Self {
        let steps = Vec::new();
        Self { order, steps }
    }

    /// The event that it begins with.
    pub(crate) fn begins(&mut self, id: String, remark: String) {
        self.steps.push(Step {
            id,
            cause: None,
            event_type: "OrderPlaced.v1".into(),
            source: "order".into(),
            time: SystemTime::now(),
            remark,
        });
    }

    pub(crate) fn step(&mut self, event: &Metadata, entry: &Entry) {
        if self.steps.iter().any(|step| step.id == event.id) {
            return;
        }
        let remark = match entry {
            Entry::Reserved { units, line } => format!("{units} reserved, {} left", line.left),
            Entry::Insufficient { line } => format!("only {} left", line.left),
            Entry::Released { units, .. } => format!("{units} back on the shelf"),
            Entry::Charged { attempts: 1, .. } => "at the first attempt".into(),
            Entry::Charged { attempts, .. } => {
                format!("at attempt {attempts}, the gateway was busy")
            }
            Entry::Declined { reason } => reason.clone(),
            Entry::Confirmed | Entry::Cancelled { .. } | Entry::Notified => String::new(),
        };
        self.steps.push(Step {
            id: event.id.clone(),
            cause: event.causation_id.clone(),
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            time: event.time.unwrap_or(SystemTime::UNIX_EPOCH),
            remark,
        });
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        step: &Step,
        indent: &str,
        bend: &str,
    ) -> fmt::Result {
        let since = |step: &Step| {
            let start = self.steps.first().map_or(step.time, |first| first.time);
            step.time
                .duration_since(start)
                .unwrap_or_default()
                .as_millis()
        };
        let name = format!("{indent}{bend}{}", step.event_type);
        let Step { source, remark, .. } = step;
        let line = format!("  {name:<38} {source:<13} +{:>4} ms  {remark}", since(step));
        writeln!(f, "{}", line.trim_end())?;
        let below: Vec<&Step> = self
            .steps
            .iter()
            .filter(|other| other.cause.as_ref() == Some(&step.id))
            .collect();
        let indent = match bend {
            "" => indent.to_owned(),
            "├─ " => format!("{indent}│  "),
            _ => format!("{indent}   "),
        };
        for (index, next) in below.iter().enumerate() {
            let bend = if index + 1 < below.len() {
                "├─ "
            } else {
                "└─ "
            };
            self.write(f, next, &indent, bend)?;
        }
        Ok(())
    }
}

impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.first() {
            Some(first) => self.write(f, first, "", ""),
            None => Ok(()),
        }
    }
}
