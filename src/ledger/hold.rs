//! Holds: releases that wait until two persons, each with a key of their own, let them go.

use bytes::Bytes;
use thiserror::Error;

use super::record::{Fact, InvalidRecord, LedgerId, Record};
use super::state::State;
use crate::agreement::{Agreement, AgreementId, Clause};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::decision::Release;
use crate::proof::{Digest, PayloadType, SignError, Signature, Signer, verify};

/// How many persons must let a held release go.
pub const PERSONS_NEEDED: usize = 2;

/// What a person decides about a bulletin that is held under an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldDecision {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// The bulletin.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub bulletin: Digest,
    /// The agreement that names the person.
    pub agreement: AgreementId,
    /// Who decides.
    pub person: String,
    /// Lets it go, or keeps it for good.
    pub release: bool,
    /// When it was signed.
    pub time: Timestamp,
}

/// A decision as its person signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHoldDecision {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub decision: HoldDecision,
    /// With the key that the agreement names for the person.
    pub signature: Signature,
}

/// A decision about a hold that is not recorded, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HoldError {
    /// Made for another ledger.
    #[error("the decision is for another ledger")]
    OtherLedger,
    /// Nothing of the bulletin is held under that agreement.
    #[error("nothing of bulletin {0} is held under this agreement")]
    NotHeld(BulletinId),
    /// Too late.
    #[error("the hold ended at {0}: nobody can release it any more")]
    Over(Timestamp),
    /// The agreement does not name the person for this hold.
    #[error("`{0}` may not release it")]
    UnknownPerson(String),
    /// Not the person's signature.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(String),
    /// Decided before.
    #[error("`{0}` has decided already")]
    Again(String),
}

impl HoldError {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherLedger => "hold_other_ledger",
            Self::NotHeld(_) => "not_held",
            Self::Over(_) => "hold_over",
            Self::UnknownPerson(_) => "unknown_person",
            Self::BadSignature(_) => "hold_bad_signature",
            Self::Again(_) => "decided_already",
        }
    }
}

impl SignedHoldDecision {
    /// Signs a decision.
    pub fn sign(decision: HoldDecision, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = decision.to_bytes();
        let signature = signer.sign(PayloadType::HoldDecision, &bytes)?;
        Ok(Self {
            bytes,
            decision,
            signature,
        })
    }

    /// Reads what travelled; its signature is checked by [`SignedHoldDecision::check`].
    pub fn from_parts(bytes: Bytes, signature: Signature) -> Result<Self, InvalidRecord> {
        Ok(Self {
            decision: HoldDecision::from_bytes(&bytes)?,
            bytes,
            signature,
        })
    }

    /// Checks it against the fold, and tells which releases of the bulletin's record go now.
    pub fn check(
        &self,
        state: &State,
        about: &Record,
        at: Timestamp,
    ) -> Result<Vec<Release>, HoldError> {
        let decision = &self.decision;
        let not_held = || HoldError::NotHeld(decision.id);
        if state.ledger() != Some(decision.ledger) {
            return Err(HoldError::OtherLedger);
        }
        let Fact::Accepted(accepted) = &about.fact else {
            return Err(not_held());
        };
        if accepted.header.id != decision.id || accepted.header_hash() != decision.bulletin {
            return Err(not_held());
        }
        if state.dossiers().is_ended(&decision.bulletin) {
            return Err(not_held());
        }
        let holds = state.dossiers().holds(&decision.bulletin);
        let concerned: Vec<_> = holds
            .iter()
            .filter(|hold| hold.agreement == decision.agreement)
            .collect();
        if concerned.is_empty() {
            return Err(not_held());
        }
        let name = decision.person.clone();
        let named: Vec<_> = concerned
            .into_iter()
            .filter(|hold| hold.persons.contains(&name))
            .collect();
        let last = named.iter().map(|hold| hold.deadline).max();
        let (Some(last), Some(entry)) = (last, state.agreements().get(&decision.agreement)) else {
            return Err(HoldError::UnknownPerson(name));
        };
        let terms: &Agreement = entry.agreement.agreement();
        let person = terms.persons.iter().find(|person| *person.name == name);
        let key = person
            .ok_or_else(|| HoldError::UnknownPerson(name.clone()))?
            .key;
        verify(
            &key,
            PayloadType::HoldDecision,
            &self.bytes,
            &self.signature,
        )
        .map_err(|_| HoldError::BadSignature(name.clone()))?;
        // Each hold has a deadline of its own: a decision counts for those that are open.
        let mut open = named.iter().filter(|hold| at < hold.deadline);
        if open.clone().next().is_none() {
            return Err(HoldError::Over(last));
        }
        if open.all(|hold| hold.released_by.contains(&name)) {
            return Err(HoldError::Again(name));
        }
        if !decision.release {
            return Ok(Vec::new());
        }
        let goes = |release: &Release| {
            let mut own = holds
                .iter()
                .filter(|hold| hold.recipient == release.recipient);
            let held = own.clone().count() > 0;
            let mut own_again = own.clone();
            let dossier = state.dossiers().dossier(&decision.bulletin);
            let consented = dossier.is_some_and(|one| one.has_consent(&release.recipient, None));
            held && consented
                && own.all(|hold| {
                    let counts = hold.counts(decision, at) && !hold.released_by.contains(&name);
                    hold.released_by.len() + usize::from(counts) >= PERSONS_NEEDED
                })
                && own_again.any(|hold| hold.counts(decision, at))
        };
        let releases = about.releases.iter().filter(|one| one.release.held);
        Ok(releases
            .map(|one| Release {
                held: false,
                ..one.release.clone()
            })
            .filter(goes)
            .collect())
    }
}

/// The clause of a release that holds it, in an agreement's terms.
pub(super) fn holding<'a>(terms: &'a Agreement, clause: &str) -> Option<&'a Clause> {
    let mut clauses = terms.clauses.iter();
    clauses.find(|terms| *terms.id == *clause && terms.hold.is_some())
}
