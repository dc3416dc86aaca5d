//! Are events known as handled for as long as they can come again?

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::configs::Admin;
use super::plan::Plan;
use crate::error::chain;

const RETENTION: &str = "retention.ms";
const POLICY: &str = "cleanup.policy";

/// Warns of topics that keep their records for longer than the inbox keeps its rows.
pub(super) async fn compare(plan: &Plan) {
    let Some(keep) = plan.app.inbox.as_ref().and_then(|inbox| inbox.keep()) else {
        return;
    };
    let handlers = plan.handlers.iter().filter(|handler| handler.inbox);
    let topics: BTreeSet<&str> = handlers.map(|handler| handler.topic).collect();
    if topics.is_empty() {
        return;
    }
    let asked = async {
        let admin = Admin::new(&plan.topology.connection, plan.settings.startup_timeout)?;
        admin.settings(&topics, &[RETENTION, POLICY]).await
    };
    let settings = match asked.await {
        Ok(settings) => settings,
        Err(error) => {
            tracing::warn!(
                target: "eventkit::inbox",
                error = chain(&error),
                "whether the inbox keeps its rows for long enough cannot be told: \
                 the topics' `{RETENTION}` cannot be read"
            );
            return;
        }
    };
    for (topic, settings) in &settings {
        match retention(settings) {
            Retention::Time(time) if time <= keep => {}
            Retention::Unknown => {}
            longer => tracing::warn!(
                target: "eventkit::inbox",
                topic,
                "the topic keeps its records {longer}, the inbox its rows for {}: a group that \
                 reads an older record again has its effect again; `Inbox::keep` for longer",
                humantime::format_duration(keep)
            ),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Retention {
    Time(Duration),
    /// Without end, or for as long as there is no newer record of the key.
    Endless,
    Unknown,
}

impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Time(time) => write!(f, "for {}", humantime::format_duration(*time)),
            Self::Endless | Self::Unknown => f.write_str("without end"),
        }
    }
}

fn retention(settings: &BTreeMap<String, String>) -> Retention {
    let deletes = |policy: &String| policy.split(',').any(|part| part.trim() == "delete");
    if !settings.get(POLICY).is_none_or(deletes) {
        return Retention::Endless;
    }
    match settings.get(RETENTION).map(|text| text.parse::<i64>()) {
        Some(Ok(millis)) => u64::try_from(millis).map_or(Retention::Endless, |millis| {
            Retention::Time(Duration::from_millis(millis))
        }),
        Some(Err(_)) | None => Retention::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Retention {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        retention(&settings.collect())
    }

    #[test]
    fn a_compacted_topic_keeps_records_without_end() {
        let week = (RETENTION, "604800000");
        let of_a_week = Retention::Time(Duration::from_secs(7 * 24 * 60 * 60));
        assert_eq!(read(&[week, (POLICY, "delete")]), of_a_week);
        assert_eq!(read(&[week, (POLICY, "compact,delete")]), of_a_week);
        assert_eq!(read(&[week]), of_a_week);
        assert_eq!(read(&[week, (POLICY, "compact")]), Retention::Endless);
        assert_eq!(
            read(&[(RETENTION, "-1"), (POLICY, "delete")]),
            Retention::Endless
        );
        assert_eq!(read(&[(RETENTION, "soon")]), Retention::Unknown);
        assert_eq!(read(&[]), Retention::Unknown);
    }
}
