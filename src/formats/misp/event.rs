//! An event as it is written. Numbers are strings in the core format, and numbers in what some tools
//! write: both are read.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use super::super::derived::derived;
use crate::clock::Timestamp;

/// The largest event that is read.
pub const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// A file that is no event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MispError {
    /// Too large.
    #[error("the event has {bytes} bytes; at most {MAX_EVENT_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, or not an event's.
    #[error("it is no MISP event: {0}")]
    NoEvent(String),
    /// Its distribution forbids what we do.
    #[error(
        "its distribution is {0}, so it is not to be shared on; change that in MISP if it is meant to be"
    )]
    NotShared(&'static str),
}

/// An organisation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Organisation {
    /// Its UUID.
    #[serde(default)]
    pub uuid: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// An event.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Its UUID.
    pub uuid: String,
    /// The organisation that made it.
    #[serde(default, rename = "Orgc")]
    pub creator: Option<Organisation>,
    /// Its title.
    pub info: String,
    /// `YYYY-MM-DD`.
    #[serde(default)]
    pub date: String,
    /// When it was changed last, in seconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub timestamp: Option<u64>,
    /// 1 high to 4 undefined.
    #[serde(default, deserialize_with = "number")]
    pub threat_level_id: Option<u64>,
    /// 0 initial, 1 ongoing, 2 complete.
    #[serde(default, deserialize_with = "number")]
    pub analysis: Option<u64>,
    /// 0 this organisation only, 1 community, 2 connected communities, 3 all, 4 a sharing group.
    #[serde(default, deserialize_with = "number")]
    pub distribution: Option<u64>,
    /// Tags.
    #[serde(default, rename = "Tag")]
    pub tags: Vec<Tag>,
    /// Attributes outside objects.
    #[serde(default, rename = "Attribute")]
    pub attributes: Vec<Attribute>,
    /// Objects.
    #[serde(default, rename = "Object")]
    pub objects: Vec<MispObject>,
    /// Reports in Markdown.
    #[serde(default, rename = "EventReport")]
    pub reports: Vec<Report>,
}

/// A tag.
#[derive(Clone, Debug, Deserialize)]
pub struct Tag {
    /// `namespace:predicate="value"`, or any word.
    pub name: String,
}

/// An attribute.
#[derive(Clone, Debug, Deserialize)]
pub struct Attribute {
    /// Its UUID.
    #[serde(default)]
    pub uuid: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its category.
    #[serde(default)]
    pub category: String,
    /// Its value.
    #[serde(deserialize_with = "text")]
    pub value: String,
    /// Whether it is good for detection.
    #[serde(default, deserialize_with = "truth")]
    pub to_ids: bool,
    /// For analysts.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether it was taken back.
    #[serde(default, deserialize_with = "truth")]
    pub deleted: bool,
    /// As the event's; 5: inherits the event's.
    #[serde(default, deserialize_with = "number")]
    pub distribution: Option<u64>,
    /// First seen.
    #[serde(default, deserialize_with = "moment")]
    pub first_seen: Option<Timestamp>,
    /// Last seen.
    #[serde(default, deserialize_with = "moment")]
    pub last_seen: Option<Timestamp>,
    /// What it is within its object.
    #[serde(default)]
    pub object_relation: Option<String>,
    /// A file, in base64.
    #[serde(default)]
    pub data: Option<String>,
    /// Tags.
    #[serde(default, rename = "Tag")]
    pub tags: Vec<Tag>,
    /// Sightings.
    #[serde(default, rename = "Sighting")]
    pub sightings: Vec<Sighting>,
}

/// An object.
#[derive(Clone, Debug, Deserialize)]
pub struct MispObject {
    /// The template's name.
    pub name: String,
    /// Its UUID.
    #[serde(default)]
    pub uuid: String,
    /// As the event's; 5: inherits the event's.
    #[serde(default, deserialize_with = "number")]
    pub distribution: Option<u64>,
    /// Whether it was taken back.
    #[serde(default, deserialize_with = "truth")]
    pub deleted: bool,
    /// Its attributes.
    #[serde(default, rename = "Attribute")]
    pub attributes: Vec<Attribute>,
}

/// A report in Markdown.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Its title.
    pub name: String,
    /// Its text.
    #[serde(default)]
    pub content: Option<String>,
    /// As the event's; 5: inherits the event's.
    #[serde(default, deserialize_with = "number")]
    pub distribution: Option<u64>,
    /// Whether it was taken back.
    #[serde(default, deserialize_with = "truth")]
    pub deleted: bool,
}

/// That somebody saw it.
#[derive(Clone, Debug, Deserialize)]
pub struct Sighting {
    /// 0 seen, 1 a false positive, 2 expired.
    #[serde(default, rename = "type", deserialize_with = "number")]
    pub kind: Option<u64>,
    /// When, in seconds since 1970.
    #[serde(default, deserialize_with = "number")]
    pub date_sighting: Option<u64>,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(rename = "Event")]
    event: Event,
}

impl Event {
    /// Whether it was made of a bulletin: our ids of organisations are no others'.
    pub fn is_of_bulletin(&self) -> bool {
        let creator = self.creator.as_ref();
        creator
            .is_some_and(|one| one.uuid == derived(&["misp-organisation", &one.name]).to_string())
    }
}

/// Reads an event: `{"Event": {...}}`, or the inner object alone.
pub fn read_event(bytes: &[u8]) -> Result<Event, MispError> {
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(MispError::TooLarge { bytes: bytes.len() });
    }
    let no_event = |error: serde_json::Error| MispError::NoEvent(error.to_string());
    let read: Result<Whole, _> = serde_json::from_slice(bytes);
    match read {
        Ok(whole) => Ok(whole.event),
        Err(error) => match serde_json::from_slice::<Event>(bytes) {
            Ok(event) => Ok(event),
            Err(_) => Err(no_event(error)),
        },
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(truth) => truth,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => matches!(text.as_str(), "1" | "true"),
        _ => false,
    })
}

/// RFC 3339, or seconds since 1970; anything else is no time.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().ok().or_else(|| seconds(text.parse().ok()?)),
        Value::Number(number) => number.as_u64().and_then(seconds),
        _ => None,
    })
}

/// A moment from seconds since 1970.
pub(super) fn seconds(seconds: u64) -> Option<Timestamp> {
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Timestamp::from_micros(micros)
}
