//! Partner ids and SPIFFE IDs (SPIFFE-ID specification, section 2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A partner's id: the name of its SPIFFE trust domain, such as `norland.example`. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartnerId(Arc<str>);

/// Longest trust domain name (SPIFFE-ID, section 2.1).
const MAX_TRUST_DOMAIN: usize = 255;
/// Longest SPIFFE ID (SPIFFE-ID, section 2.3).
const MAX_SPIFFE_ID: usize = 2048;

/// Text that is no partner id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a partner id: it is a SPIFFE trust domain of 1 to 255 of a-z 0-9 . - _, \
     such as norland.example"
)]
pub struct InvalidPartnerId(String);

impl PartnerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PartnerId {
    type Err = InvalidPartnerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if (1..=MAX_TRUST_DOMAIN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPartnerId(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PartnerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PartnerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A SPIFFE ID: `spiffe://` trust domain, and a path such as `/node/1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: PartnerId,
    path: String,
}

/// Text that is no SPIFFE ID.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a SPIFFE ID such as spiffe://norland.example/node/1")]
pub struct InvalidSpiffeId(String);

impl SpiffeId {
    /// A node of a partner, or any other workload: `spiffe://PARTNER/PATH...`.
    pub fn new(trust_domain: &PartnerId, path: &str) -> Result<Self, InvalidSpiffeId> {
        format!("spiffe://{trust_domain}{path}").parse()
    }

    /// The trust domain, which is the partner's id.
    pub fn partner(&self) -> &PartnerId {
        &self.trust_domain
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpiffeId(text.chars().take(120).collect());
        if text.len() > MAX_SPIFFE_ID {
            return Err(invalid());
        }
        let rest = text.strip_prefix("spiffe://").ok_or_else(invalid)?;
        let (domain, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let segment_ok = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        if path.is_empty() || !path[1..].split('/').all(segment_ok) {
            return Err(invalid());
        }
        let trust_domain = domain.parse().map_err(|_| invalid())?;
        Ok(Self {
            trust_domain,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_are_taken_by_the_letter_of_the_specification() {
        let id: SpiffeId = "spiffe://norland.example/node/1".parse().unwrap();
        assert_eq!(id.partner().as_str(), "norland.example");
        assert_eq!(id.path(), "/node/1");
        assert_eq!(id.to_string(), "spiffe://norland.example/node/1");
        for bad in [
            "",
            "spiffe://",
            "spiffe://norland",
            "spiffe://norland/",
            "spiffe://norland/node/",
            "spiffe://norland//node",
            "spiffe://norland/../node",
            "spiffe://Norland/node",
            "spiffe://norland:8080/node",
            "spiffe://user@norland/node",
            "spiffe://norland/node?x=1",
            "spiffe://norland/node#x",
            "spiffe://norland/n%6fde",
            "https://norland/node",
            "SPIFFE://norland/node",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}
