//! The typed indicators within an object that came as STIX, for exports that know no patterns.

use serde::Deserialize;

use super::pattern;
use crate::bulletin::Content;
use crate::clock::Timestamp;

/// What an indicator with a simple pattern says.
#[derive(Clone, Debug)]
pub struct TypedIndicator {
    /// The indicators; one of them suffices. Each has the confidence that the object has; 0, which is
    /// not for detection, where it says that it is of something benign.
    pub contents: Vec<Content>,
    /// From when it is good; `None`: as its bulletin.
    pub valid_from: Option<Timestamp>,
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
    confidence: Option<u8>,
    #[serde(default)]
    indicator_types: Vec<String>,
    valid_from: Option<Timestamp>,
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
    let mut contents = pattern::indicators(&pattern)?;
    let benign = fields.indicator_types.iter().any(|one| one == "benign");
    if let Some(confidence) = if benign { Some(0) } else { fields.confidence } {
        for content in &mut contents {
            grade(content, confidence);
        }
    }
    Some(TypedIndicator {
        contents,
        valid_from: fields.valid_from,
        valid_until: fields.valid_until,
    })
}

/// Notes the confidence with an indicator of those that patterns become.
fn grade(content: &mut Content, confidence: u8) {
    let context = match content {
        Content::Ip(one) => &mut one.context,
        Content::IpRange(one) => &mut one.context,
        Content::Domain(one) => &mut one.context,
        Content::Url(one) => &mut one.context,
        Content::Email(one) => &mut one.context,
        Content::AsNumber(one) => &mut one.context,
        Content::File(one) => &mut one.context,
        Content::Certificate(one) => &mut one.context,
        Content::TlsFingerprint(one) => &mut one.context,
        _ => return,
    };
    context.get_or_insert_default().confidence = Some(confidence);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The confidence that a domain has of an indicator with these properties.
    fn confidence(more: &str) -> Option<u8> {
        let json = format!(
            "{{\"type\":\"indicator\",\"pattern_type\":\"stix\",\
             \"pattern\":\"[domain-name:value = 'a.example']\"{more}}}"
        );
        match typed_indicator(&json).unwrap().contents.as_slice() {
            [Content::Domain(one)] => one.context.as_ref()?.confidence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_indicator_says_of_its_use_goes_with_its_values() {
        assert_eq!(confidence(""), None);
        assert_eq!(confidence(",\"confidence\":70"), Some(70));
        assert_eq!(confidence(",\"confidence\":0"), Some(0));
        let benign = ",\"confidence\":90,\"indicator_types\":[\"benign\"]";
        assert_eq!(confidence(benign), Some(0));
    }
}
