//! Agreements to and from their canonical bytes.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::error::AgreementError;
use super::ratify::{Ratification, SignedAgreement, SignedWithdrawal, Withdrawal};
use super::terms::{
    Agreement, AgreementId, Clause, Equivalent, Hold, MAX_PARTIES, Onward, Parties, Party, Person,
    Quota, References, Regions, Topics,
};
use crate::bulletin::{Classification, Kind, Level, Precedence, Shown, Tlp};
use crate::clock::Timestamp;
use crate::partner::{signature_from_wire, signature_to_wire};
use crate::proof::{Digest, PublicKey};
use crate::proto;

use AgreementError::NotCanonical;

/// The largest agreement we read, in bytes.
const MAX_AGREEMENT_BYTES: usize = 1024 * 1024;
/// Stands for all values of a list.
const ALL: &str = "*";

type Read<T> = Result<T, AgreementError>;

impl Agreement {
    /// The canonical bytes: what parties sign.
    pub fn to_bytes(&self) -> Bytes {
        let mut parties: Vec<_> = self
            .parties
            .iter()
            .map(|party| proto::Party {
                partner: party.partner.to_string(),
                key_set: digest_bytes(&party.key_set),
            })
            .collect();
        parties.sort_by(|one, other| one.partner.cmp(&other.partner));
        proto::Agreement {
            format: 1,
            ledger: digest_bytes(&self.ledger),
            name: self.name.to_string(),
            version: self.version,
            previous: self.previous.as_ref().map(digest_bytes).unwrap_or_default(),
            title: self.title.clone(),
            parties,
            valid_from: self.valid_from.micros(),
            valid_until: self.valid_until.micros(),
            clauses: self.clauses.iter().map(write_clause).collect(),
            equivalents: self.equivalents.iter().map(write_equivalent).collect(),
            persons: self.persons.iter().map(write_person).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads canonical bytes. Whatever this version would not have written itself, down to one
    /// bit, is no agreement: nobody could say what its signers meant.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        if bytes.len() > MAX_AGREEMENT_BYTES {
            return Err(NotCanonical("it is larger than 1 MiB"));
        }
        let wire = proto::Agreement::decode(bytes.clone())
            .map_err(|_| NotCanonical("it is not the encoding of agreement.proto"))?;
        if wire.format != 1 {
            return Err(NotCanonical("its format is not 1"));
        }
        let agreement = read_agreement(&wire)?;
        agreement.check()?;
        if agreement.to_bytes() != bytes {
            return Err(NotCanonical(
                "it has unknown fields, or is not in canonical order",
            ));
        }
        Ok(agreement)
    }
}

fn read_agreement(wire: &proto::Agreement) -> Read<Agreement> {
    if wire.parties.len() > MAX_PARTIES {
        return Err(AgreementError::invalid("parties", "there are too many"));
    }
    let parties = wire.parties.iter().map(|party| {
        Ok(Party {
            partner: parse("parties", &party.partner)?,
            key_set: read_digest("parties", &party.key_set)?,
        })
    });
    let previous = match wire.previous.as_ref() {
        [] => None,
        _ => Some(read_digest("previous", &wire.previous)?),
    };
    Ok(Agreement {
        ledger: read_digest("ledger", &wire.ledger)?,
        name: Arc::from(wire.name.as_str()),
        version: wire.version,
        previous,
        title: wire.title.clone(),
        parties: parties.collect::<Read<_>>()?,
        valid_from: read_time("valid_from", wire.valid_from)?,
        valid_until: read_time("valid_until", wire.valid_until)?,
        equivalents: read_equivalents(&wire.equivalents)?,
        persons: wire.persons.iter().map(read_person).collect::<Read<_>>()?,
        clauses: wire.clauses.iter().map(read_clause).collect::<Read<_>>()?,
    })
}

fn write_person(person: &Person) -> proto::ReleasingPerson {
    proto::ReleasingPerson {
        name: person.name.clone(),
        partner: person.partner.to_string(),
        key: Bytes::copy_from_slice(&person.key.0),
    }
}

fn read_person(wire: &proto::ReleasingPerson) -> Read<Person> {
    let key = PublicKey::try_from(wire.key.as_ref());
    Ok(Person {
        name: wire.name.clone(),
        partner: parse("persons", &wire.partner)?,
        key: key.map_err(|error| AgreementError::invalid("persons", error.to_string()))?,
    })
}

fn write_equivalent(one: &Equivalent) -> proto::Equivalent {
    proto::Equivalent {
        level: Some(write_classification(&one.level)),
        counts_as: Some(write_classification(&one.counts_as)),
    }
}

fn read_equivalents(wire: &[proto::Equivalent]) -> Read<Vec<Equivalent>> {
    let read = |wire: &Option<proto::Classification>| {
        let wire = wire.as_ref().ok_or_else(|| unknown("equivalents"))?;
        read_classification("equivalents", wire)
    };
    let mut all = wire
        .iter()
        .map(|one| {
            Ok(Equivalent {
                level: read(&one.level)?,
                counts_as: read(&one.counts_as)?,
            })
        })
        .collect::<Read<Vec<_>>>()?;
    // One order, so that the same terms are the same bytes.
    all.sort_by_key(Equivalent::order);
    Ok(all)
}

fn write_classification(one: &Classification) -> proto::Classification {
    proto::Classification {
        policy: one.policy.clone(),
        level: one.level.number(),
    }
}

fn read_classification(field: &'static str, wire: &proto::Classification) -> Read<Classification> {
    Ok(Classification {
        policy: wire.policy.clone(),
        level: Level::from_number(wire.level).ok_or_else(|| unknown(field))?,
    })
}

fn write_clause(clause: &Clause) -> proto::Clause {
    proto::Clause {
        id: clause.id.to_string(),
        from: write_parties(&clause.from),
        to: write_parties(&clause.to),
        kinds: clause.kinds.iter().map(|kind| kind.number()).collect(),
        topics: match &clause.topics {
            Topics::All => vec![ALL.to_owned()],
            Topics::Under(topics) => topics.iter().map(ToString::to_string).collect(),
        },
        regions: match &clause.regions {
            Regions::All => vec![ALL.to_owned()],
            Regions::Within(regions) => regions.iter().map(ToString::to_string).collect(),
        },
        tlp_ceiling: clause.tlp_ceiling.number(),
        classification_ceiling: clause
            .classification_ceiling
            .as_ref()
            .map(write_classification),
        precedences: clause
            .precedences
            .iter()
            .map(|precedence| precedence.number())
            .collect(),
        withhold: clause.withhold.iter().map(ToString::to_string).collect(),
        exercise_only: clause.exercise_only,
        onward: match clause.onward {
            Onward::None => proto::Onward::None,
            Onward::OriginatorConsent => proto::Onward::OriginatorConsent,
            Onward::WithinAgreement => proto::Onward::WithinAgreement,
        }
        .into(),
        least_reliability: clause.least_reliability.unwrap_or(0).into(),
        least_credibility: clause.least_credibility.unwrap_or(0).into(),
        refuse_references: clause.references == References::Refuse,
        confidential_recipients: clause.confidential_recipients,
        originator: match clause.originator {
            Shown::Named => proto::Shown::Unspecified,
            Shown::Alias => proto::Shown::Alias,
            Shown::Framework => proto::Shown::Framework,
        }
        .into(),
        quota: clause.quota.map(|quota| proto::Quota {
            bulletins: quota.bulletins,
            period_seconds: quota.period.as_secs(),
        }),
        federation: clause.federation.iter().map(digest_bytes).collect(),
        purposes: clause.purposes.iter().map(ToString::to_string).collect(),
        legal_basis: clause.legal_basis.clone(),
        hold: clause.hold.as_ref().map(|hold| proto::Hold {
            persons: hold.persons.iter().cloned().collect(),
            deadline_seconds: hold.deadline.as_secs(),
        }),
        backfill_from: clause.backfill_from.map(Timestamp::micros),
        retention_seconds: clause.retention.map_or(0, |retention| retention.as_secs()),
        acknowledge_within_seconds: clause
            .acknowledge_within
            .map_or(0, |within| within.as_secs()),
    }
}

fn read_clause(wire: &proto::Clause) -> Read<Clause> {
    let onward = match wire.onward() {
        proto::Onward::None => Onward::None,
        proto::Onward::OriginatorConsent => Onward::OriginatorConsent,
        proto::Onward::WithinAgreement => Onward::WithinAgreement,
        proto::Onward::Unspecified => return Err(unknown("clause.onward")),
    };
    let classification_ceiling = wire
        .classification_ceiling
        .as_ref()
        .map(|ceiling| read_classification("clause.classification_ceiling", ceiling))
        .transpose()?;
    Ok(Clause {
        id: Arc::from(wire.id.as_str()),
        from: read_parties("clause.from", &wire.from)?,
        to: read_parties("clause.to", &wire.to)?,
        kinds: numbers("clause.kinds", &wire.kinds, Kind::from_number)?,
        topics: if wire.topics == [ALL] {
            Topics::All
        } else {
            Topics::Under(parse_all("clause.topics", &wire.topics)?)
        },
        regions: if wire.regions == [ALL] {
            Regions::All
        } else {
            Regions::Within(parse_all("clause.regions", &wire.regions)?)
        },
        tlp_ceiling: Tlp::from_number(wire.tlp_ceiling)
            .ok_or_else(|| unknown("clause.tlp_ceiling"))?,
        classification_ceiling,
        precedences: numbers(
            "clause.precedences",
            &wire.precedences,
            Precedence::from_number,
        )?,
        withhold: parse_all("clause.withhold", &wire.withhold)?,
        exercise_only: wire.exercise_only,
        least_reliability: read_grade("clause.least_reliability", wire.least_reliability)?,
        least_credibility: read_grade("clause.least_credibility", wire.least_credibility)?,
        references: if wire.refuse_references {
            References::Refuse
        } else {
            References::Withhold
        },
        confidential_recipients: wire.confidential_recipients,
        originator: match proto::Shown::try_from(wire.originator) {
            Ok(proto::Shown::Unspecified) => Shown::Named,
            Ok(proto::Shown::Alias) => Shown::Alias,
            Ok(proto::Shown::Framework) => Shown::Framework,
            Err(_) => return Err(unknown("clause.originator")),
        },
        quota: wire.quota.as_ref().map(|quota| Quota {
            bulletins: quota.bulletins,
            period: Duration::from_secs(quota.period_seconds),
        }),
        hold: wire.hold.as_ref().map(|hold| Hold {
            persons: hold.persons.iter().cloned().collect(),
            deadline: Duration::from_secs(hold.deadline_seconds),
        }),
        onward,
        federation: wire
            .federation
            .iter()
            .map(|ledger| read_digest("clause.federation", ledger))
            .collect::<Read<_>>()?,
        purposes: parse_all("clause.purposes", &wire.purposes)?,
        legal_basis: wire.legal_basis.clone(),
        retention: Some(wire.retention_seconds)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        backfill_from: wire
            .backfill_from
            .map(|micros| {
                Timestamp::from_micros(micros).ok_or_else(|| unknown("clause.backfill_from"))
            })
            .transpose()?,
        acknowledge_within: Some(wire.acknowledge_within_seconds)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    })
}

fn read_grade(field: &'static str, value: u32) -> Read<Option<u8>> {
    match value {
        0 => Ok(None),
        _ => u8::try_from(value).map(Some).map_err(|_| unknown(field)),
    }
}

fn write_parties(parties: &Parties) -> Vec<String> {
    match parties {
        Parties::All => vec![ALL.to_owned()],
        Parties::Named(named) => named.iter().map(ToString::to_string).collect(),
    }
}

fn read_parties(field: &'static str, wire: &[String]) -> Read<Parties> {
    if wire == [ALL] {
        Ok(Parties::All)
    } else {
        Ok(Parties::Named(parse_all(field, wire)?))
    }
}

fn numbers<T: Ord>(
    field: &'static str,
    wire: &[i32],
    read: impl Fn(i32) -> Option<T>,
) -> Read<BTreeSet<T>> {
    wire.iter()
        .map(|number| read(*number).ok_or_else(|| unknown(field)))
        .collect()
}

fn parse<T: FromStr<Err: ToString>>(field: &'static str, text: &str) -> Read<T> {
    text.parse()
        .map_err(|error: T::Err| AgreementError::invalid(field, error.to_string()))
}

fn parse_all<T: FromStr<Err: ToString> + Ord>(
    field: &'static str,
    wire: &[String],
) -> Read<BTreeSet<T>> {
    wire.iter().map(|text| parse(field, text)).collect()
}

fn unknown(field: &'static str) -> AgreementError {
    AgreementError::invalid(field, "its value is missing or unknown to this version")
}

fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn read_digest(field: &'static str, bytes: &Bytes) -> Read<Digest> {
    Digest::try_from(bytes.as_ref())
        .map_err(|error| AgreementError::invalid(field, error.to_string()))
}

fn read_time(field: &'static str, micros: i64) -> Read<Timestamp> {
    Timestamp::from_micros(micros)
        .ok_or_else(|| AgreementError::invalid(field, "it is before 1970 or after 9999"))
}

impl SignedAgreement {
    /// As it travels.
    pub fn to_wire(&self) -> proto::SignedAgreement {
        let ratifications = self.ratifications().iter().map(|one| proto::Ratification {
            partner: one.partner.to_string(),
            signature: Some(signature_to_wire(&one.signature)),
        });
        proto::SignedAgreement {
            agreement: self.bytes().clone(),
            ratifications: ratifications.collect(),
        }
    }

    /// Reads what travelled. The terms and signatures are checked by [`SignedAgreement::check`].
    pub fn from_wire(wire: &proto::SignedAgreement) -> Read<Self> {
        if wire.ratifications.len() > MAX_PARTIES {
            return Err(NotCanonical(
                "it has more ratifications than an agreement has parties",
            ));
        }
        let ratifications = wire.ratifications.iter().map(|one| {
            let signature = one.signature.as_ref().and_then(signature_from_wire);
            Ok(Ratification {
                partner: parse("ratifications", &one.partner)?,
                signature: signature.ok_or(NotCanonical("a signature cannot be read"))?,
            })
        });
        Ok(Self::from_parts(
            wire.agreement.clone(),
            ratifications.collect::<Read<_>>()?,
        ))
    }

    /// The bytes of a file.
    pub fn to_file(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// From the bytes of a file.
    pub fn from_file(bytes: &[u8]) -> Read<Self> {
        let wire = proto::SignedAgreement::decode(Bytes::copy_from_slice(bytes));
        Self::from_wire(&wire.map_err(|_| NotCanonical("it is no agreement file"))?)
    }
}

impl Withdrawal {
    /// The bytes a party signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::Withdrawal {
            format: 1,
            ledger: digest_bytes(&self.ledger),
            agreement: digest_bytes(&self.agreement.0),
            partner: self.partner.to_string(),
            time: self.time.micros(),
            reason: self.reason.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::Withdrawal::decode(bytes.clone())
            .map_err(|_| NotCanonical("it is no withdrawal"))?;
        if wire.format != 1 || wire.encode_to_vec() != bytes.as_ref() {
            return Err(NotCanonical(
                "the withdrawal has unknown fields or another format",
            ));
        }
        Ok(Self {
            ledger: read_digest("ledger", &wire.ledger)?,
            agreement: AgreementId(read_digest("agreement", &wire.agreement)?),
            partner: parse("partner", &wire.partner)?,
            time: read_time("time", wire.time)?,
            reason: wire.reason,
        })
    }
}

impl SignedWithdrawal {
    /// As it travels.
    pub fn to_wire(&self) -> proto::SignedWithdrawal {
        proto::SignedWithdrawal {
            withdrawal: self.bytes().clone(),
            signature: Some(signature_to_wire(self.signature())),
        }
    }

    /// Reads what travelled. The signature is checked by [`SignedWithdrawal::check`].
    pub fn from_wire(wire: &proto::SignedWithdrawal) -> Read<Self> {
        let signature = wire.signature.as_ref().and_then(signature_from_wire);
        let signature = signature.ok_or(NotCanonical("a signature cannot be read"))?;
        Self::from_parts(wire.withdrawal.clone(), signature)
    }

    /// The bytes of a file.
    pub fn to_file(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// From the bytes of a file.
    pub fn from_file(bytes: &[u8]) -> Read<Self> {
        let wire = proto::SignedWithdrawal::decode(Bytes::copy_from_slice(bytes));
        Self::from_wire(&wire.map_err(|_| NotCanonical("it is no withdrawal file"))?)
    }
}
