//! What stands in a feed in the place of an event that is not there any more.
//!
//! MISP reads of a feed what the manifest names with a newer time stamp, and does not hear of what goes: an event
//! that it has read once stays. So the event stays named, and empty: each attribute under its own UUID, deleted,
//! and with the type, category and value that MISP itself puts there where it is set to sanitise what is
//! deleted (`Security.sanitise_attribute_on_delete`), so that the value goes with it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::feed::{FeedEvent, entry_of};
use crate::clock::Timestamp;

/// The title of an event that was emptied.
const INFO: &str = "Withdrawn: its contents are not here any more";
/// What MISP itself puts in the place of a value.
const DELETED: &str = "deleted";
/// How long an emptied event stays in a feed: who has not looked for so long does not read it any more.
const KEPT: Duration = Duration::from_hours(365 * 24);

/// The event that takes the place of one of ours, of which `text` is the file: since `now`, and newer than it in
/// any case. One that is empty already stays as it is, for a year; `None` where it is over, or no event.
pub fn tombstone(text: &str, now: Timestamp) -> Option<FeedEvent> {
    let mut whole: Value = serde_json::from_str(text).ok()?;
    let event = whole.get_mut("Event")?.as_object_mut()?;
    let uuid = event.get("uuid")?.as_str()?.to_owned();
    let before = seconds(event);
    let now = now.micros() / 1_000_000;
    if is_empty(event) {
        let kept = i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX);
        if now.saturating_sub(before) > kept {
            return None;
        }
    } else {
        let at = now.max(before.saturating_add(1)).to_string();
        let attributes = emptied(event.get("Attribute"), &at);
        let objects = event.get("Object").and_then(Value::as_array);
        let objects = objects.into_iter().flatten().map(|object| {
            let mut left = picked(
                object,
                &[
                    "uuid",
                    "name",
                    "meta-category",
                    "template_uuid",
                    "template_version",
                ],
            );
            left.insert("timestamp".into(), at.clone().into());
            left.insert("deleted".into(), true.into());
            left.insert(
                "Attribute".into(),
                emptied(object.get("Attribute"), &at).into(),
            );
            Value::Object(left)
        });
        let objects: Vec<Value> = objects.collect();
        let mut left = picked(
            &Value::Object(event.clone()),
            &["uuid", "date", "Orgc", "extends_uuid"],
        );
        left.insert("info".into(), INFO.into());
        left.insert("timestamp".into(), at.clone().into());
        left.insert("publish_timestamp".into(), at.into());
        left.insert("published".into(), true.into());
        left.insert("analysis".into(), "2".into());
        left.insert("threat_level_id".into(), "4".into());
        left.insert("Tag".into(), json!([]));
        left.insert("Attribute".into(), attributes.into());
        left.insert("Object".into(), objects.into());
        *event = left;
    }
    Some(FeedEvent {
        manifest: entry_of(&whole["Event"]),
        event: whole.to_string(),
        hashes: String::new(),
        uuid,
    })
}

/// An event that is there again after it was emptied: newer than what stands in its place, so that MISP takes
/// it. As it is where nothing was emptied.
pub fn newer_than_tombstone(event: FeedEvent, before: &str) -> FeedEvent {
    // Nearly always there is none.
    if !before.contains(INFO) {
        return event;
    }
    let before: Value = serde_json::from_str(before).unwrap_or_default();
    let before = before["Event"]
        .as_object()
        .filter(|before| is_empty(before));
    let Some(at) = before.map(|before| seconds(before).saturating_add(1)) else {
        return event;
    };
    let Ok(mut whole) = serde_json::from_str::<Value>(&event.event) else {
        return event;
    };
    renew(&mut whole, &at.to_string());
    FeedEvent {
        manifest: entry_of(&whole["Event"]),
        event: whole.to_string(),
        ..event
    }
}

/// Puts a later time in the place of every time stamp.
fn renew(value: &mut Value, at: &str) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if matches!(name.as_str(), "timestamp" | "publish_timestamp") {
                    *value = at.into();
                } else {
                    renew(value, at);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| renew(one, at)),
        _ => {}
    }
}

/// Whether an event was emptied. The title alone says nothing: originators may choose the same. An event with contents
/// has tags, its TLP at the least.
fn is_empty(event: &Map<String, Value>) -> bool {
    fn all<'a>(of: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
        let all = of.get(name).and_then(Value::as_array);
        all.into_iter().flatten()
    }
    let objects = all(event, "Object").filter_map(Value::as_object);
    let in_objects = objects.flat_map(|object| all(object, "Attribute"));
    let mut attributes = all(event, "Attribute").chain(in_objects);
    event.get("info").is_some_and(|info| info == INFO)
        && all(event, "Tag").next().is_none()
        && attributes.all(|one| one["deleted"] == true && one["value"] == DELETED)
}

fn seconds(event: &Map<String, Value>) -> i64 {
    let text = event.get("timestamp").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn picked(of: &Value, names: &[&str]) -> Map<String, Value> {
    let found = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), of.get(*name)?.clone())));
    found.collect()
}

fn emptied(attributes: Option<&Value>, at: &str) -> Vec<Value> {
    let attributes = attributes.and_then(Value::as_array).into_iter().flatten();
    let empty = |attribute: &Value| {
        let mut left = picked(attribute, &["uuid", "object_relation"]);
        left.insert("type".into(), "comment".into());
        left.insert("category".into(), "Other".into());
        left.insert("value".into(), DELETED.into());
        left.insert("comment".into(), "".into());
        left.insert("to_ids".into(), false.into());
        left.insert("deleted".into(), true.into());
        left.insert("timestamp".into(), at.into());
        Value::Object(left)
    };
    attributes.map(empty).collect()
}
