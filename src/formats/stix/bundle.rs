//! Reads a bundle, object by object.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::class::class_of;
use super::json::Strict;
use super::marking::Markings;
use super::rules::{self, Violation};
use super::upgrade::{is_older, upgraded};
use crate::bulletin::{MAX_PART_BYTES, PartClass, Tlp};

/// The largest bundle that is read.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024 * 1024;
/// What a part needs around its object.
const MARGIN: usize = 1_024;

/// A bundle whose objects were looked at one by one.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// The valid objects, in their order.
    pub objects: Vec<Object>,
    /// Those that are not, with the reason.
    pub refused: Vec<RefusedObject>,
    /// How many of the valid ones are upgraded from STIX 2.0.
    pub upgraded: usize,
}

/// A valid object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `type--uuid`.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The exact text; of what was upgraded, that of the upgraded object.
    pub json: String,
    /// Under which agreements withhold it.
    pub class: PartClass,
    /// How far its markings let it go; `None` where nothing marks it.
    pub tlp: Option<Tlp>,
}

/// An object that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedObject {
    /// Its place in the bundle, from 0.
    pub index: usize,
    /// Its id, where that can be read.
    pub id: Option<String>,
    /// The property, as `external_references[2].source_name`; empty: the object as a whole.
    pub property: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for RefusedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.index)?;
        if let Some(id) = &self.id {
            write!(f, " ({id})")?;
        }
        if !self.property.is_empty() {
            write!(f, ", property `{}`", self.property)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A file that is no bundle.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BundleError {
    /// Too large.
    #[error("the bundle has {bytes} bytes; at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// JSON of something else.
    #[error("it is no STIX bundle: {0}")]
    NoBundle(String),
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawBundle<'a> {
    id: Option<String>,
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

/// Reads a bundle of STIX 2.1, or a single object. An object that breaks a rule is refused by itself, one of STIX 2.0
/// by that name.
pub fn read_bundle(bytes: &[u8]) -> Result<Bundle, BundleError> {
    read(bytes, false)
}

/// As [`read_bundle`]; objects of STIX 2.0 are upgraded where the rules have it.
pub fn read_any_bundle(bytes: &[u8]) -> Result<Bundle, BundleError> {
    read(bytes, true)
}

fn read(bytes: &[u8], upgrade: bool) -> Result<Bundle, BundleError> {
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge { bytes: bytes.len() });
    }
    let json = |error: &dyn fmt::Display| BundleError::Json(error.to_string());
    let text = std::str::from_utf8(bytes).map_err(|error| json(&error))?;
    // First that it is JSON at all, whatever is in it.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| json(&error))?;
    let no_bundle = |error: serde_json::Error| BundleError::NoBundle(error.to_string());
    let Kind { kind } = serde_json::from_str(text).map_err(no_bundle)?;
    let single: &RawValue;
    let (id, objects) = if kind == "bundle" {
        let raw: RawBundle<'_> = serde_json::from_str(text).map_err(no_bundle)?;
        if raw.objects.is_empty() {
            return Err(BundleError::NoBundle("it has no objects".into()));
        }
        (raw.id, raw.objects)
    } else {
        single = serde_json::from_str(text).map_err(|error| json(&error))?;
        (None, vec![single])
    };
    let parsed: Vec<Result<Value, Violation>> = objects.iter().map(|raw| parse(raw)).collect();
    let mut markings = Markings::default();
    for value in parsed.iter().flatten() {
        if value.get("type").and_then(Value::as_str) == Some("marking-definition")
            && let Some(map) = value.as_object()
            && let Some(id) = value.get("id").and_then(Value::as_str)
        {
            markings.define(id, map);
        }
    }
    let mut bundle = Bundle {
        id,
        objects: Vec::new(),
        refused: Vec::new(),
        upgraded: 0,
    };
    for (index, (raw, parsed)) in objects.iter().zip(parsed).enumerate() {
        let named = parsed
            .as_ref()
            .ok()
            .and_then(|value| value.get("id")?.as_str());
        let named = named.map(|id| id.chars().take(200).collect());
        let read = match parsed {
            Ok(Value::Object(map)) if upgrade && is_older(&map) => upgraded(map).and_then(|map| {
                let value = Value::Object(map);
                let text = value.to_string();
                check_size(&text)?;
                let one = object(&text, &value, &markings)?;
                bundle.upgraded += 1;
                Ok(one)
            }),
            parsed => parsed.and_then(|value| object(raw.get(), &value, &markings)),
        };
        match read {
            Ok(object) => bundle.objects.push(object),
            Err(Violation { property, reason }) => {
                bundle.refused.push(RefusedObject {
                    index,
                    id: named,
                    property,
                    reason,
                });
            }
        }
    }
    Ok(bundle)
}

fn check_size(text: &str) -> Result<(), Violation> {
    let limit = MAX_PART_BYTES - MARGIN;
    if text.len() > limit {
        let reason = format!("it has {} bytes; at most {limit} fit in a part", text.len());
        return Err(Violation::of("", reason));
    }
    Ok(())
}

fn parse(raw: &RawValue) -> Result<Value, Violation> {
    check_size(raw.get())?;
    let strict: Result<Strict, _> = serde_json::from_str(raw.get());
    strict
        .map(|strict| strict.0)
        .map_err(|error| Violation::of("", error.to_string()))
}

fn object(text: &str, value: &Value, markings: &Markings) -> Result<Object, Violation> {
    let map = value
        .as_object()
        .ok_or_else(|| Violation::of("", "it is no JSON object"))?;
    let (kind, id) = rules::check(map)?;
    Ok(Object {
        class: class_of(kind, map),
        tlp: markings.tlp_of(map),
        id: id.to_owned(),
        kind: kind.to_owned(),
        json: text.to_owned(),
    })
}
