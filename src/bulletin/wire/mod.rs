//! Bulletins to and from protobuf.

mod crossing;
mod envelope;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::crossing::Crossing;
use super::error::{
    MAX_BULLETIN_BYTES, MAX_HEADER_BYTES, MAX_LABELS, MAX_NAME_BYTES, MAX_PARTS, MAX_PASSED_ON,
    MAX_RELEASABLE_TO, Refused,
};
use super::header::{Admiralty, BulletinId, Header, Reference, Relation};
use super::labels::{Caveat, Classification, Kind, Level, Marking, Precedence, Tlp};
use super::originator::{Originator, Pseudonym};
use super::part::{OpenPart, Part, PartDigest};
use super::seal::{BurstProof, Sealed};
use crate::clock::Timestamp;
use crate::partner::{PartnerId, signature_from_wire, signature_to_wire};
use crate::proof::{Digest, KeyId, PublicKey};
use crate::proto;

/// The fields of a header that this version knows.
const HEADER_FIELDS: std::ops::RangeInclusive<u32> = 1..=27;
/// Fields that a newer version may add without an older one refusing them.
const NON_CRITICAL_FIELDS: std::ops::RangeInclusive<u32> = 1000..=1999;

impl Header {
    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Bytes {
        proto::Header {
            format: 1,
            id: Bytes::copy_from_slice(&self.id.0),
            originator: self
                .originator
                .partner()
                .map(ToString::to_string)
                .unwrap_or_default(),
            created: self.created.micros(),
            valid_from: self.valid_from.micros(),
            valid_until: self.valid_until.micros(),
            kinds: self.kinds.iter().map(|kind| kind.number()).collect(),
            topics: self.topics.iter().map(ToString::to_string).collect(),
            regions: self.regions.iter().map(ToString::to_string).collect(),
            tlp: self.tlp.number(),
            classification: self
                .classification
                .as_ref()
                .map(|whole| proto::Classification {
                    policy: whole.policy.clone(),
                    level: whole.level.number(),
                }),
            releasable_to: self.releasable_to.iter().map(ToString::to_string).collect(),
            audience_part: self.audience_part,
            caveats: self.caveats.iter().map(|caveat| caveat.number()).collect(),
            precedence: self.precedence.number(),
            exercise: self.exercise,
            source_reliability: self.admiralty.reliability.unwrap_or(0).into(),
            credibility: self.admiralty.credibility.unwrap_or(0).into(),
            references: self.references.iter().map(write_reference).collect(),
            parts_root: digest_bytes(&self.parts_root),
            part_count: self.part_count,
            signing_key: digest_bytes(&self.signing_key.0),
            as_of: self.as_of,
            notice: self.notice,
            pseudonym: self
                .originator
                .pseudonym()
                .map(|one| Bytes::copy_from_slice(&one.key.0))
                .unwrap_or_default(),
            single_use: self
                .originator
                .pseudonym()
                .is_some_and(|one| one.single_use),
            crossing: self
                .crossing
                .as_ref()
                .map(|crossing| crossing.to_bytes())
                .unwrap_or_default(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes. Unknown non-critical fields are passed over (the bytes keep them);
    /// unknown critical ones refuse the bulletin by number.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, Refused> {
        let mut wire = wire_header(bytes)?;
        let crossing = std::mem::take(&mut wire.crossing);
        let mut header = read_header(wire)?;
        if !crossing.is_empty() {
            header.crossing = Some(Box::new(Crossing::from_bytes(&crossing)?));
        }
        header.check()?;
        Ok(header)
    }

    /// Reads the header of an original that was carried here. One that was itself made to be carried is not
    /// looked into: nobody goes down into what somebody nested.
    pub(super) fn original_from_bytes(bytes: &Bytes) -> Result<Self, Refused> {
        let wire = wire_header(bytes)?;
        if !wire.crossing.is_empty() {
            let reason = "its original came from another ledger itself".to_owned();
            return Err(Refused::Crossing(reason));
        }
        let header = read_header(wire)?;
        header.check()?;
        Ok(header)
    }

    /// The rules that hold between the fields of every header.
    pub(super) fn check(&self) -> Result<(), Refused> {
        count("kinds", self.kinds.len(), 1, Kind::ALL.len())?;
        count("topics", self.topics.len(), 1, MAX_LABELS)?;
        count("regions", self.regions.len(), 0, MAX_LABELS)?;
        count("caveats", self.caveats.len(), 0, MAX_LABELS)?;
        count("references", self.references.len(), 0, MAX_LABELS)?;
        count(
            "releasable_to",
            self.releasable_to.len(),
            0,
            MAX_RELEASABLE_TO,
        )?;
        if let Originator::Pseudonym(pseudonym) = &self.originator
            && pseudonym.key.id() != self.signing_key
        {
            return Err(invalid("pseudonym", "it is not the key that signs"));
        }
        if self.notice && self.references.len() != 1 {
            return Err(invalid(
                "notice",
                "it refers to one bulletin, and to one only",
            ));
        }
        let mut references = self.references.iter();
        if !self.notice && references.any(|one| one.relation == Relation::Ends) {
            return Err(invalid("references", "only a notice ends something"));
        }
        let passed_on = self.passes_on().count();
        if passed_on > 0 && (self.notice || passed_on != self.references.len()) {
            return Err(invalid(
                "references",
                "what passes a bulletin on does nothing else to an earlier one",
            ));
        }
        count("bulletins passed on", passed_on, 0, MAX_PASSED_ON)?;
        if self.valid_until <= self.valid_from {
            return Err(invalid("valid_until", "it is not after valid_from"));
        }
        if self
            .references
            .iter()
            .any(|reference| reference.bulletin == self.id)
        {
            return Err(invalid("references", "the bulletin refers to itself"));
        }
        let crossing = self.crossing.as_ref();
        crossing.map_or(Ok(()), |crossing| crossing.check(self))
    }
}

/// Decodes signed bytes of a form that this version knows.
fn wire_header(bytes: &Bytes) -> Result<proto::Header, Refused> {
    if bytes.len() > MAX_HEADER_BYTES {
        let (what, limit) = ("header".to_owned(), MAX_HEADER_BYTES);
        return Err(Refused::TooLarge {
            what,
            bytes: bytes.len(),
            limit,
        });
    }
    refuse_unknown(bytes, &HEADER_FIELDS, "header")?;
    let wire = proto::Header::decode(bytes.clone()).map_err(|_| Refused::Malformed("header"))?;
    if wire.format != 1 {
        return Err(Refused::UnknownFormat(wire.format));
    }
    Ok(wire)
}

fn count(what: &'static str, found: usize, least: usize, limit: usize) -> Result<(), Refused> {
    if (least..=limit).contains(&found) {
        Ok(())
    } else {
        Err(Refused::Count {
            what,
            count: found,
            limit,
        })
    }
}

fn invalid(field: &'static str, reason: impl ToString) -> Refused {
    Refused::InvalidField {
        field,
        reason: reason.to_string(),
    }
}

/// Walks the tags of a message: prost would drop what it does not know without a word.
fn refuse_unknown(
    bytes: &Bytes,
    known: &std::ops::RangeInclusive<u32>,
    what: &'static str,
) -> Result<(), Refused> {
    let malformed = |_| Refused::Malformed(what);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (number, wire_type) = decode_key(&mut rest).map_err(malformed)?;
        if !known.contains(&number) && !NON_CRITICAL_FIELDS.contains(&number) {
            return Err(Refused::UnknownCriticalField(number));
        }
        skip_field(wire_type, number, &mut rest, DecodeContext::default()).map_err(malformed)?;
    }
    Ok(())
}

fn read_header(wire: proto::Header) -> Result<Header, Refused> {
    let id = wire
        .id
        .as_ref()
        .try_into()
        .map_err(|_| invalid("id", "it is not 16 bytes"))?;
    Ok(Header {
        id: BulletinId(id),
        originator: read_originator(&wire)?,
        created: read_time("created", wire.created)?,
        valid_from: read_time("valid_from", wire.valid_from)?,
        valid_until: read_time("valid_until", wire.valid_until)?,
        kinds: read_all("kinds", &wire.kinds, |number| Kind::from_number(*number))?,
        topics: parse_all("topics", &wire.topics)?,
        regions: parse_all("regions", &wire.regions)?,
        tlp: Tlp::from_number(wire.tlp).ok_or_else(|| unknown("tlp"))?,
        classification: wire.classification.map(read_classification).transpose()?,
        releasable_to: parse_all("releasable_to", &wire.releasable_to)?,
        audience_part: wire.audience_part,
        caveats: read_all("caveats", &wire.caveats, |number| {
            Caveat::from_number(*number)
        })?,
        precedence: Precedence::from_number(wire.precedence)
            .ok_or_else(|| unknown("precedence"))?,
        exercise: wire.exercise,
        admiralty: Admiralty {
            reliability: read_grade("source_reliability", wire.source_reliability)?,
            credibility: read_grade("credibility", wire.credibility)?,
        },
        references: wire
            .references
            .iter()
            .map(read_reference)
            .collect::<Result<_, _>>()?,
        parts_root: read_digest("parts_root", &wire.parts_root)?,
        part_count: wire.part_count,
        signing_key: KeyId(read_digest("signing_key", &wire.signing_key)?),
        as_of: wire.as_of,
        notice: wire.notice,
        crossing: None,
    })
}

/// A partner or a pseudonym, and never both.
fn read_originator(wire: &proto::Header) -> Result<Originator, Refused> {
    if wire.pseudonym.is_empty() && !wire.single_use {
        let partner = wire.originator.parse::<PartnerId>();
        let partner = partner.map_err(|error| invalid("originator", error))?;
        return Ok(Originator::Partner(partner));
    }
    if !wire.originator.is_empty() {
        return Err(invalid("originator", "it is there beside a pseudonym"));
    }
    let key = PublicKey::try_from(wire.pseudonym.as_ref());
    Ok(Originator::Pseudonym(Pseudonym {
        key: key.map_err(|error| invalid("pseudonym", error))?,
        single_use: wire.single_use,
    }))
}

fn unknown(field: &'static str) -> Refused {
    invalid(field, "its value is missing or unknown to this version")
}

fn read_time(field: &'static str, micros: i64) -> Result<Timestamp, Refused> {
    Timestamp::from_micros(micros).ok_or_else(|| invalid(field, "it is before 1970 or after 9999"))
}

/// Reads a list of labels; one twice is refused, because nobody could say what it means.
fn read_all<W, T: PartialEq>(
    field: &'static str,
    wire: &[W],
    read: impl Fn(&W) -> Option<T>,
) -> Result<Vec<T>, Refused> {
    let mut items = Vec::with_capacity(wire.len().min(MAX_RELEASABLE_TO));
    count(field, wire.len(), 0, MAX_RELEASABLE_TO)?;
    for number in wire {
        let item = read(number).ok_or_else(|| unknown(field))?;
        if items.contains(&item) {
            return Err(invalid(field, "a value is there twice"));
        }
        items.push(item);
    }
    Ok(items)
}

fn parse_all<T>(field: &'static str, wire: &[String]) -> Result<Vec<T>, Refused>
where
    T: std::str::FromStr<Err: ToString> + PartialEq,
{
    if let Some(error) = wire.iter().find_map(|text| text.parse::<T>().err()) {
        return Err(invalid(field, error.to_string()));
    }
    read_all(field, wire, |text| text.parse().ok())
}

fn read_classification(wire: proto::Classification) -> Result<Classification, Refused> {
    let level = Level::from_number(wire.level).ok_or_else(|| unknown("classification"))?;
    if wire.policy.is_empty() || wire.policy.len() > MAX_NAME_BYTES {
        return Err(invalid(
            "classification",
            "its policy has no name, or too long a one",
        ));
    }
    Ok(Classification {
        policy: wire.policy,
        level,
    })
}

fn read_grade(field: &'static str, value: u32) -> Result<Option<u8>, Refused> {
    match value {
        0 => Ok(None),
        1..=6 => Ok(u8::try_from(value).ok()),
        _ => Err(invalid(field, "it is not one of the six grades")),
    }
}

fn write_reference(reference: &Reference) -> proto::Reference {
    let relation = match reference.relation {
        Relation::Supersedes => proto::Relation::Supersedes,
        Relation::Retracts => proto::Relation::Retracts,
        Relation::Downgrades => proto::Relation::Downgrades,
        Relation::PassesOn => proto::Relation::PassesOn,
        Relation::Ends => proto::Relation::Ends,
    };
    proto::Reference {
        relation: relation.into(),
        bulletin: Bytes::copy_from_slice(&reference.bulletin.0),
    }
}

fn read_reference(wire: &proto::Reference) -> Result<Reference, Refused> {
    let relation = match wire.relation() {
        proto::Relation::Supersedes => Relation::Supersedes,
        proto::Relation::Retracts => Relation::Retracts,
        proto::Relation::Downgrades => Relation::Downgrades,
        proto::Relation::PassesOn => Relation::PassesOn,
        proto::Relation::Ends => Relation::Ends,
        proto::Relation::Unspecified => return Err(unknown("references")),
    };
    let id = wire.bulletin.as_ref().try_into();
    let id = id.map_err(|_| invalid("references", "an id is not 16 bytes"))?;
    Ok(Reference {
        relation,
        bulletin: BulletinId(id),
    })
}

fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn read_digest(field: &'static str, bytes: &Bytes) -> Result<Digest, Refused> {
    Digest::try_from(bytes.as_ref()).map_err(|error| invalid(field, error))
}

/// A marking as it travels; `None` where it says nothing.
pub(super) fn marking_to_wire(marking: Marking) -> Option<proto::Marking> {
    (marking != Marking::default()).then(|| proto::Marking {
        tlp: marking.tlp.map_or(0, Tlp::number),
        level: marking.level.map_or(0, Level::number),
    })
}

/// Reads a marking; `None` where a value is unknown.
pub(super) fn marking_from_wire(wire: Option<&proto::Marking>) -> Option<Marking> {
    let Some(wire) = wire else {
        return Some(Marking::default());
    };
    let tlp = match wire.tlp {
        0 => None,
        number => Some(Tlp::from_number(number)?),
    };
    let level = match wire.level {
        0 => None,
        number => Some(Level::from_number(number)?),
    };
    Some(Marking { tlp, level })
}

impl PartDigest {
    /// From the ledger.
    pub fn from_wire(wire: &proto::PartDigest) -> Result<Self, Refused> {
        Ok(Self {
            class: wire.class.clone(),
            marking: marking_from_wire(wire.marking.as_ref()).ok_or_else(|| unknown("marking"))?,
            length: wire.length,
            body: read_digest("body", &wire.body)?,
        })
    }
}

impl BurstProof {
    /// As it travels.
    pub fn to_wire(&self) -> proto::BurstProof {
        // One allocation for all of them.
        let mut hashes = Vec::with_capacity(self.path.len() * 32);
        for hash in &self.path {
            hashes.extend_from_slice(hash.as_bytes());
        }
        let mut hashes = Bytes::from(hashes);
        proto::BurstProof {
            size: self.size,
            index: self.index,
            path: self.path.iter().map(|_| hashes.split_to(32)).collect(),
            signature: Some(signature_to_wire(&self.signature)),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: &proto::BurstProof) -> Result<Self, Refused> {
        // 32 levels are more than any burst has; `open` knows the exact number.
        count("hashes in the path of the burst", wire.path.len(), 0, 32)?;
        let path = wire.path.iter().map(|hash| read_digest("burst.path", hash));
        let signature = wire.signature.as_ref().and_then(signature_from_wire);
        Ok(Self {
            size: wire.size,
            index: wire.index,
            path: path.collect::<Result<_, _>>()?,
            signature: signature.ok_or(Refused::Malformed("signature of the burst"))?,
        })
    }
}

impl Sealed {
    /// As it travels.
    pub fn to_wire(&self) -> proto::Envelope {
        let parts = self.parts.iter().map(|part| {
            let part = match part {
                Part::Open(part) => proto::part::Part::Open(proto::OpenPart {
                    salt: Bytes::copy_from_slice(&part.salt),
                    class: part.class.clone(),
                    marking: marking_to_wire(part.marking),
                    body: part.body.clone(),
                }),
                Part::Withheld(leaf) => proto::part::Part::Withheld(digest_bytes(leaf)),
            };
            proto::Part { part: Some(part) }
        });
        proto::Envelope {
            id: Bytes::copy_from_slice(&self.id.0),
            precedence: self.precedence.number(),
            header: self.header.clone(),
            burst: Some(self.burst.to_wire()),
            parts: parts.collect(),
        }
    }

    /// Reads what travelled. Nothing is verified yet.
    pub fn from_wire(wire: proto::Envelope) -> Result<Self, Refused> {
        let size = wire.encoded_len();
        if size > MAX_BULLETIN_BYTES {
            let (what, limit) = ("bulletin".to_owned(), MAX_BULLETIN_BYTES);
            return Err(Refused::TooLarge {
                what,
                bytes: size,
                limit,
            });
        }
        count("parts", wire.parts.len(), 1, MAX_PARTS)?;
        let id = wire
            .id
            .as_ref()
            .try_into()
            .map_err(|_| invalid("id", "it is not 16 bytes"))?;
        let burst = wire
            .burst
            .as_ref()
            .ok_or(Refused::Malformed("proof of the burst"))?;
        Ok(Self {
            id: BulletinId(id),
            precedence: Precedence::from_number(wire.precedence)
                .ok_or_else(|| unknown("precedence"))?,
            header: wire.header,
            burst: BurstProof::from_wire(burst)?,
            parts: wire
                .parts
                .into_iter()
                .map(read_part)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The serialized envelope, for files and stores.
    pub fn to_bytes(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From the bytes of a file or store.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, Refused> {
        if bytes.len() > MAX_BULLETIN_BYTES {
            let (what, limit) = ("bulletin".to_owned(), MAX_BULLETIN_BYTES);
            return Err(Refused::TooLarge {
                what,
                bytes: bytes.len(),
                limit,
            });
        }
        let wire = proto::Envelope::decode(bytes.clone());
        Self::from_wire(wire.map_err(|_| Refused::Malformed("bulletin"))?)
    }
}

fn read_part(wire: proto::Part) -> Result<Part, Refused> {
    match wire.part.ok_or(Refused::Malformed("part"))? {
        proto::part::Part::Withheld(leaf) => Ok(Part::Withheld(read_digest("withheld", &leaf)?)),
        proto::part::Part::Open(open) => {
            let marking = marking_from_wire(open.marking.as_ref());
            Ok(Part::Open(OpenPart {
                salt: open
                    .salt
                    .as_ref()
                    .try_into()
                    .map_err(|_| invalid("salt", "it is not 32 bytes"))?,
                class: open.class,
                marking: marking.ok_or_else(|| unknown("marking"))?,
                body: open.body,
            }))
        }
    }
}
