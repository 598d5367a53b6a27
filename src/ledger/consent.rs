//! Consent: an originator's answer to whether something of it may be passed on.
//!
//! The bulletin that passes it on is the question: it is accepted, held, and goes to the recipients
//! it names only when every originator whose consent is needed has given it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{Fact, InvalidRecord, LedgerId, Record};
use super::state::State;
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::decision::Release;
use crate::partner::{KeyUse, PartnerId};
use crate::proof::{Digest, KeyId, PayloadType, SignError, Signature, Signer, verify};

/// What of an originator's is passed on, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its bulletin.
    pub about: BulletinId,
    /// Who would get it, in order.
    pub recipients: Vec<PartnerId>,
}

/// What an originator says to a bulletin that passes on something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// The originator.
    pub partner: PartnerId,
    /// The bulletin that passes it on.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub bulletin: Digest,
    /// Who passes it on.
    pub asker: PartnerId,
    /// What is asked: the answer is to nothing else.
    pub questions: Vec<Question>,
    /// Consents, or keeps it from the recipients for good.
    pub approve: bool,
    /// For people; may be empty.
    pub reason: String,
    /// When it was signed.
    pub time: Timestamp,
}

/// An answer as its originator signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedConsent {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub consent: Consent,
    /// By a bulletins key of the originator.
    pub signature: Signature,
}

/// An answer that is not recorded, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConsentError {
    /// Made for another ledger.
    #[error("the answer is for another ledger")]
    OtherLedger,
    /// Signed with a key that may not.
    #[error("the key {key} is not one that `{partner}` signs bulletins with at this time")]
    UnknownKey {
        /// The key it names.
        key: KeyId,
        /// Who answers.
        partner: PartnerId,
    },
    /// Not signed by that key.
    #[error("the signature under the answer does not verify")]
    BadSignature,
    /// It was asked of others, or of nobody.
    #[error("bulletin {0} does not wait for the consent of this partner")]
    NotAsked(BulletinId),
    /// Something else was asked.
    #[error("bulletin {0} asks for something else than what the answer names")]
    OtherQuestion(BulletinId),
    /// Too late.
    #[error("the bulletin expired at {0}")]
    Over(Timestamp),
}

impl ConsentError {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherLedger => "consent_other_ledger",
            Self::UnknownKey { .. } => "consent_unknown_key",
            Self::BadSignature => "consent_bad_signature",
            Self::NotAsked(_) => "consent_not_asked",
            Self::OtherQuestion(_) => "consent_other_question",
            Self::Over(_) => "consent_over",
        }
    }
}

impl SignedConsent {
    /// Signs an answer.
    pub fn sign(consent: Consent, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = consent.to_bytes();
        let signature = signer.sign(PayloadType::Consent, &bytes)?;
        Ok(Self {
            bytes,
            consent,
            signature,
        })
    }

    /// Reads what travelled; its signature is checked by [`SignedConsent::check`].
    pub fn from_parts(bytes: Bytes, signature: Signature) -> Result<Self, InvalidRecord> {
        Ok(Self {
            consent: Consent::from_bytes(&bytes)?,
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
    ) -> Result<Vec<Release>, ConsentError> {
        let consent = &self.consent;
        if state.ledger() != Some(consent.ledger) {
            return Err(ConsentError::OtherLedger);
        }
        let not_asked = || ConsentError::NotAsked(consent.id);
        let Fact::Accepted(accepted) = &about.fact else {
            return Err(not_asked());
        };
        if accepted.header.id != consent.id || accepted.header_hash() != consent.bulletin {
            return Err(not_asked());
        }
        let dossier = state.dossiers().dossier(&consent.bulletin);
        let dossier = dossier.ok_or_else(not_asked)?;
        let waits = |recipient: &PartnerId| dossier.waits_for(&consent.partner, recipient);
        let mut held = about.releases.iter().map(|one| &one.release);
        if !held.clone().any(|release| waits(&release.recipient)) {
            return Err(not_asked());
        }
        // Who signs names what it lets go: nobody can show it one thing and record another.
        let same = consent.asker == accepted.originator
            && dossier.questions(&consent.partner) == consent.questions;
        if !same {
            return Err(ConsentError::OtherQuestion(consent.id));
        }
        let (partner, key) = (&consent.partner, self.signature.key_id);
        let unknown = || ConsentError::UnknownKey {
            key,
            partner: partner.clone(),
        };
        let public_key = state.registry().key(partner, &key, KeyUse::Bulletins, at);
        let public_key = public_key.ok_or_else(unknown)?;
        verify(
            &public_key,
            PayloadType::Consent,
            &self.bytes,
            &self.signature,
        )
        .map_err(|_| ConsentError::BadSignature)?;
        let until = accepted.header.valid_until;
        if at >= until {
            return Err(ConsentError::Over(until));
        }
        if !consent.approve {
            return Ok(Vec::new());
        }
        let goes = |release: &&Release| {
            let to = &release.recipient;
            release.held && waits(to) && dossier.is_free(to, Some(&consent.partner))
        };
        let let_go = |release: &Release| Release {
            held: false,
            ..release.clone()
        };
        Ok(held.by_ref().filter(goes).map(let_go).collect())
    }
}
