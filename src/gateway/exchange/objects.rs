//! The STIX objects of a bulletin. Parts that came as STIX are those; what else says something becomes
//! objects where `formats` can write it, and stands here then.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::bulletin::Content;
use crate::node::ItemView;

/// The longest type of an object (STIX 2.1, section 3.1), before the dashes of an id.
const MAX_TYPE: usize = 250;
/// A UUID as text.
const UUID: usize = 36;

/// The objects of a bulletin, each with the number of its part.
pub(super) fn objects(item: &ItemView) -> impl Iterator<Item = (usize, &str)> {
    let parts = item.parts.iter().enumerate();
    parts.filter_map(|(at, part)| match &part.content {
        Some(Content::Stix(stix)) => Some((at, stix.json.as_str())),
        _ => None,
    })
}

/// The object of a part, where that is still there.
pub(super) fn object(item: &ItemView, part: usize) -> Option<&str> {
    objects(item)
        .find(|(at, _)| *at == part)
        .map(|(_, json)| json)
}

/// A bundle of objects as they stand.
pub(super) fn bundle<'a>(objects: impl Iterator<Item = &'a str>) -> String {
    let objects: Vec<&str> = objects.collect();
    format!(
        "{{\"type\":\"bundle\",\"objects\":[{}]}}",
        objects.join(",")
    )
}

/// Every id that an object names anywhere, in references or in text, but its own.
pub(super) fn named(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let own = object.get("id").and_then(Value::as_str);
    walk(object, &mut found);
    if let Some(own) = own {
        found.remove(own);
    }
    found
}

fn walk(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => ids(text, found),
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(map) => {
            for (name, value) in map {
                ids(name, found);
                walk(value, found);
            }
        }
        _ => {}
    }
}

fn ids(text: &str, found: &mut BTreeSet<String>) {
    for (at, dashes) in text.match_indices("--") {
        let rest = text.get(at + dashes.len()..at + dashes.len() + UUID);
        let Some(uuid) = rest.filter(|rest| Uuid::try_parse(rest).is_ok()) else {
            continue;
        };
        let before = text[..at].bytes().rev();
        let letters =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let kind = before.take(MAX_TYPE).take_while(letters).count();
        if kind > 0 {
            let kind = &text[at - kind..at];
            found.insert(format!("{kind}--{uuid}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let uuid = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02x}");
        let id = |n: u8| format!("x-tool--{}", uuid(n));
        let object = json!({
            "id": id(0), "source_ref": id(1), "object_refs": [id(2), id(0)],
            "description": format!("see {} and (malware--{})", id(3), uuid(4)),
            "nested": {"deep": [{"at": id(5)}], id(6): true},
            "other": "a--b -- indicator--1234", "short": format!("--{}", uuid(7)),
        });
        let mut expected: BTreeSet<String> = [1, 2, 3, 5, 6].map(id).into();
        expected.insert(format!("malware--{}", uuid(4)));
        assert_eq!(named(&object), expected);
    }
}
