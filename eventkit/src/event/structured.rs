//! CloudEvents in structured mode: attributes and data in one JSON document.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
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
        let data = serde_json::from_slice::<Data<'_>>(payload)?.bytes()?;
        let mut attributes: HashMap<String, serde_json::Value> = serde_json::from_slice(payload)?;
        attributes.retain(|name, _| name != "data" && name != "data_base64");
        Ok(Self {
            data,
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

/// The data as JSON, or as the text of its bytes.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decoded")]
    data_base64: Option<Vec<u8>>,
}

impl Data<'_> {
    fn bytes(self) -> Result<Vec<u8>, serde_json::Error> {
        match (self.data, self.data_base64) {
            (Some(_), Some(_)) => Err(serde_json::Error::custom("both `data` and `data_base64`")),
            (Some(data), None) => Ok(data.get().as_bytes().to_vec()),
            (None, bytes) => Ok(bytes.unwrap_or_default()),
        }
    }
}

fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(&*text).map_err(D::Error::custom))
        .transpose()
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

    #[test]
    fn data_may_be_bytes() {
        let event = Structured::parse(br#"{"type":"OrderPlaced.v1","data_base64":"eyJhIjoxfQ=="}"#)
            .unwrap();
        assert_eq!(event.data(), br#"{"a":1}"#);
        assert_eq!(event.attribute("data_base64"), None);
        for bad in [
            r#"{"data_base64":"eyJhIjoxfQ"}"#,
            r#"{"data_base64":"?"}"#,
            r#"{"data_base64":7}"#,
            r#"{"data":{},"data_base64":"eyJhIjoxfQ=="}"#,
        ] {
            assert!(Structured::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Structured::parse(&bytes);
        }
    }
}
