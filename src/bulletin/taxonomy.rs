//! Topics and regions: what a bulletin is about, and where.
//!
//! A topic is a path in the taxonomy below; a clause that names a topic covers its subtree. A
//! region is a country or a subdivision of one (ISO 3166); a country covers its subdivisions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The taxonomy: every topic there is, parents first. Grown only by a new version of Entente,
/// because a topic that one side does not know cannot be decided upon.
pub const TOPICS: &[(&str, &str)] = &[
    ("counterterrorism", "terrorist threats, persons and means"),
    (
        "counterterrorism/attack",
        "an attack that is planned, under way or done",
    ),
    (
        "counterterrorism/attack/armed",
        "firearms and edged weapons",
    ),
    (
        "counterterrorism/attack/aviation",
        "against or by aircraft, drones among them",
    ),
    (
        "counterterrorism/attack/cbrn",
        "chemical, biological, radiological, nuclear",
    ),
    (
        "counterterrorism/attack/explosive",
        "bombs and other explosive devices",
    ),
    (
        "counterterrorism/attack/infrastructure",
        "sabotage of critical infrastructure",
    ),
    (
        "counterterrorism/attack/maritime",
        "against or by ships and ports",
    ),
    ("counterterrorism/attack/vehicle", "vehicles as weapons"),
    (
        "counterterrorism/facilitation",
        "documents, safe houses, logistics",
    ),
    ("counterterrorism/financing", "how it is paid for"),
    ("counterterrorism/hostage", "kidnapping and hostage taking"),
    (
        "counterterrorism/organisation",
        "groups and their structure",
    ),
    (
        "counterterrorism/propaganda",
        "incitement, recruitment, radicalisation",
    ),
    ("counterterrorism/travel", "movement of persons of interest"),
    ("cyber", "threats to and by computers"),
    ("cyber/campaign", "operations attributed to an actor"),
    ("cyber/ddos", "denial of service"),
    ("cyber/espionage", "intrusion to learn"),
    ("cyber/fraud", "theft and deceit for money"),
    ("cyber/ics", "industrial control systems"),
    ("cyber/influence", "information operations"),
    (
        "cyber/infrastructure",
        "command and control, hosting, anonymisers",
    ),
    ("cyber/malware", "malicious software"),
    ("cyber/malware/mobile", "on telephones, spyware among them"),
    ("cyber/malware/ransomware", "that holds data to ransom"),
    ("cyber/malware/wiper", "that destroys data"),
    ("cyber/phishing", "deceit by message"),
    ("cyber/supply-chain", "through what others deliver"),
    ("cyber/vulnerability", "weaknesses, exploited or not"),
];

/// A text that is no topic.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a topic of the taxonomy; `entente publish --list-topics` lists them")]
pub struct UnknownTopic(String);

/// A topic of the taxonomy, such as `cyber/malware/ransomware`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(&'static str);

impl Topic {
    /// Every topic, parents first.
    pub fn all() -> impl Iterator<Item = Self> {
        TOPICS.iter().map(|(path, _)| Self(path))
    }

    /// The path.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether `other` is this topic or stands below it.
    pub fn covers(self, other: Self) -> bool {
        other
            .0
            .strip_prefix(self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The topic as a bit of a set of topics.
    pub fn bit(self) -> u64 {
        let at = TOPICS.partition_point(|(path, _)| *path < self.0);
        1 << at
    }
}

/// A set of topics is a set of bits.
const _: () = assert!(TOPICS.len() <= 64);

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TOPICS
            .binary_search_by(|(path, _)| (*path).cmp(text))
            .map(|at| Self(TOPICS[at].0))
            .map_err(|_| UnknownTopic(text.chars().take(80).collect()))
    }
}

/// A text that is no region.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a region: an ISO 3166-1 alpha-2 code (EE) or an ISO 3166-2 code (EE-37)")]
pub struct UnknownRegion(String);

/// A country or a subdivision of one, by its ISO 3166 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(&'static str);

impl Region {
    /// The code.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether `other` is this region or a subdivision of it.
    pub fn covers(self, other: Self) -> bool {
        other
            .0
            .strip_prefix(self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = if text.contains('-') {
            rust_iso3166::iso3166_2::from_code(text).map(|found| found.code)
        } else {
            rust_iso3166::from_alpha2(text).map(|found| found.alpha2)
        };
        // The tables are looked up without regard to case; a code has one written form.
        code.filter(|code| *code == text)
            .map(Self)
            .ok_or_else(|| UnknownRegion(text.chars().take(80).collect()))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Topic);
as_text!(Region);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taxonomy_is_sorted_and_every_topic_has_its_parent() {
        assert!(TOPICS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for topic in Topic::all() {
            if let Some((parent, _)) = topic.as_str().rsplit_once('/') {
                assert!(parent.parse::<Topic>().unwrap().covers(topic), "{topic}");
            }
        }
    }

    #[test]
    fn a_topic_covers_its_subtree_and_nothing_beside_it() {
        let topic = |text: &str| text.parse::<Topic>().unwrap();
        assert!(topic("cyber/malware").covers(topic("cyber/malware/wiper")));
        assert!(topic("cyber/malware").covers(topic("cyber/malware")));
        assert!(!topic("cyber/malware").covers(topic("cyber")));
        assert!(!topic("cyber/ics").covers(topic("cyber/influence")));
        assert!("cyber/".parse::<Topic>().is_err());
        assert!("astrology".parse::<Topic>().is_err());
    }

    #[test]
    fn a_country_covers_its_subdivisions() {
        let region = |text: &str| text.parse::<Region>().unwrap();
        assert!(region("EE").covers(region("EE-37")));
        assert!(!region("EE-37").covers(region("EE")));
        assert!(!region("EE").covers(region("FI")));
        for bad in ["ee", "XX", "EST", "EE-", "EE-999", ""] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }
}
