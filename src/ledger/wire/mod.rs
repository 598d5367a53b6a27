//! Records to and from protobuf.

mod erasure;
mod pieces;
mod statements;
mod written;

pub(super) use pieces::{Pieces, read_piece};
pub use written::clause_to_wire;
pub(crate) use written::put_clause;
pub(super) use written::{bodies, encode, fact_bytes};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::Mac as _;
use prost::Message;

use super::backfill::{Backfilled, BackfilledBulletin};
use super::commitment::{Commitment, ENTRY_BYTES, keyed};
use super::consent::SignedConsent;
use super::declaration::SignedDeclaration;
use super::erasure::{ContentsErased, ErasureOrder, ErasureOrdered};
use super::hold::SignedHoldDecision;
use super::onward::{Awaited, Bond};
use super::promise::{Promise, PromiseItem};
use super::record::{
    Accepted, Ack, CertificatesRevoked, Fact, Genesis, InvalidRecord, LaneAck, LaneRelease,
    LedgerId, Operator, OperatorSignature, PartnerAdmitted, Record, RedLinesOrder, RedLinesSet,
    SignedAck, SnapshotTaken, StandingChanged, StandingOrder,
};
use crate::agreement::{
    AgreementId, ClauseName, ClauseRef, Onward, SignedAgreement, SignedWithdrawal,
};
use crate::bulletin::{
    BulletinId, BurstProof, Header, OpenPart, Part, PartClass, PartDigest, Precedence, Sealed,
    read_identity,
};
use crate::clock::Timestamp;
use crate::decision::{RedLines, Release};
use crate::partner::{PartnerId, SignedKeySet, Standing, signature_from_wire, signature_to_wire};
use crate::proof::{Digest, PublicKey};
use crate::proto;

use InvalidRecord::Malformed;

type Read<T> = Result<T, InvalidRecord>;

impl Record {
    /// Reads a stored record and computes the commitment to it.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        Self::read(bytes, |wire, fact, releases| {
            Ok(Pieces::stored(wire, fact, releases)?.tree().commitment())
        })
    }

    /// Reads a stored record with the commitment to it that stands beside it, which is not compared: for
    /// who hands on what it contains, and leaves the comparison to those who look for damage.
    pub fn beside(bytes: &Bytes, entry: &[u8; ENTRY_BYTES]) -> Read<Self> {
        let commitment = Commitment::of_entry(entry).ok_or(Malformed("entry"))?;
        Self::read(bytes, |_, _, _| Ok(commitment))
    }

    fn read(
        bytes: &Bytes,
        commit: impl FnOnce(&proto::Record, &Fact, &[LaneRelease]) -> Read<Commitment>,
    ) -> Read<Self> {
        let wire = proto::Record::decode(bytes.clone()).map_err(|_| Malformed("record"))?;
        if ![pieces::FORMAT_1, pieces::FORMAT].contains(&wire.format) {
            return Err(InvalidRecord::UnknownFormat(wire.format));
        }
        let (stated, fact) = read_fact(&wire.fact)?;
        let time = read_time("time", wire.time)?;
        let expected = match fact {
            Fact::Cover => Timestamp::default(),
            _ => time,
        };
        if stated != expected {
            return Err(InvalidRecord::TimeDiffers);
        }
        let releases = wire
            .openings
            .iter()
            .map(read_release)
            .collect::<Read<Vec<_>>>()?;
        let commitment = commit(&wire, &fact, &releases)?;
        Ok(Self {
            time,
            fact,
            releases,
            commitment,
            bytes: bytes.clone(),
        })
    }
}

impl Genesis {
    /// The ledger's id: SHA-256 of the genesis fact's bytes.
    pub fn ledger_id(&self) -> LedgerId {
        LedgerId(Digest::of(&self.to_bytes()))
    }

    /// The genesis fact's bytes.
    pub fn to_bytes(&self) -> Bytes {
        fact_bytes(self.created, &Fact::Genesis(self.clone()))
    }

    /// Reads a genesis fact's bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        match read_fact(bytes)? {
            (_, Fact::Genesis(genesis)) => Ok(genesis),
            _ => Err(Malformed("genesis")),
        }
    }
}

/// What a fact says, as it is written.
enum Written<'a> {
    Message(Box<proto::fact::Fact>),
    AtOnce(&'a Accepted),
}

fn write_fact(fact: &Fact) -> Written<'_> {
    use proto::fact::Fact as Wire;
    let message = match fact {
        Fact::Genesis(genesis) => Wire::Genesis(write_genesis(genesis)),
        Fact::PartnerAdmitted(admitted) => Wire::PartnerAdmitted(proto::PartnerAdmitted {
            key_set: Some(admitted.key_set.to_wire()),
            operator: Some(write_operator(&admitted.operator)),
        }),
        Fact::StandingChanged(changed) => Wire::StandingChanged(proto::StandingChanged {
            order: changed.bytes.clone(),
            operator: Some(write_operator(&changed.operator)),
        }),
        Fact::KeySetRotated(key_set) => Wire::KeySetRotated(key_set.to_wire()),
        Fact::CertificatesRevoked(revoked) => Wire::CertificatesRevoked(revoked.to_wire()),
        Fact::RedLinesSet(set) => Wire::RedLinesSet(proto::RedLinesSet {
            order: set.bytes.clone(),
            operator: Some(write_operator(&set.operator)),
        }),
        Fact::AgreementRatified(signed) => Wire::AgreementRatified(signed.to_wire()),
        Fact::AgreementWithdrawn(signed) => Wire::AgreementWithdrawn(signed.to_wire()),
        Fact::Accepted(accepted) => return Written::AtOnce(accepted),
        Fact::Acknowledged(signed) => Wire::Acknowledged(proto::Acknowledged {
            statement: signed.bytes.clone(),
            signature: Some(signature_to_wire(&signed.signature)),
        }),
        Fact::Declared(signed) => Wire::Declared(signed.to_wire()),
        Fact::HoldDecided(signed) => Wire::HoldDecided(signed.to_wire()),
        Fact::ConsentDecided(signed) => Wire::ConsentDecided(signed.to_wire()),
        Fact::Backfilled(one) => Wire::Backfilled(write_backfilled(one)),
        Fact::ContentsErased(erased) => Wire::ContentsErased(erased.to_wire()),
        Fact::ErasureOrdered(ordered) => Wire::ErasureOrdered(proto::ErasureOrdered {
            order: ordered.bytes.clone(),
            operator: Some(write_operator(&ordered.operator)),
        }),
        Fact::Cover => Wire::Cover(proto::Cover {}),
        Fact::Tick => Wire::Tick(proto::Tick {}),
        Fact::SnapshotTaken(taken) => Wire::SnapshotTaken(proto::SnapshotTaken {
            size: taken.size,
            root: digest_bytes(&taken.root),
            digest: digest_bytes(&taken.digest),
        }),
    };
    Written::Message(Box::new(message))
}

fn read_fact(bytes: &Bytes) -> Read<(Timestamp, Fact)> {
    use proto::fact::Fact as Wire;
    let wire = proto::Fact::decode(bytes.clone()).map_err(|_| Malformed("fact"))?;
    let time = read_time("time", wire.time)?;
    let fact = match wire.fact.ok_or(InvalidRecord::UnknownKind)? {
        Wire::Genesis(genesis) => Fact::Genesis(read_genesis(&genesis)?),
        Wire::PartnerAdmitted(admitted) => Fact::PartnerAdmitted(PartnerAdmitted {
            key_set: SignedKeySet::from_wire(&admitted.key_set.ok_or(Malformed("key_set"))?)?,
            operator: read_operator(admitted.operator)?,
        }),
        Wire::StandingChanged(changed) => Fact::StandingChanged(StandingChanged {
            order: StandingOrder::from_bytes(&changed.order)?,
            bytes: changed.order,
            operator: read_operator(changed.operator)?,
        }),
        Wire::KeySetRotated(key_set) => Fact::KeySetRotated(SignedKeySet::from_wire(&key_set)?),
        Wire::CertificatesRevoked(revoked) => {
            Fact::CertificatesRevoked(CertificatesRevoked::from_wire(revoked)?)
        }
        Wire::RedLinesSet(set) => Fact::RedLinesSet(RedLinesSet {
            order: RedLinesOrder::from_bytes(&set.order)?,
            bytes: set.order,
            operator: read_operator(set.operator)?,
        }),
        Wire::AgreementRatified(signed) => {
            Fact::AgreementRatified(SignedAgreement::from_wire(&signed)?)
        }
        Wire::AgreementWithdrawn(signed) => {
            Fact::AgreementWithdrawn(SignedWithdrawal::from_wire(&signed)?)
        }
        Wire::Accepted(accepted) => Fact::Accepted(Box::new(read_accepted(accepted)?)),
        Wire::Acknowledged(wire) => {
            let signature = wire.signature.as_ref().and_then(signature_from_wire);
            let signature = signature.ok_or(Malformed("signature"))?;
            Fact::Acknowledged(SignedAck::from_parts(wire.statement, signature)?)
        }
        Wire::HoldDecided(wire) => Fact::HoldDecided(SignedHoldDecision::from_wire(wire)?),
        Wire::ConsentDecided(wire) => Fact::ConsentDecided(SignedConsent::from_wire(wire)?),
        Wire::Backfilled(wire) => Fact::Backfilled(read_backfilled(&wire)?),
        Wire::Declared(wire) => Fact::Declared(SignedDeclaration::from_wire(wire)?),
        Wire::ContentsErased(erased) => Fact::ContentsErased(ContentsErased::from_wire(&erased)?),
        Wire::ErasureOrdered(ordered) => Fact::ErasureOrdered(ErasureOrdered {
            order: ErasureOrder::from_bytes(&ordered.order)?,
            bytes: ordered.order,
            operator: read_operator(ordered.operator)?,
        }),
        Wire::Cover(_) => Fact::Cover,
        Wire::Tick(_) => Fact::Tick,
        Wire::SnapshotTaken(taken) => Fact::SnapshotTaken(SnapshotTaken {
            size: taken.size,
            root: read_digest("root", &taken.root)?,
            digest: read_digest("digest", &taken.digest)?,
        }),
    };
    Ok((time, fact))
}

fn write_genesis(genesis: &Genesis) -> proto::Genesis {
    let operators = genesis.operators.iter().map(|operator| proto::Operator {
        name: operator.name.clone(),
        public_key: Bytes::copy_from_slice(&operator.public_key.0),
    });
    proto::Genesis {
        framework: genesis.framework.clone(),
        log_key: genesis.log_key.clone(),
        operators: operators.collect(),
        rules: genesis.rules,
        witness_policy: genesis.witness_policy.clone(),
        nonce: Bytes::copy_from_slice(&genesis.nonce),
        created: genesis.created.micros(),
    }
}

fn read_genesis(wire: &proto::Genesis) -> Read<Genesis> {
    let operators = wire.operators.iter().map(|operator| {
        let public_key = PublicKey::try_from(operator.public_key.as_ref());
        let public_key = public_key.map_err(|_| Malformed("operators"))?;
        Ok(Operator {
            name: operator.name.clone(),
            public_key,
        })
    });
    Ok(Genesis {
        framework: wire.framework.clone(),
        log_key: wire.log_key.clone(),
        operators: operators.collect::<Read<_>>()?,
        rules: wire.rules,
        witness_policy: wire.witness_policy.clone(),
        nonce: wire
            .nonce
            .as_ref()
            .try_into()
            .map_err(|_| Malformed("nonce"))?,
        created: read_time("created", wire.created)?,
    })
}

fn write_operator(operator: &OperatorSignature) -> proto::OperatorSignature {
    proto::OperatorSignature {
        operator: operator.operator.clone(),
        signature: Some(signature_to_wire(&operator.signature)),
    }
}

fn read_operator(wire: Option<proto::OperatorSignature>) -> Read<OperatorSignature> {
    let wire = wire.ok_or(Malformed("operator"))?;
    let signature = wire.signature.as_ref().and_then(signature_from_wire);
    Ok(OperatorSignature {
        operator: wire.operator,
        signature: signature.ok_or(Malformed("signature"))?,
    })
}

impl StandingOrder {
    /// The bytes an operator signs.
    pub fn to_bytes(&self) -> Bytes {
        let standing = match self.standing {
            Standing::Active => proto::Standing::Active,
            Standing::Suspended => proto::Standing::Suspended,
            Standing::Revoked => proto::Standing::Revoked,
        };
        proto::StandingOrder {
            ledger: digest_bytes(&self.ledger.0),
            partner: self.partner.to_string(),
            standing: standing.into(),
            reason: self.reason.clone(),
            time: self.time.micros(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::StandingOrder::decode(bytes.clone()).map_err(|_| Malformed("order"))?;
        let standing = match wire.standing() {
            proto::Standing::Active => Standing::Active,
            proto::Standing::Suspended => Standing::Suspended,
            proto::Standing::Revoked => Standing::Revoked,
            proto::Standing::Unspecified => return Err(Malformed("standing")),
        };
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            partner: read_partner(&wire.partner)?,
            standing,
            reason: wire.reason,
            time: read_time("time", wire.time)?,
        })
    }
}

impl RedLinesOrder {
    /// The bytes an operator signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::RedLinesOrder {
            ledger: digest_bytes(&self.ledger.0),
            text: self.text.clone(),
            time: self.time.micros(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::RedLinesOrder::decode(bytes.clone());
        let wire = wire.map_err(|_| Malformed("red lines"))?;
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            lines: RedLines::parse(&wire.text)?,
            text: wire.text,
            time: read_time("time", wire.time)?,
        })
    }
}

impl CertificatesRevoked {
    /// As it travels.
    pub fn to_wire(&self) -> proto::CertificatesRevoked {
        proto::CertificatesRevoked {
            partner: self.partner.to_string(),
            crl: self.crl.clone(),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: proto::CertificatesRevoked) -> Read<Self> {
        Ok(Self {
            partner: read_partner(&wire.partner)?,
            crl: wire.crl,
        })
    }
}

fn write_backfilled(one: &Backfilled) -> proto::Backfilled {
    let bulletin = one.bulletin.as_ref();
    proto::Backfilled {
        agreement: digest_bytes(&one.agreement.0),
        up_to: one.up_to,
        id: bulletin
            .map(|one| Bytes::copy_from_slice(&one.id.0))
            .unwrap_or_default(),
        bulletin: bulletin
            .map(|one| digest_bytes(&one.header))
            .unwrap_or_default(),
        precedence: bulletin.map_or(0, |one| one.precedence.number()),
    }
}

fn read_backfilled(wire: &proto::Backfilled) -> Read<Backfilled> {
    let bulletin = if wire.id.is_empty() {
        None
    } else {
        let id = wire.id.as_ref().try_into().map_err(|_| Malformed("id"))?;
        let precedence = Precedence::from_number(wire.precedence);
        Some(BackfilledBulletin {
            id: BulletinId(id),
            header: read_digest("bulletin", &wire.bulletin)?,
            precedence: precedence.ok_or(Malformed("precedence"))?,
        })
    };
    Ok(Backfilled {
        agreement: AgreementId(read_digest("agreement", &wire.agreement)?),
        up_to: wire.up_to,
        bulletin,
    })
}

fn write_awaited(awaited: &Awaited) -> proto::Awaited {
    proto::Awaited {
        recipient: awaited.recipient.to_string(),
        about: Bytes::copy_from_slice(&awaited.about.0),
        by: awaited.by.to_string(),
    }
}

fn read_awaited(wire: &proto::Awaited) -> Read<Awaited> {
    let about = wire.about.as_ref().try_into();
    Ok(Awaited {
        recipient: read_partner(&wire.recipient)?,
        about: BulletinId(about.map_err(|_| Malformed("awaited"))?),
        by: read_partner(&wire.by)?,
    })
}

fn write_bond(bond: &Bond) -> proto::Bond {
    proto::Bond {
        about: Bytes::copy_from_slice(&bond.about.0),
        agreement: digest_bytes(&bond.agreement.0),
        clause: bond.clause.clone(),
        onward: onward_to_wire(bond.onward),
        since: bond.since.micros(),
        except: bond
            .except
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

fn read_bond(wire: &proto::Bond) -> Read<Bond> {
    let about = wire.about.as_ref().try_into();
    let except = Some(&wire.except).filter(|name| !name.is_empty());
    Ok(Bond {
        about: BulletinId(about.map_err(|_| Malformed("bond"))?),
        agreement: AgreementId(read_digest("agreement", &wire.agreement)?),
        clause: wire.clause.clone(),
        onward: onward_from_wire(wire.onward).ok_or(Malformed("onward"))?,
        since: read_time("since", wire.since)?,
        except: except.map(|name| read_partner(name)).transpose()?,
    })
}

/// The one part of a class that is kept whole in the record; `None` where there is none.
fn read_kept(
    parts: &[PartDigest],
    class: PartClass,
    salt: &Bytes,
    body: &Bytes,
) -> Read<Option<OpenPart>> {
    let class = class.as_str();
    let Some(digest) = parts.iter().find(|part| part.class == class) else {
        return Ok(None);
    };
    let salt = salt.as_ref().try_into().map_err(|_| Malformed("salt"))?;
    Ok(Some(OpenPart {
        salt,
        class: class.to_owned(),
        marking: digest.marking,
        body: body.clone(),
    }))
}

fn read_accepted(wire: proto::Accepted) -> Read<Accepted> {
    let header = Header::from_bytes(&wire.header)?;
    let parts = wire
        .parts
        .iter()
        .map(PartDigest::from_wire)
        .collect::<Result<Vec<_>, _>>()?;
    let (salt, body) = (&wire.audience_salt, &wire.audience);
    let audience = read_kept(&parts, PartClass::Audience, salt, body)?;
    let (salt, body) = (&wire.identity_salt, &wire.identity);
    let identity = read_kept(&parts, PartClass::Identity, salt, body)?;
    let behind = identity.as_ref().map(|part| read_identity(&part.body));
    let (originator, disguise) = header.author(behind.transpose()?.as_ref())?;
    let burst = BurstProof::from_wire(&wire.burst.ok_or(Malformed("burst"))?)?;
    Ok(Accepted {
        header_hash: Digest::of(&wire.header),
        header_bytes: wire.header,
        header,
        originator,
        disguise,
        identity,
        burst,
        mentions: read_mentions(&wire.mentions, parts.len())?,
        parts,
        audience,
        awaited: wire.awaited.iter().map(read_awaited).collect::<Read<_>>()?,
        bonds: wire.bonds.iter().map(read_bond).collect::<Read<_>>()?,
    })
}

fn read_mentions(wire: &[proto::Mention], parts: usize) -> Read<Vec<Vec<u32>>> {
    let mut mentions = vec![Vec::new(); parts];
    let within = |index: &u32| usize::try_from(*index).is_ok_and(|index| index < parts);
    for mention in wire {
        let at = usize::try_from(mention.part).map_err(|_| Malformed("mentions"))?;
        let names = mentions.get_mut(at).ok_or(Malformed("mentions"))?;
        if !names.is_empty() || !mention.names.iter().all(within) {
            return Err(Malformed("mentions"));
        }
        names.clone_from(&mention.names);
    }
    Ok(mentions)
}

/// Reads a clause; `None` where its agreement's id is none.
pub fn clause_from_wire(wire: &proto::ClauseRef) -> Option<ClauseRef> {
    Some(ClauseRef::new(ClauseName {
        agreement: AgreementId(Digest::try_from(wire.agreement.as_ref()).ok()?),
        name: Arc::from(wire.name.as_str()),
        version: wire.version,
        clause: Arc::from(wire.clause.as_str()),
    }))
}

/// An onward rule as it travels.
pub const fn onward_to_wire(onward: Onward) -> i32 {
    match onward {
        Onward::None => 1,
        Onward::OriginatorConsent => 2,
        Onward::WithinAgreement => 3,
    }
}

/// Reads an onward rule.
pub const fn onward_from_wire(number: i32) -> Option<Onward> {
    match number {
        1 => Some(Onward::None),
        2 => Some(Onward::OriginatorConsent),
        3 => Some(Onward::WithinAgreement),
        _ => None,
    }
}

fn read_release(bytes: &Bytes) -> Read<LaneRelease> {
    let wire = proto::Release::decode(bytes.clone()).map_err(|_| Malformed("release"))?;
    let clauses = wire
        .clauses
        .iter()
        .map(clause_from_wire)
        .collect::<Option<_>>();
    Ok(LaneRelease {
        bulletin: read_digest("bulletin", &wire.bulletin)?,
        number: wire.lane_number,
        release: Release {
            recipient: read_partner(&wire.recipient)?,
            clauses: clauses.ok_or(Malformed("clauses"))?,
            withheld: wire.withheld.into(),
            onward: onward_from_wire(wire.onward).ok_or(Malformed("onward"))?,
            held: wire.lane_number == 0,
        },
    })
}

impl LaneAck {
    /// As it travels.
    pub fn to_wire(&self) -> proto::LaneAck {
        proto::LaneAck {
            precedence: self.precedence.number(),
            up_to: self.up_to,
            chain: digest_bytes(&self.chain),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: &proto::LaneAck) -> Read<Self> {
        Ok(Self {
            precedence: Precedence::from_number(wire.precedence).ok_or(Malformed("precedence"))?,
            up_to: wire.up_to,
            chain: read_digest("chain", &wire.chain)?,
        })
    }
}

impl Ack {
    /// The bytes a recipient signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::AckStatement {
            ledger: digest_bytes(&self.ledger.0),
            recipient: self.recipient.to_string(),
            lanes: self.lanes.iter().map(LaneAck::to_wire).collect(),
            time: self.time.micros(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire =
            proto::AckStatement::decode(bytes.clone()).map_err(|_| Malformed("statement"))?;
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            recipient: read_partner(&wire.recipient)?,
            lanes: wire
                .lanes
                .iter()
                .map(LaneAck::from_wire)
                .collect::<Read<_>>()?,
            time: read_time("time", wire.time)?,
        })
    }
}

impl Accepted {
    /// Whether these are the bodies that were accepted: each gives the leaf that its originator signed.
    pub fn commits_to(&self, bodies: &Bytes) -> bool {
        let Ok(sealed) = self.to_sealed(Some(bodies)) else {
            return false;
        };
        let mut parts = sealed.parts.iter().zip(&self.parts);
        parts.all(|(part, digest)| matches!(part, Part::Open(part) if part.digest() == *digest))
    }

    /// The bulletin as its originator sealed it, from the record and the bodies beside it. Without
    /// bodies, because they were erased, every part is withheld.
    pub fn to_sealed(&self, bodies: Option<&Bytes>) -> Read<Sealed> {
        let bodies = bodies
            .map(|bytes| proto::Bodies::decode(bytes.clone()).map_err(|_| Malformed("bodies")))
            .transpose()?;
        let mut parts = Vec::with_capacity(self.parts.len());
        for (at, digest) in self.parts.iter().enumerate() {
            let body = bodies.as_ref().and_then(|bodies| bodies.parts.get(at));
            let salt = body.and_then(|body| <[u8; 32]>::try_from(body.salt.as_ref()).ok());
            parts.push(match (body, salt) {
                (Some(body), Some(salt)) => Part::Open(OpenPart {
                    salt,
                    class: digest.class.clone(),
                    marking: digest.marking,
                    body: body.body.clone(),
                }),
                _ => Part::Withheld(digest.leaf()),
            });
        }
        Ok(Sealed {
            id: self.header.id,
            precedence: self.header.precedence,
            header: self.header_bytes.clone(),
            burst: self.burst.clone(),
            parts,
        })
    }
}

pub(super) fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

pub(super) fn read_digest(field: &'static str, bytes: &Bytes) -> Read<Digest> {
    Digest::try_from(bytes.as_ref()).map_err(|_| Malformed(field))
}

pub(super) fn read_partner(text: &str) -> Read<PartnerId> {
    text.parse().map_err(|_| Malformed("partner"))
}

pub(super) fn read_time(field: &'static str, micros: i64) -> Read<Timestamp> {
    Timestamp::from_micros(micros).ok_or(Malformed(field))
}

/// The seed of one record, from that of its group: opening one record shows nothing of another.
pub(super) fn record_seed(group: &[u8; 32], position: u64) -> [u8; 32] {
    let mac = keyed(group).chain_update(position.to_be_bytes());
    mac.finalize().into_bytes().into()
}

impl Promise {
    /// The bytes the broker signs.
    pub fn to_bytes(&self) -> Bytes {
        let items = self.items.iter().map(|item| proto::PromiseItem {
            bulletin: Bytes::copy_from_slice(&item.bulletin.0),
            header: digest_bytes(&item.header),
            position: item.position,
        });
        proto::PromiseStatement {
            ledger: digest_bytes(&self.ledger.0),
            originator: self.originator.to_string(),
            items: items.collect(),
            time: self.time.micros(),
            merge_delay_ms: u32::try_from(self.merge_delay.as_millis()).unwrap_or(u32::MAX),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire =
            proto::PromiseStatement::decode(bytes.clone()).map_err(|_| Malformed("promise"))?;
        let items = wire.items.iter().map(|item| {
            let bulletin = item
                .bulletin
                .as_ref()
                .try_into()
                .map_err(|_| Malformed("bulletin"))?;
            Ok(PromiseItem {
                bulletin: BulletinId(bulletin),
                header: read_digest("header", &item.header)?,
                position: item.position,
            })
        });
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            originator: read_partner(&wire.originator)?,
            items: items.collect::<Read<_>>()?,
            time: read_time("time", wire.time)?,
            merge_delay: Duration::from_millis(wire.merge_delay_ms.into()),
        })
    }
}
