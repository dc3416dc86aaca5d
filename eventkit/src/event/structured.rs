//! CloudEvents in structured mode: attributes and data in one JSON document.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::headers;

/// A structured event, taken apart: its attributes as text, its data as JSON.
#[derive(Debug)]
pub(crate) struct Structured {
    attributes: HashMap<String, String>,
    data: Vec<u8>,
}

/// Whether a record of this content type has a structured CloudEvent as its payload.
pub(crate) fn is_content_type(value: &str) -> bool {
    value
        .get(..headers::STRUCTURED_JSON.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(headers::STRUCTURED_JSON))
}

impl Structured {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, serde_json::Error> {
        // Two passes: only a plain field can lend its JSON as it stands.
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let data = serde_json::from_slice::<Data<'_>>(payload)?;
        let mut attributes: HashMap<String, serde_json::Value> = serde_json::from_slice(payload)?;
        attributes.remove("data");
        Ok(Self {
            data: data
                .data
                .map_or_else(Vec::new, |data| data.get().as_bytes().to_vec()),
            attributes: attributes
                .into_iter()
                .filter_map(|(name, value)| Some((name, as_text(value)?)))
                .collect(),
        })
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }
}

fn as_text(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_attributes_from_data() {
        let event = Structured::parse(
            br#"{"specversion":"1.0","id":"7","type":"OrderPlaced.v1","source":"shop","data":{"a":[1, 2]}}"#,
        )
        .unwrap();
        assert_eq!(event.attribute("type"), Some("OrderPlaced.v1"));
        assert_eq!(event.data(), br#"{"a":[1, 2]}"#);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Structured::parse(&bytes);
        }
    }
}
