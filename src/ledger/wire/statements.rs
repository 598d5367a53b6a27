//! What partners and persons sign about single bulletins, to and from protobuf.

use bytes::Bytes;
use prost::Message;

use super::super::consent::{Consent, Question, SignedConsent};
use super::super::declaration::{Declaration, SignedDeclaration, What};
use super::super::hold::{HoldDecision, SignedHoldDecision};
use super::super::record::{InvalidRecord, LedgerId};
use super::{digest_bytes, read_digest, read_partner, read_time};
use crate::agreement::AgreementId;
use crate::bulletin::BulletinId;
use crate::partner::{signature_from_wire, signature_to_wire};
use crate::proto;

use InvalidRecord::Malformed;

type Read<T> = Result<T, InvalidRecord>;

/// The longest declaration or decision, in bytes.
const MAX_STATEMENT: usize = 32 * 1024;
/// The longest answer, which names all recipients once for each bulletin that it is about.
const MAX_CONSENT: usize = 160 * 1024;

impl SignedDeclaration {
    /// As it travels.
    pub fn to_wire(&self) -> proto::Declared {
        proto::Declared {
            declaration: self.bytes.clone(),
            signature: Some(signature_to_wire(&self.signature)),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: proto::Declared) -> Read<Self> {
        let signature = wire.signature.as_ref().and_then(signature_from_wire);
        Self::from_parts(wire.declaration, signature.ok_or(Malformed("signature"))?)
    }

    /// The bytes of a file or store.
    pub fn to_bytes(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From the bytes of a file or store.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::Declared::decode(bytes.clone());
        Self::from_wire(wire.map_err(|_| Malformed("declaration"))?)
    }
}

impl SignedHoldDecision {
    /// As it travels.
    pub fn to_wire(&self) -> proto::HoldDecided {
        proto::HoldDecided {
            decision: self.bytes.clone(),
            signature: Some(signature_to_wire(&self.signature)),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: proto::HoldDecided) -> Read<Self> {
        let signature = wire.signature.as_ref().and_then(signature_from_wire);
        Self::from_parts(wire.decision, signature.ok_or(Malformed("signature"))?)
    }

    /// The bytes of a file.
    pub fn to_bytes(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From the bytes of a file.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::HoldDecided::decode(bytes.clone());
        Self::from_wire(wire.map_err(|_| Malformed("decision"))?)
    }
}

impl HoldDecision {
    /// The bytes a person signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::HoldDecision {
            ledger: digest_bytes(&self.ledger.0),
            id: Bytes::copy_from_slice(&self.id.0),
            bulletin: digest_bytes(&self.bulletin),
            agreement: digest_bytes(&self.agreement.0),
            person: self.person.clone(),
            release: self.release,
            time: self.time.micros(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::HoldDecision::decode(bytes.clone());
        let wire = wire.map_err(|_| Malformed("decision"))?;
        let id = wire.id.as_ref().try_into().map_err(|_| Malformed("id"))?;
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            id: BulletinId(id),
            bulletin: read_digest("bulletin", &wire.bulletin)?,
            agreement: AgreementId(read_digest("agreement", &wire.agreement)?),
            person: wire.person,
            release: wire.release,
            time: read_time("time", wire.time)?,
        })
    }
}

impl Declaration {
    /// The bytes a recipient signs.
    pub fn to_bytes(&self) -> Bytes {
        use proto::declaration::What as Wire;
        let what = match &self.what {
            What::Taken => Wire::Taken(proto::Taken {}),
            What::Erased => Wire::Erased(proto::Erased {}),
            What::Refused(reason) => Wire::Refused(reason.clone()),
            What::Applied(notice) => Wire::Applied(digest_bytes(notice)),
            What::PassedOn { notice, to } => Wire::PassedOn(proto::PassedOn {
                notice: digest_bytes(notice),
                to: to.iter().map(ToString::to_string).collect(),
            }),
            What::Carried { into, notice } => Wire::Carried(proto::Carried {
                into: digest_bytes(into),
                notice: notice.as_ref().map(digest_bytes).unwrap_or_default(),
            }),
            What::Unable { notice, reason } => Wire::Unable(proto::Unable {
                notice: digest_bytes(notice),
                reason: reason.clone(),
            }),
        };
        proto::Declaration {
            ledger: digest_bytes(&self.ledger.0),
            partner: self.partner.to_string(),
            id: Bytes::copy_from_slice(&self.id.0),
            bulletin: digest_bytes(&self.bulletin),
            time: self.time.micros(),
            what: Some(what),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        use proto::declaration::What as Wire;
        let wire = proto::Declaration::decode(bytes.clone());
        let wire = wire.map_err(|_| Malformed("declaration"))?;
        if bytes.len() > MAX_STATEMENT {
            return Err(Malformed("declaration"));
        }
        let id = wire.id.as_ref().try_into().map_err(|_| Malformed("id"))?;
        let what = match wire.what.ok_or(InvalidRecord::UnknownKind)? {
            Wire::Taken(_) => What::Taken,
            Wire::Erased(_) => What::Erased,
            Wire::Refused(reason) => What::Refused(reason),
            Wire::Applied(notice) => What::Applied(read_digest("notice", &notice)?),
            Wire::PassedOn(passed_on) => What::PassedOn {
                notice: read_digest("notice", &passed_on.notice)?,
                to: passed_on
                    .to
                    .iter()
                    .map(|to| read_partner(to))
                    .collect::<Read<_>>()?,
            },
            Wire::Carried(carried) => What::Carried {
                into: read_digest("into", &carried.into)?,
                notice: (!carried.notice.is_empty())
                    .then(|| read_digest("notice", &carried.notice))
                    .transpose()?,
            },
            Wire::Unable(unable) => What::Unable {
                notice: read_digest("notice", &unable.notice)?,
                reason: unable.reason,
            },
        };
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            partner: read_partner(&wire.partner)?,
            id: BulletinId(id),
            bulletin: read_digest("bulletin", &wire.bulletin)?,
            time: read_time("time", wire.time)?,
            what,
        })
    }
}

impl SignedConsent {
    /// As it travels.
    pub fn to_wire(&self) -> proto::ConsentDecided {
        proto::ConsentDecided {
            consent: self.bytes.clone(),
            signature: Some(signature_to_wire(&self.signature)),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: proto::ConsentDecided) -> Read<Self> {
        let signature = wire.signature.as_ref().and_then(signature_from_wire);
        Self::from_parts(wire.consent, signature.ok_or(Malformed("signature"))?)
    }
}

impl Consent {
    /// The bytes an originator signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::Consent {
            ledger: digest_bytes(&self.ledger.0),
            partner: self.partner.to_string(),
            id: Bytes::copy_from_slice(&self.id.0),
            bulletin: digest_bytes(&self.bulletin),
            approve: self.approve,
            reason: self.reason.clone(),
            time: self.time.micros(),
            asker: self.asker.to_string(),
            questions: self.questions.iter().map(Question::to_wire).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        if bytes.len() > MAX_CONSENT {
            return Err(Malformed("consent"));
        }
        let wire = proto::Consent::decode(bytes.clone());
        let wire = wire.map_err(|_| Malformed("consent"))?;
        let id = wire.id.as_ref().try_into().map_err(|_| Malformed("id"))?;
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            partner: read_partner(&wire.partner)?,
            id: BulletinId(id),
            bulletin: read_digest("bulletin", &wire.bulletin)?,
            approve: wire.approve,
            reason: wire.reason,
            time: read_time("time", wire.time)?,
            asker: read_partner(&wire.asker)?,
            questions: wire
                .questions
                .iter()
                .map(Question::from_wire)
                .collect::<Read<_>>()?,
        })
    }
}

impl Question {
    /// As it travels.
    pub fn to_wire(&self) -> proto::Question {
        proto::Question {
            about: Bytes::copy_from_slice(&self.about.0),
            recipients: self.recipients.iter().map(ToString::to_string).collect(),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: &proto::Question) -> Read<Self> {
        let about = wire.about.as_ref().try_into();
        let recipients = wire.recipients.iter().map(|name| read_partner(name));
        Ok(Self {
            about: BulletinId(about.map_err(|_| Malformed("question"))?),
            recipients: recipients.collect::<Read<_>>()?,
        })
    }
}
