//! The typed indicators within an object that came as STIX, for exports that know no patterns.

use serde::Deserialize;

use super::pattern;
use crate::bulletin::Content;
use crate::clock::Timestamp;

/// What an indicator with a simple pattern says.
#[derive(Clone, Debug)]
pub struct TypedIndicator {
    /// The indicators; one of them suffices.
    pub contents: Vec<Content>,
    /// Until when it is good; `None`: as long as its bulletin.
    pub valid_until: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: String,
    pattern: String,
    pattern_type: String,
    #[serde(default)]
    revoked: bool,
    valid_until: Option<Timestamp>,
}

/// The typed indicators of a STIX object; `None` where it is no indicator, was revoked, or has a
/// pattern that says more than a choice of values.
pub fn typed_indicator(json: &str) -> Option<TypedIndicator> {
    let fields: Fields = serde_json::from_str(json).ok()?;
    if fields.kind != "indicator" || fields.pattern_type != "stix" || fields.revoked {
        return None;
    }
    let pattern = pattern::parse(&fields.pattern).ok()?;
    Some(TypedIndicator {
        contents: pattern::indicators(&pattern)?,
        valid_until: fields.valid_until,
    })
}
