//! The labels that decide who may receive a bulletin.
//!
//! Each is a closed set: a value this version does not know is an error where it is read, never a
//! default. The orders are those of strictness and urgency, so that `<=` means "allowed under".

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::header::Admiralty;
use super::originator::Disguise;
use super::taxonomy::{Region, Topic};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// A text that is none of a label's values.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{found}` is not a {label}: it is one of {allowed}")]
pub struct UnknownLabel {
    /// What was expected.
    pub label: &'static str,
    /// What was found.
    pub found: String,
    /// The values there are.
    pub allowed: String,
}

/// Writes a closed set of labels with its one written form each.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident, $label:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All values, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The written form.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The number of the value in `proto/`: 1 for the first.
            pub const fn number(self) -> i32 {
                self as i32 + 1
            }

            /// The value as a bit of a set of them.
            pub const fn bit(self) -> u32 {
                1 << self as u32
            }

            /// The value with this number.
            pub fn from_number(number: i32) -> Option<Self> {
                let at = usize::try_from(number).ok()?.checked_sub(1)?;
                Self::ALL.get(at).copied()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::bulletin::UnknownLabel;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::bulletin::UnknownLabel {
                        label: $label,
                        found: text.chars().take(80).collect(),
                        allowed: [$($text,)+].join(", "),
                    }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use closed_set;

closed_set! {
    /// What a bulletin is about.
    Kind, "kind" {
        /// Terrorist threats, persons and means.
        Counterterrorism = "counterterrorism",
        /// Threats to and by computers.
        Cyber = "cyber",
    }
}

closed_set! {
    /// Traffic Light Protocol 2.0 (FIRST), from the least to the most restrictive. FIRST counts
    /// AMBER+STRICT as a restriction of AMBER; here it is a level of its own, so that a ceiling of
    /// AMBER never lets it through.
    Tlp, "TLP 2.0 label" {
        /// No limit on disclosure.
        Clear = "TLP:CLEAR",
        /// The community, not public channels.
        Green = "TLP:GREEN",
        /// The recipient's organisation and its clients, on a need-to-know basis.
        Amber = "TLP:AMBER",
        /// The recipient's organisation only.
        AmberStrict = "TLP:AMBER+STRICT",
        /// The individual recipients only: flows only to partners named as releasable.
        Red = "TLP:RED",
    }
}

closed_set! {
    /// Levels of classification, the same ladder in every policy.
    Level, "classification level" {
        /// Not classified.
        Unclassified = "UNCLASSIFIED",
        /// The lowest.
        Restricted = "RESTRICTED",
        /// The second.
        Confidential = "CONFIDENTIAL",
        /// The third.
        Secret = "SECRET",
        /// The highest.
        TopSecret = "TOP SECRET",
    }
}

closed_set! {
    /// Precedence (ACP 121), from the least to the most urgent.
    Precedence, "precedence" {
        /// Prosign R.
        Routine = "ROUTINE",
        /// Prosign P.
        Priority = "PRIORITY",
        /// Prosign O.
        Immediate = "IMMEDIATE",
        /// Prosign Z: overtakes everything.
        Flash = "FLASH",
    }
}

closed_set! {
    /// Handling caveats.
    Caveat, "caveat" {
        /// Originator controlled: no onward sharing without the originator's consent.
        Orcon = "ORCON",
        /// Limited distribution: only to partners named as releasable.
        Limdis = "LIMDIS",
    }
}

closed_set! {
    /// What kind of content a part is: the unit in which agreements withhold.
    PartClass, "part class" {
        /// IP addresses and ranges, domains, URLs, TLS fingerprints, AS numbers.
        Network = "network",
        /// Files and their hashes, processes, registry keys.
        File = "file",
        /// E-mail addresses and messages.
        Email = "email",
        /// X.509 certificates.
        Certificate = "certificate",
        /// Vulnerabilities.
        Vulnerability = "vulnerability",
        /// Detection rules and indicator patterns.
        Detection = "detection",
        /// A warning of a threat: time window, place, method.
        Warning = "warning",
        /// A person of interest.
        Person = "person",
        /// A travel or identity document.
        Document = "document",
        /// A telephone number.
        Telephone = "telephone",
        /// A bank account.
        Account = "account",
        /// A vehicle, vessel or aircraft.
        Vehicle = "vehicle",
        /// Text for analysts.
        Narrative = "narrative",
        /// How the originator knows.
        Source = "source",
        /// What the recipient is advised to do.
        Action = "action",
        /// That something was seen, when and how often.
        Sighting = "sighting",
        /// A file that goes along.
        Attachment = "attachment",
        /// Actors, campaigns, tools, relations: what connects the others.
        Context = "context",
        /// The partners to whom the bulletin is releasable. Only the broker sees it.
        Audience = "audience",
        /// Who stands behind a pseudonym. The broker sees it, and whoever its originator and a
        /// clause show it to.
        Identity = "identity",
    }
}

/// A classification under a named policy. Levels of different policies are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// Whose ladder: "NATO", or a nation's name for its own.
    pub policy: String,
    /// The level on it.
    pub level: Level,
}

impl fmt::Display for Classification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy, self.level)
    }
}

/// The marking of one part: `None` means as the header. Stricter than the header or absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marking {
    /// Its own TLP.
    pub tlp: Option<Tlp>,
    /// Its own classification level, under the header's policy.
    pub level: Option<Level>,
}

/// Everything a decision looks at in a bulletin's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Who says it, by its own name.
    pub originator: PartnerId,
    /// The pseudonym under which it says so, where it does.
    pub disguise: Option<Disguise>,
    /// What it is about; at least one.
    pub kinds: Vec<Kind>,
    /// At least one.
    pub topics: Vec<Topic>,
    /// None means no region in particular.
    pub regions: Vec<Region>,
    /// How far it may go.
    pub tlp: Tlp,
    /// `None`: unclassified.
    pub classification: Option<Classification>,
    /// `None`: no restriction beyond the agreements. `Some`: these partners only, and nobody when
    /// it is empty.
    pub releasable_to: Option<BTreeSet<PartnerId>>,
    /// How it is to be handled.
    pub caveats: Vec<Caveat>,
    /// How urgent it is.
    pub precedence: Precedence,
    /// An exercise: nothing of it is real.
    pub exercise: bool,
    /// Not to be shared before.
    pub valid_from: Timestamp,
    /// Not to be shared from then on.
    pub valid_until: Timestamp,
    /// How far the source and its information can be relied upon.
    pub admiralty: Admiralty,
    /// The header, which every recipient sees, names more than one recipient.
    pub names_recipients: bool,
}

/// Everything a decision looks at in a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartLabels {
    /// `None`: a class this version does not know, which is withheld from everybody.
    pub class: Option<PartClass>,
    /// Stricter than the header's, or as the header.
    pub marking: Marking,
    /// Indexes of the parts that it names, by a guessable id or by their display text.
    pub mentions: Vec<u32>,
}
