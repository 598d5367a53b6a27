//! A bulletin as far as its reader has it: what every export begins with.

use crate::bulletin::{
    Admiralty, BulletinId, Caveat, Classification, Content, Header, Kind, Level, Marking, Part,
    PartClass, Precedence, Reference, Region, Tlp, Topic,
};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// What a reader has of a bulletin. Of a withheld part there is nothing here, so that no export can
/// name or count it.
#[derive(Clone, Debug)]
pub struct Disclosed {
    /// The bulletin's id.
    pub id: BulletinId,
    /// Who says it, as it is shown to this reader: a partner, or a lasting alias; `None` where
    /// nothing is.
    pub originator: Option<String>,
    /// When it was written.
    pub created: Timestamp,
    /// Valid from.
    pub valid_from: Timestamp,
    /// Valid until.
    pub valid_until: Timestamp,
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// About what exactly.
    pub topics: Vec<Topic>,
    /// Where.
    pub regions: Vec<Region>,
    /// How far it may go.
    pub tlp: Tlp,
    /// `None`: unclassified.
    pub classification: Option<Classification>,
    /// To whom it is releasable; none: no restriction, or one that only the broker sees.
    pub releasable_to: Vec<PartnerId>,
    /// Handling caveats.
    pub caveats: Vec<Caveat>,
    /// How urgent it is.
    pub precedence: Precedence,
    /// Nothing of it is real.
    pub exercise: bool,
    /// Admiralty code.
    pub admiralty: Admiralty,
    /// Earlier bulletins that it replaces or takes back.
    pub references: Vec<Reference>,
    /// When its originator took it back, where it did.
    pub taken_back: Option<Timestamp>,
    /// When its originator put another in its place, where it did.
    pub superseded: Option<Timestamp>,
    /// What of it is here.
    pub parts: Vec<DisclosedPart>,
}

/// A part that is here.
#[derive(Clone, Debug)]
pub struct DisclosedPart {
    /// The hash of its leaf, in hexadecimal: the same for every reader, and for no other part.
    pub leaf: String,
    /// Stricter than the header's, or as the header.
    pub marking: Marking,
    /// What it says.
    pub content: Content,
}

impl Disclosed {
    /// What there is of a bulletin whose signature and root were checked. `originator` is who said
    /// it, as far as that is shown.
    pub fn of(header: &Header, parts: &[Part], originator: Option<String>) -> Self {
        let open = parts.iter().filter_map(|part| match part {
            Part::Open(open) => Some((part.leaf(), open)),
            Part::Withheld(_) => None,
        });
        let parts = open.filter_map(|(leaf, open)| {
            let class: PartClass = open.class.parse().ok()?;
            // For the broker only.
            if matches!(class, PartClass::Audience | PartClass::Identity) {
                return None;
            }
            Some(DisclosedPart {
                leaf: leaf.to_string(),
                marking: open.marking,
                content: Content::decode(class, &open.body).ok()?,
            })
        });
        Self {
            id: header.id,
            originator,
            created: header.created,
            valid_from: header.valid_from,
            valid_until: header.valid_until,
            kinds: header.kinds.clone(),
            topics: header.topics.clone(),
            regions: header.regions.clone(),
            tlp: header.tlp,
            classification: header.classification.clone(),
            releasable_to: header.releasable_to.clone(),
            caveats: header.caveats.clone(),
            precedence: header.precedence,
            exercise: header.exercise,
            admiralty: header.admiralty,
            references: header.references.clone(),
            taken_back: None,
            superseded: None,
            parts: parts.collect(),
        }
    }

    /// Since when it does not hold any more: its originator took it back, or put another in its place.
    pub fn ended(&self) -> Option<Timestamp> {
        self.taken_back.or(self.superseded)
    }

    /// How far a part may go.
    pub fn tlp_of(&self, part: &DisclosedPart) -> Tlp {
        part.marking.tlp.map_or(self.tlp, |tlp| tlp.max(self.tlp))
    }

    /// A part's level of classification; `None`: unclassified.
    pub fn level_of(&self, part: &DisclosedPart) -> Option<Level> {
        let own = self.classification.as_ref().map(|one| one.level);
        own.max(part.marking.level)
    }

    /// Whether a part may go as far as the bulletin itself, and be in what is shown of the whole.
    pub fn goes_as_far(&self, part: &DisclosedPart) -> bool {
        let own = self.classification.as_ref().map(|one| one.level);
        self.tlp_of(part) == self.tlp && self.level_of(part) == own
    }

    /// A level under the bulletin's policy, as people write it: `NATO SECRET`.
    pub fn written_level(&self, level: Level) -> String {
        let policy = self.classification.as_ref().map(|one| one.policy.as_str());
        policy.map_or_else(|| level.to_string(), |policy| format!("{policy} {level}"))
    }
}
