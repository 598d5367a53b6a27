//! The header: what is never withheld, and what the originator signs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

use super::crossing::Crossing;
use super::labels::{Caveat, Classification, Kind, Labels, Precedence, Tlp};
use super::originator::{Disguise, Originator};
use super::taxonomy::{Region, Topic};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::{Digest, KeyId};

/// The id of a bulletin: 128 random bits, written as a UUID. Once accepted it never names other
/// content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulletinId(pub [u8; 16]);

/// A text that is no bulletin id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a bulletin id: it is a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91")]
pub struct InvalidBulletinId(String);

impl BulletinId {
    /// An id from random bytes, with the version and variant bits of a random UUID (RFC 9562,
    /// section 5.4).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(
            uuid::Builder::from_random_bytes(bytes)
                .into_uuid()
                .into_bytes(),
        )
    }
}

impl fmt::Display for BulletinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(
            Uuid::from_bytes(self.0)
                .hyphenated()
                .encode_lower(&mut Uuid::encode_buffer()),
        )
    }
}

impl fmt::Debug for BulletinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BulletinId {
    type Err = InvalidBulletinId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(|uuid| Self(uuid.into_bytes()))
            .map_err(|_| InvalidBulletinId(text.chars().take(80).collect()))
    }
}

impl Serialize for BulletinId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BulletinId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a bulletin does to an earlier one: of the same originator, unless it passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Takes its place.
    Supersedes,
    /// Takes it back.
    Retracts,
    /// Lowers its labels to those of this header.
    Downgrades,
    /// Is given to nobody any more; who has it, keeps it.
    Ends,
    /// Passes on parts of it, which were received from another partner.
    #[serde(rename = "passes-on")]
    PassesOn,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Supersedes => "superseded",
            Self::Retracts => "taken back",
            Self::Downgrades => "downgraded",
            Self::Ends => "no longer given",
            Self::PassesOn => "passed on",
        })
    }
}

/// An earlier bulletin and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// What becomes of it.
    pub relation: Relation,
    /// Which.
    pub bulletin: BulletinId,
}

/// The Admiralty code of a source and its information: `B2`, with each half optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admiralty {
    /// Reliability of the source: 1 to 6 stand for A to F.
    pub reliability: Option<u8>,
    /// Credibility of the information: 1 to 6.
    pub credibility: Option<u8>,
}

impl fmt::Display for Admiralty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reliability = self
            .reliability
            .map_or('-', |value| char::from(b'A' - 1 + value.min(6)));
        let credibility = self
            .credibility
            .map_or('-', |value| char::from(b'0' + value.min(6)));
        write!(f, "{reliability}{credibility}")
    }
}

/// A header, read from the bytes that were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The bulletin's id.
    pub id: BulletinId,
    /// Who says it.
    pub originator: Originator,
    /// When it was written.
    pub created: Timestamp,
    /// Not to be shared before.
    pub valid_from: Timestamp,
    /// Not to be shared from then on.
    pub valid_until: Timestamp,
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// Topics of the taxonomy.
    pub topics: Vec<Topic>,
    /// Where; none means no region in particular.
    pub regions: Vec<Region>,
    /// How far it may go.
    pub tlp: Tlp,
    /// `None`: unclassified.
    pub classification: Option<Classification>,
    /// The partners to whom it is releasable; none means no restriction beyond the agreements,
    /// unless `audience_part` is set.
    pub releasable_to: Vec<PartnerId>,
    /// The list is (also) in a part that only the broker sees.
    pub audience_part: bool,
    /// Handling caveats.
    pub caveats: Vec<Caveat>,
    /// How urgent it is.
    pub precedence: Precedence,
    /// Nothing of it is real.
    pub exercise: bool,
    /// Admiralty code.
    pub admiralty: Admiralty,
    /// Earlier bulletins it replaces or takes back.
    pub references: Vec<Reference>,
    /// RFC 6962 root over the leaves of the parts.
    pub parts_root: Digest,
    /// Number of parts.
    pub part_count: u32,
    /// The key that signs the burst.
    pub signing_key: KeyId,
    /// The size of the log that the originator has seen: it is decided upon at that position or a
    /// later one. 0: it has seen none.
    pub as_of: u64,
    /// Goes to exactly those who received the one bulletin that it refers to.
    pub notice: bool,
    /// Where it comes from, if it was carried here from another ledger.
    pub crossing: Option<Box<Crossing>>,
}

impl Header {
    /// The bulletins that it passes on: the one that its originator received, then the one that this
    /// one passes on, and so on.
    pub fn passes_on(&self) -> impl Iterator<Item = BulletinId> {
        let references = self.references.iter();
        references
            .filter(|reference| reference.relation == Relation::PassesOn)
            .map(|reference| reference.bulletin)
    }

    /// What a decision looks at. `originator` is who says it by its own name, and `disguise` what is
    /// known of its pseudonym. `audience` is the content of the audience part: where the header
    /// announces one and there is none, the bulletin is releasable to nobody.
    pub fn labels(
        &self,
        originator: PartnerId,
        disguise: Option<Disguise>,
        audience: Option<&BTreeSet<PartnerId>>,
    ) -> Labels {
        let listed = (!self.releasable_to.is_empty())
            .then(|| self.releasable_to.iter().cloned().collect::<BTreeSet<_>>());
        let hidden = self
            .audience_part
            .then(|| audience.cloned().unwrap_or_default());
        let releasable_to = match (listed, hidden) {
            (Some(listed), Some(hidden)) => Some(&listed & &hidden),
            (listed, hidden) => listed.or(hidden),
        };
        Labels {
            originator,
            disguise,
            kinds: self.kinds.clone(),
            topics: self.topics.clone(),
            regions: self.regions.clone(),
            tlp: self.tlp,
            classification: self.classification.clone(),
            releasable_to,
            caveats: self.caveats.clone(),
            precedence: self.precedence,
            exercise: self.exercise,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            admiralty: self.admiralty,
            names_recipients: self.releasable_to.len() > 1
                || original_names(self.crossing.as_deref()),
        }
    }
}

/// Whether the original of what was carried here names several partners: its header goes along.
fn original_names(crossing: Option<&Crossing>) -> bool {
    crossing.is_some_and(|crossing| crossing.original.releasable_to.len() > 1)
}
