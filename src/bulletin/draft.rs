//! A bulletin as operators and applications write it, in TOML or JSON.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::content::{Content, InvalidContent};
use super::header::{Admiralty, BulletinId, Header, Reference, Relation};
use super::labels::{Caveat, Classification, Kind, Level, Marking, Precedence, Tlp};
use super::open::MAX_CLOCK_SKEW;
use super::originator::Shown;
use super::seal::{PlainPart, Unsealed};
use super::taxonomy::{Region, Topic};
use crate::clock::{Entropy, NoEntropy, Timestamp, random};
use crate::partner::PartnerId;
use crate::proof::{Digest, KeyId};

/// How long a bulletin is valid where it does not say.
pub const DEFAULT_VALIDITY: Duration = Duration::from_hours(720);

/// A bulletin to be published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its id; a random one where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<BulletinId>,
    /// `counterterrorism`, `cyber`, or both.
    pub kinds: Vec<Kind>,
    /// Topics of the taxonomy.
    pub topics: Vec<Topic>,
    /// ISO 3166 codes; none means no region in particular.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// `TLP:CLEAR` to `TLP:RED`.
    pub tlp: Tlp,
    /// Absent: unclassified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Partners' ids; none means no restriction beyond the agreements.
    #[serde(default)]
    pub releasable_to: Vec<PartnerId>,
    /// Keeps `releasable_to` in a part that only the broker sees.
    #[serde(default)]
    pub hide_audience: bool,
    /// `ORCON`, `LIMDIS`.
    #[serde(default)]
    pub caveats: Vec<Caveat>,
    /// `ROUTINE` to `FLASH`.
    #[serde(default = "routine")]
    pub precedence: Precedence,
    /// Nothing of it is real.
    #[serde(default)]
    pub exercise: bool,
    /// Reliability of the source, `A` to `F`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<char>,
    /// Credibility of the information, 1 to 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credibility: Option<u8>,
    /// Not to be shared before; absent: five minutes ago, because clocks differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Not to be shared from then on; absent: 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// Bulletins whose place it takes.
    #[serde(default)]
    pub supersedes: Vec<BulletinId>,
    /// Bulletins it takes back.
    #[serde(default)]
    pub retracts: Vec<BulletinId>,
    /// Publishes it without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym: Option<PseudonymDraft>,
    /// The size of the log that was seen; absent: what the node has seen, or none at all under a
    /// pseudonym, where the number would tell bulletins of one node from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
    /// The parts.
    #[serde(rename = "part")]
    pub parts: Vec<DraftPart>,
}

const fn routine() -> Precedence {
    Precedence::Routine
}

/// How a bulletin is published without its originator's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PseudonymDraft {
    /// Name of the agreement under whose clauses it goes, and under no others.
    pub agreement: String,
    /// `alias`: the same for all that is published so under the agreement; `framework`: nothing links
    /// it to others.
    #[serde(rename = "as")]
    pub shown: Shown,
    /// Recipients who learn the name nevertheless, where a clause shows it to them.
    #[serde(default)]
    pub reveal_to: Vec<PartnerId>,
}

/// A part: its content's fields, and beside them its own `tlp` and `level` where they are stricter
/// than the bulletin's.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftPart {
    /// What it says.
    pub content: Content,
    /// Stricter than the bulletin's, or as the bulletin.
    pub marking: Marking,
}

impl From<Content> for DraftPart {
    fn from(content: Content) -> Self {
        Self {
            content,
            marking: Marking::default(),
        }
    }
}

impl Serialize for DraftPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let value = match &self.content {
            // A tagged list has no fields to stand beside.
            Content::Audience(_) => {
                return Err(S::Error::custom("an audience is written as releasable_to"));
            }
            Content::Identity(_) => {
                return Err(S::Error::custom("an identity is written as pseudonym"));
            }
            content => serde_json::to_value(content).map_err(S::Error::custom)?,
        };
        let serde_json::Value::Object(mut fields) = value else {
            return Err(S::Error::custom("content without fields"));
        };
        if let Some(tlp) = self.marking.tlp {
            fields.insert("tlp".into(), tlp.as_str().into());
        }
        if let Some(level) = self.marking.level {
            fields.insert("level".into(), level.as_str().into());
        }
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DraftPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut fields = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let kind = fields
            .get("type")
            .and_then(|kind| kind.as_str())
            .unwrap_or("?")
            .to_owned();
        let named =
            |error: &dyn std::fmt::Display| D::Error::custom(format!("part `{kind}`: {error}"));
        let mut marking = Marking::default();
        if let Some(tlp) = fields.remove("tlp") {
            marking.tlp = Some(serde_json::from_value::<Tlp>(tlp).map_err(|error| named(&error))?);
        }
        if let Some(level) = fields.remove("level") {
            marking.level =
                Some(serde_json::from_value::<Level>(level).map_err(|error| named(&error))?);
        }
        let content = serde_json::from_value::<Content>(fields.into());
        Ok(Self {
            content: content.map_err(|error| named(&error))?,
            marking,
        })
    }
}

/// A draft that cannot be published, and why.
#[derive(Debug, Error)]
pub enum DraftError {
    /// Not TOML, or not a bulletin's.
    #[error("{0}")]
    Toml(String),
    /// A part's content.
    #[error("part {number} ({kind}): {error}")]
    Part {
        /// From 1.
        number: usize,
        /// Its class.
        kind: &'static str,
        /// What is wrong.
        error: InvalidContent,
    },
    /// A label out of range.
    #[error("{0}")]
    Label(&'static str),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl Draft {
    /// Reads a bulletin file in TOML; a mistake in it is an error with the line.
    pub fn from_toml(text: &str) -> Result<Self, DraftError> {
        toml::from_str(text).map_err(|error| DraftError::Toml(error.to_string()))
    }

    /// Checks the labels and every part, as publishing will.
    pub fn check(&self) -> Result<(), DraftError> {
        self.admiralty()?;
        let pseudonym = self.pseudonym.as_ref();
        if pseudonym.is_some_and(|one| one.shown == Shown::Named) {
            let wrong = "a pseudonym is published as \"alias\" or as \"framework\"";
            return Err(DraftError::Label(wrong));
        }
        let identity = |part: &DraftPart| matches!(part.content, Content::Identity(_));
        if self.parts.iter().any(identity) {
            return Err(DraftError::Label("an identity is written as pseudonym"));
        }
        for (number, part) in (1..).zip(&self.parts) {
            let kind = part.content.class().as_str();
            let encoded = part.content.encode();
            encoded.map_err(|error| DraftError::Part {
                number,
                kind,
                error,
            })?;
        }
        Ok(())
    }

    /// Takes the pseudonym from a draft. What is left says nothing more of who wrote it: a list of
    /// recipients lacks its originator, so that only the broker sees it from now on.
    pub fn take_pseudonym(&mut self) -> Option<PseudonymDraft> {
        let pseudonym = self.pseudonym.take()?;
        self.hide_audience |= !self.releasable_to.is_empty();
        Some(pseudonym)
    }

    /// The bulletin, ready to be sealed: every part checked, times and id filled in. A draft that asks
    /// for a pseudonym is refused here: its name must not slip out. See
    /// [`Draft::take_pseudonym`], and give the result to [`Unsealed::disguise`].
    pub fn into_unsealed(
        self,
        originator: &PartnerId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Unsealed, DraftError> {
        if self.pseudonym.is_some() {
            return Err(DraftError::Label("the pseudonym needs a key of its own"));
        }
        let admiralty = self.admiralty()?;
        let mut parts = Vec::with_capacity(self.parts.len() + 1);
        for (number, part) in (1..).zip(&self.parts) {
            let kind = part.content.class().as_str();
            let body = part.content.encode();
            let body = body.map_err(|error| DraftError::Part {
                number,
                kind,
                error,
            })?;
            parts.push(PlainPart {
                class: part.content.class(),
                marking: part.marking,
                body,
                salt: None,
            });
        }
        let hidden = self.hide_audience;
        if hidden {
            if self.releasable_to.is_empty() {
                return Err(DraftError::Label("hide_audience needs releasable_to"));
            }
            parts.push(audience(self.releasable_to.clone())?);
        }
        let references = |ids: &[BulletinId], relation| -> Vec<Reference> {
            ids.iter()
                .map(|id| Reference {
                    relation,
                    bulletin: *id,
                })
                .collect()
        };
        let mut all = references(&self.supersedes, Relation::Supersedes);
        all.extend(references(&self.retracts, Relation::Retracts));
        let id = match self.id {
            Some(id) => id,
            None => BulletinId::from_random(random(entropy)?),
        };
        // A broker whose clock is behind would find it not valid yet, and share it with nobody.
        let since = now.saturating_sub(MAX_CLOCK_SKEW);
        let valid_from = self.valid_from.unwrap_or(since);
        let header = Header {
            id,
            originator: originator.clone().into(),
            created: now,
            valid_from,
            valid_until: self
                .valid_until
                .unwrap_or_else(|| valid_from.max(now).saturating_add(DEFAULT_VALIDITY)),
            kinds: self.kinds,
            topics: self.topics,
            regions: self.regions,
            tlp: self.tlp,
            classification: self.classification,
            releasable_to: if hidden {
                Vec::new()
            } else {
                self.releasable_to
            },
            audience_part: hidden,
            caveats: self.caveats,
            precedence: self.precedence,
            exercise: self.exercise,
            admiralty,
            references: all,
            parts_root: Digest([0; 32]),
            part_count: 0,
            signing_key: KeyId(Digest([0; 32])),
            as_of: self.as_of.unwrap_or(0),
            notice: false,
            crossing: None,
        };
        Ok(Unsealed { header, parts })
    }

    fn admiralty(&self) -> Result<Admiralty, DraftError> {
        let reliability = match self.reliability {
            None => None,
            Some(grade @ 'A'..='F') => Some(grade as u8 - b'A' + 1),
            Some(_) => return Err(DraftError::Label("reliability is a letter from A to F")),
        };
        if self
            .credibility
            .is_some_and(|grade| !(1..=6).contains(&grade))
        {
            return Err(DraftError::Label("credibility is a number from 1 to 6"));
        }
        Ok(Admiralty {
            reliability,
            credibility: self.credibility,
        })
    }
}

fn audience(partners: Vec<PartnerId>) -> Result<PlainPart, DraftError> {
    let content = Content::Audience(partners);
    let (class, kind) = (content.class(), content.class().as_str());
    let body: Result<Bytes, _> = content.encode();
    let body = body.map_err(|error| DraftError::Part {
        number: 0,
        kind,
        error,
    })?;
    Ok(PlainPart {
        class,
        marking: Marking::default(),
        body,
        salt: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    const FILE: &str = r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/attack/vehicle"]
regions = ["EE-37"]
tlp = "TLP:AMBER"
precedence = "FLASH"
reliability = "B"
credibility = 2
releasable_to = ["estmark.example"]
hide_audience = true

[[part]]
type = "warning"
text = "An attack with a lorry on the market is feared."
from = "2026-12-01T08:00:00Z"

[[part]]
type = "source"
description = "A liaison."
tlp = "TLP:RED"
"#;

    fn unsealed(text: &str) -> Result<Unsealed, DraftError> {
        let originator = "norland.example".parse().unwrap();
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        Draft::from_toml(text)?.into_unsealed(&originator, now, &SeededEntropy::new(1))
    }

    #[test]
    fn a_file_becomes_a_bulletin() {
        let bulletin = unsealed(FILE).unwrap();
        assert_eq!(bulletin.header.admiralty.to_string(), "B2");
        assert!(bulletin.header.audience_part && bulletin.header.releasable_to.is_empty());
        assert_eq!(bulletin.parts.len(), 3);
        assert_eq!(bulletin.parts[1].marking.tlp, Some(Tlp::Red));
    }

    #[test]
    fn a_draft_survives_json() {
        let draft = Draft::from_toml(FILE).unwrap();
        let json = serde_json::to_string(&draft).unwrap();
        assert_eq!(serde_json::from_str::<Draft>(&json).unwrap(), draft);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (from, to, expected) in [
            ("TLP:AMBER\"\nprec", "TLP:PINK\"\nprec", "TLP:PINK"),
            ("regions = [\"EE-37\"]", "regions = [\"EST\"]", "line 4"),
            ("text = \"An attack", "texte = \"An attack", "warning"),
            ("credibility = 2", "credibility = 7", "1 to 6"),
            ("precedence", "precedance", "precedance"),
            (
                "from = \"2026-12-01T08:00:00Z\"",
                "region = \"Tallinn\"",
                "Tallinn",
            ),
        ] {
            let error = unsealed(&FILE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
