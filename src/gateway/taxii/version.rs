//! Moments and versions as TAXII and STIX write them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::clock::Timestamp;

/// TAXII's `timestamp` (section 2): microseconds, always six digits, always `Z`.
const MICROSECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A moment as TAXII writes it: `2016-11-03T12:30:59.001000Z`.
pub fn timestamp(at: Timestamp) -> String {
    let text = OffsetDateTime::from(at).format(MICROSECONDS);
    // Cannot fail within the bounds of `Timestamp`.
    text.unwrap_or_else(|_| at.to_string())
}

/// Reads a moment in UTC: RFC 3339 with `Z`. Clients leave out digits of the fraction, which TAXII wants
/// to be six: that is understood. More than six would not be, since nothing here is as fine.
pub(super) fn read_timestamp(text: &str) -> Option<Timestamp> {
    let fraction = text.split_once('.').map_or(0, |(_, rest)| rest.len());
    if !text.ends_with('Z') || !text.contains('T') || fraction > "123456Z".len() {
        return None;
    }
    text.parse().ok()
}

/// The version of an object: its `modified`, or else its `created`, or else what the store says.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    /// Nanoseconds since 1970, where it is a moment.
    at: Option<i128>,
}

impl Version {
    /// The version that an object names.
    pub fn of(object: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        text("modified").or_else(|| text("created")).map(Self::from)
    }

    /// As it is written in the object.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A moment that STIX can write; `None` for other text.
    pub(super) fn read(text: &str) -> Option<Self> {
        let version = Self::from(text);
        (version.at.is_some() && text.ends_with('Z')).then_some(version)
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok();
        Self {
            text: text.to_owned(),
            at: at.map(OffsetDateTime::unix_timestamp_nanos),
        }
    }
}

impl Ord for Version {
    /// By time, whatever the digits; what is no moment stands before all that are.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.at, other.at) {
            (Some(one), Some(two)) => one.cmp(&two),
            (None, None) => self.text.cmp(&other.text),
            (one, two) => one.is_some().cmp(&two.is_some()),
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// A version of the STIX specification, as `2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecVersion {
    major: u16,
    minor: u16,
}

impl SpecVersion {
    /// STIX 2.0.
    pub const V2_0: Self = Self { major: 2, minor: 0 };
    /// STIX 2.1.
    pub const V2_1: Self = Self { major: 2, minor: 1 };

    /// The version that an object says it is of. STIX 2.0 objects say nothing; neither need the
    /// cyber-observables of 2.1, which have no times.
    pub fn of(object: &Map<String, Value>) -> Self {
        let named = object.get("spec_version").and_then(Value::as_str);
        let timed = object.contains_key("created") || object.contains_key("modified");
        match named.and_then(|text| text.parse().ok()) {
            Some(version) => version,
            None if timed => Self::V2_0,
            None => Self::V2_1,
        }
    }

    /// The media type of an object of it.
    pub fn media_type(self) -> String {
        format!("application/stix+json;version={self}")
    }

    /// From a media type of an object.
    pub(super) fn of_media_type(text: &str) -> Option<Self> {
        let (_, version) = text.split_once("version=")?;
        version.trim_matches('"').parse().ok()
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for SpecVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().ok_or(())
        };
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_has_six_digits_always_and_is_read_with_fewer() {
        for (text, written) in [
            ("2016-11-03T12:30:59Z", "2016-11-03T12:30:59.000000Z"),
            ("2016-11-03T12:30:59.001Z", "2016-11-03T12:30:59.001000Z"),
            ("2016-11-03T12:30:59.123456Z", "2016-11-03T12:30:59.123456Z"),
        ] {
            assert_eq!(timestamp(read_timestamp(text).unwrap()), written);
        }
        for text in [
            "",
            "2016-11-03",
            "2016-11-03T12:30:59",
            "2016-11-03T12:30:59+00:00",
            "2016-11-03 12:30:59Z",
            "2016-11-03T12:30:59.1234567Z",
            "2016-13-03T12:30:59Z",
            "yesterdayTZ",
        ] {
            assert_eq!(read_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_moments_whatever_their_digits() {
        let one = Version::from("2016-11-03T12:30:59Z");
        assert_eq!(one, Version::from("2016-11-03T12:30:59.000Z"));
        assert!(one < Version::from("2016-11-03T12:30:59.0000001Z"));
        assert!(Version::from("whatever") < one);
        assert!(Version::read("last").is_none());
    }

    #[test]
    fn specification_versions_are_numbers() {
        assert!("2.10".parse::<SpecVersion>().unwrap() > SpecVersion::V2_1);
        for text in ["2", "2.", ".1", "+2.1", "2.1.0", "two"] {
            assert!(text.parse::<SpecVersion>().is_err(), "{text}");
        }
    }
}
