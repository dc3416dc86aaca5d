use std::borrow::Cow;

use eventkit::HandlerDefinition;
use eventkit::prelude::*;

use crate::RawRecord;

/// The event of most tests: the n-th of its key.
#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(type = "Step.v1", topic = "steps", key = key)]
pub struct Step {
    pub key: String,
    pub n: u64,
}

impl Step {
    /// As another producer would write it, with an id made of key and number.
    pub fn record(key: impl Into<String>, n: u64) -> RawRecord {
        let step = Step { key: key.into(), n };
        let id = format!("{}/{n}", step.key);
        let payload = serde_json::to_vec(&step).expect("a step is JSON");
        RawRecord::of_type(Step::TYPE, &id)
            .key(step.key.into_bytes())
            .payload(payload)
    }
}

/// Handlers on a topic of this test's own, whatever their event says.
pub fn on<'t>(
    topic: impl Into<Cow<'t, str>>,
    handlers: impl IntoIterator<Item = HandlerDefinition>,
) -> Vec<HandlerDefinition> {
    // A definition holds names for the program's whole life.
    let topic: &'static str = topic.into().into_owned().leak();
    handlers
        .into_iter()
        .map(|mut handler| {
            handler.topic = topic;
            handler
        })
        .collect()
}
