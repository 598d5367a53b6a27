//! Ratification and withdrawal: signatures over exact bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::diff::Difference;
use super::error::AgreementError;
use super::terms::{Agreement, AgreementId};
use crate::clock::Timestamp;
use crate::partner::{KeyChain, KeyUse, PartnerId};
use crate::proof::{Digest, PayloadType, PublicKey, SignError, Signature, Signer, verify};

/// The most pairs of clauses, and the most equivalents, of versions that are compared while a
/// Pairs of clauses times pairs of parties that are compared to see whether a version only narrows.
const MAX_COMPARED_BETWEEN: usize = 16_384;
/// signature is checked.
const MAX_COMPARED: usize = 1_024;
const MAX_COMPARED_EQUIVALENTS: usize = 32;

/// One party's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ratification {
    /// Who signs.
    pub partner: PartnerId,
    /// Over the agreement's bytes.
    pub signature: Signature,
}

/// An agreement's bytes with the signatures gathered so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAgreement {
    bytes: Bytes,
    ratifications: Vec<Ratification>,
}

/// An agreement that every party has signed. Made by [`SignedAgreement::check`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatifiedAgreement {
    id: AgreementId,
    agreement: Arc<Agreement>,
}

impl SignedAgreement {
    /// An agreement that nobody has signed yet.
    pub fn unsigned(agreement: &Agreement) -> Result<Self, AgreementError> {
        agreement.check()?;
        Ok(Self {
            bytes: agreement.to_bytes(),
            ratifications: Vec::new(),
        })
    }

    pub(super) fn from_parts(bytes: Bytes, ratifications: Vec<Ratification>) -> Self {
        Self {
            bytes,
            ratifications,
        }
    }

    /// The bytes that are signed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The signatures gathered so far.
    pub fn ratifications(&self) -> &[Ratification] {
        &self.ratifications
    }

    /// The agreement's id.
    pub fn id(&self) -> AgreementId {
        AgreementId(Digest::of(&self.bytes))
    }

    /// The terms, whoever signed them.
    pub fn terms(&self) -> Result<Agreement, AgreementError> {
        Agreement::from_bytes(&self.bytes)
    }

    /// Adds a party's signature, in place of one it gave before.
    pub fn ratify(&mut self, partner: &PartnerId, signer: &dyn Signer) -> Result<(), SignError> {
        let signature = signer.sign(PayloadType::Agreement, &self.bytes)?;
        self.ratifications.retain(|other| other.partner != *partner);
        self.ratifications.push(Ratification {
            partner: partner.clone(),
            signature,
        });
        self.ratifications
            .sort_by(|one, other| one.partner.cmp(&other.partner));
        Ok(())
    }

    /// Takes over the signatures of another copy of the same agreement.
    pub fn merge(&mut self, other: &Self) -> Result<(), AgreementError> {
        if other.bytes != self.bytes {
            return Err(AgreementError::OtherAgreement);
        }
        for ratification in &other.ratifications {
            if !self
                .ratifications
                .iter()
                .any(|own| own.partner == ratification.partner)
            {
                self.ratifications.push(ratification.clone());
            }
        }
        self.ratifications
            .sort_by(|one, other| one.partner.cmp(&other.partner));
        Ok(())
    }

    /// Checks that every party has signed exactly these bytes, once, with a key of the key set that
    /// the agreement pins for it: one valid at a moment, or, for what the log recorded earlier, one
    /// of any version.
    pub fn check<'a>(
        &self,
        ledger: Digest,
        keys: impl Fn(&PartnerId) -> Option<&'a KeyChain>,
        at: Option<Timestamp>,
    ) -> Result<RatifiedAgreement, AgreementError> {
        self.check_next(ledger, keys, at, None)
    }

    /// As [`SignedAgreement::check`], for a version that may replace another: where it only narrows
    /// what that one allows, between the same parties, one party's signature is enough.
    pub fn check_next<'a>(
        &self,
        ledger: Digest,
        keys: impl Fn(&PartnerId) -> Option<&'a KeyChain>,
        at: Option<Timestamp>,
        previous: Option<&RatifiedAgreement>,
    ) -> Result<RatifiedAgreement, AgreementError> {
        let agreement = self.terms()?;
        if agreement.ledger != ledger {
            return Err(AgreementError::OtherLedger);
        }
        let mut signed = BTreeSet::new();
        let mut used = BTreeSet::new();
        for ratification in &self.ratifications {
            let partner = &ratification.partner;
            let pinned = pin(&agreement, partner)?;
            let chain =
                keys(partner).ok_or_else(|| AgreementError::UnknownParty(partner.clone()))?;
            let key = check_signature(
                chain,
                pinned,
                partner,
                (PayloadType::Agreement, &self.bytes, &ratification.signature),
                at,
            )?;
            if !used.insert(key) {
                return Err(AgreementError::SharedKey(key.id()));
            }
            if !signed.insert(partner) {
                return Err(AgreementError::RatifiedTwice(partner.clone()));
            }
        }
        if let Some(party) = agreement
            .parties
            .iter()
            .find(|party| !signed.contains(&party.partner))
        {
            let missing = &party.partner;
            match previous.filter(|_| !signed.is_empty()) {
                Some(previous) => check_narrower(previous, &agreement, missing)?,
                None => return Err(AgreementError::NotRatified(missing.clone())),
            }
        }
        Ok(RatifiedAgreement {
            id: self.id(),
            agreement: Arc::new(agreement),
        })
    }
}

impl RatifiedAgreement {
    /// SHA-256 of the bytes that were signed.
    pub fn id(&self) -> AgreementId {
        self.id
    }

    /// The terms.
    pub fn agreement(&self) -> &Arc<Agreement> {
        &self.agreement
    }
}

/// What a party says when it ends an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// In this ledger.
    pub ledger: Digest,
    /// Which agreement.
    pub agreement: AgreementId,
    /// Who ends it.
    pub partner: PartnerId,
    /// When it was signed.
    pub time: Timestamp,
    /// For people.
    pub reason: String,
}

/// A withdrawal as its party signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedWithdrawal {
    bytes: Bytes,
    withdrawal: Withdrawal,
    signature: Signature,
}

impl SignedWithdrawal {
    /// Signs a withdrawal.
    pub fn sign(withdrawal: Withdrawal, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = withdrawal.to_bytes();
        let signature = signer.sign(PayloadType::Withdrawal, &bytes)?;
        Ok(Self {
            bytes,
            withdrawal,
            signature,
        })
    }

    pub(super) fn from_parts(bytes: Bytes, signature: Signature) -> Result<Self, AgreementError> {
        Ok(Self {
            withdrawal: Withdrawal::from_bytes(&bytes)?,
            bytes,
            signature,
        })
    }

    /// The bytes that were signed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Which agreement it ends.
    pub fn agreement_id(&self) -> AgreementId {
        self.withdrawal.agreement
    }

    /// What it says, whoever signed it.
    pub fn claimed(&self) -> &Withdrawal {
        &self.withdrawal
    }

    /// Checks that a party of this agreement signed it, for this ledger.
    pub fn check<'a>(
        &self,
        ratified: &RatifiedAgreement,
        keys: impl Fn(&PartnerId) -> Option<&'a KeyChain>,
        at: Timestamp,
    ) -> Result<&Withdrawal, AgreementError> {
        let withdrawal = &self.withdrawal;
        if withdrawal.agreement != ratified.id {
            return Err(AgreementError::OtherAgreement);
        }
        if withdrawal.ledger != ratified.agreement.ledger {
            return Err(AgreementError::OtherLedger);
        }
        let partner = &withdrawal.partner;
        let pinned = pin(&ratified.agreement, partner)?;
        let chain = keys(partner).ok_or_else(|| AgreementError::UnknownParty(partner.clone()))?;
        let signed = (PayloadType::Withdrawal, &self.bytes, &self.signature);
        check_signature(chain, pinned, partner, signed, Some(at))?;
        Ok(withdrawal)
    }
}

/// That a version only narrows the one it names as previous, between the same parties.
fn check_narrower(
    previous: &RatifiedAgreement,
    next: &Agreement,
    missing: &PartnerId,
) -> Result<(), AgreementError> {
    let before = &previous.agreement;
    // Who a person is and what a level counts for is for all to say.
    let follows = next.previous == Some(previous.id.0)
        && next.parties == before.parties
        && next.persons == before.persons;
    // The comparison grows with both; what is too large to compare at once is for all to sign.
    let compared = before.clauses.len() * next.clauses.len();
    let small = compared <= MAX_COMPARED
        && compared * next.parties.len().pow(2) <= MAX_COMPARED_BETWEEN
        && before.equivalents.len() + next.equivalents.len() <= MAX_COMPARED_EQUIVALENTS;
    if !follows || !small {
        return Err(AgreementError::NotRatified(missing.clone()));
    }
    match Difference::between(before, next).widens.first() {
        None => Ok(()),
        Some(flow) => Err(AgreementError::Widens {
            flow: flow.to_string(),
            missing: missing.clone(),
        }),
    }
}

fn pin(agreement: &Agreement, partner: &PartnerId) -> Result<Digest, AgreementError> {
    let party = agreement
        .parties
        .iter()
        .find(|party| party.partner == *partner);
    party
        .map(|party| party.key_set)
        .ok_or_else(|| AgreementError::NotParty(partner.clone()))
}

fn check_signature(
    chain: &KeyChain,
    pinned: Digest,
    partner: &PartnerId,
    (payload_type, bytes, signature): (PayloadType, &Bytes, &Signature),
    at: Option<Timestamp>,
) -> Result<PublicKey, AgreementError> {
    if chain.pin() != pinned || chain.current().partner != *partner {
        return Err(AgreementError::OtherKeySet(partner.clone()));
    }
    let id = signature.key_id;
    let key = match at {
        Some(at) => chain.key_for(&id, KeyUse::Agreements, at),
        None => chain.key_ever(&id, KeyUse::Agreements),
    };
    let key = key.ok_or_else(|| AgreementError::UnknownKey {
        partner: partner.clone(),
        key: id,
    })?;
    verify(&key, payload_type, bytes, signature)
        .map_err(|_| AgreementError::BadSignature(partner.clone()))?;
    Ok(key)
}
