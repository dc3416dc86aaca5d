use std::collections::HashMap;

use rdkafka::message::OwnedHeaders;

use crate::app::GroupTopology;
use crate::event::headers;
use crate::ffi::append_header;

/// What a dead letter says of itself, beside its original headers.
pub(crate) struct Story {
    original: OwnedHeaders,
    said: HashMap<&'static str, String>,
}

/// Where a dead letter goes back to, and with which headers.
pub(crate) struct WayBack {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) headers: OwnedHeaders,
}

/// Of the headers that a dead letter has of its own, those that lead back.
const LEADING: [&str; 5] = [
    headers::ORIGINAL_TOPIC,
    headers::ORIGINAL_PARTITION,
    headers::GROUP,
    headers::HANDLER,
    headers::REPLAY_COUNT,
];

impl Default for Story {
    fn default() -> Self {
        Self {
            original: OwnedHeaders::new_with_capacity(24),
            said: HashMap::new(),
        }
    }
}

impl Story {
    /// Takes in the next header.
    pub(crate) fn read(&mut self, name: &[u8], value: Option<&[u8]>) {
        if !headers::is_own(name) {
            append_header(&self.original, name, value);
        } else if let Some(known) = LEADING.iter().find(|known| known.as_bytes() == name)
            && let Some(value) = value
        {
            let value = String::from_utf8_lossy(value).into_owned();
            self.said.insert(known, value);
        }
    }

    /// `None` when it names no topic and handler of the group: headers come
    /// from outside and may say anything.
    pub(crate) fn way_back(mut self, group: &str, declared: &GroupTopology) -> Option<WayBack> {
        let topic = self.said.remove(headers::ORIGINAL_TOPIC)?;
        let handler = self.said.remove(headers::HANDLER);
        let ours = self
            .said
            .get(headers::GROUP)
            .is_some_and(|named| named == group)
            && declared.topics.contains(&topic)
            && handler
                .as_ref()
                .is_none_or(|handler| declared.handlers.contains(handler));
        if !ours {
            return None;
        }
        let round: u32 = self
            .said
            .get(headers::REPLAY_COUNT)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let replay_for = format!("{group}/{}", handler.as_deref().unwrap_or("*"));
        let round = round.saturating_add(1).to_string();
        for (name, value) in [
            (headers::REPLAY_FOR, replay_for),
            (headers::REPLAY_COUNT, round),
        ] {
            append_header(&self.original, name.as_bytes(), Some(value.as_bytes()));
        }
        Some(WayBack {
            partition: self
                .said
                .get(headers::ORIGINAL_PARTITION)
                .and_then(|n| n.parse().ok())
                .filter(|partition| *partition >= 0),
            topic,
            headers: self.original,
        })
    }
}
