//! What a recipient says about one bulletin, beyond that it holds it: that somebody took it, that it
//! is refused, that a notice about it was applied or cannot be, that it is carried into another ledger.

use bytes::Bytes;
use thiserror::Error;

use super::crossing::{NotCarried, may_carry};
use super::record::{Fact, InvalidRecord, LedgerId, Record};
use super::state::State;
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::partner::{KeyUse, PartnerId};
use crate::proof::{Digest, KeyId, PayloadType, SignError, Signature, Signer, verify};

/// What is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// An application or a person took it.
    Taken,
    /// It could not be verified, and is handed to nobody.
    Refused(String),
    /// Its contents were deleted when they had to be.
    Erased,
    /// The notice with this header hash was applied to it.
    Applied(Digest),
    /// The notice with this header hash was applied to it, and is given to those to whom it had been
    /// passed on.
    PassedOn {
        /// SHA-256 of the notice's header.
        notice: Digest,
        /// To whom.
        to: Vec<PartnerId>,
    },
    /// It is carried into another ledger, or a notice about it is given there, too.
    Carried {
        /// That ledger's id.
        into: Digest,
        /// SHA-256 of the notice's header; `None`: the bulletin itself is carried.
        notice: Option<Digest>,
    },
    /// The notice with this header hash cannot be applied.
    Unable {
        /// SHA-256 of the notice's header.
        notice: Digest,
        /// Why not.
        reason: String,
    },
}

impl What {
    /// The name of the kind, for tables and machines.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused(_) => "refused",
            Self::Erased => "erased",
            Self::Applied(_) => "applied",
            Self::PassedOn { .. } => "passed on",
            Self::Carried { notice: None, .. } => "carried into another ledger",
            Self::Carried { .. } => "given notice of in another ledger",
            Self::Unable { .. } => "unable",
        }
    }
}

/// What a recipient declares about a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// Who declares it.
    pub partner: PartnerId,
    /// About which bulletin.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub bulletin: Digest,
    /// When it was signed.
    pub time: Timestamp,
    /// What.
    pub what: What,
}

/// A declaration as its recipient signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDeclaration {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub declaration: Declaration,
    /// By an acknowledgement key of the recipient.
    pub signature: Signature,
}

/// A declaration that is not recorded, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeclarationError {
    /// Made for another ledger.
    #[error("the declaration is for another ledger")]
    OtherLedger,
    /// Signed with a key that may not.
    #[error("the key {key} is not one that `{partner}` declares with at this time")]
    UnknownKey {
        /// The key it names.
        key: KeyId,
        /// Who declares.
        partner: PartnerId,
    },
    /// Not signed by that key.
    #[error("the signature under the declaration does not verify")]
    BadSignature,
    /// About what was never accepted.
    #[error("no bulletin {0} was accepted")]
    UnknownBulletin(BulletinId),
    /// About what was released to others.
    #[error("the bulletin was not released to `{0}`")]
    NotRecipient(PartnerId),
    /// It may not be carried into another ledger, or not any more.
    #[error("the bulletin may not be carried: {0}")]
    NotCarried(#[from] NotCarried),
}

impl DeclarationError {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherLedger => "declaration_other_ledger",
            Self::UnknownKey { .. } => "declaration_unknown_key",
            Self::BadSignature => "declaration_bad_signature",
            Self::UnknownBulletin(_) => "declaration_unknown_bulletin",
            Self::NotRecipient(_) => "declaration_not_recipient",
            Self::NotCarried(_) => "declaration_not_carried",
        }
    }
}

impl SignedDeclaration {
    /// Signs a declaration.
    pub fn sign(declaration: Declaration, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = declaration.to_bytes();
        let signature = signer.sign(PayloadType::Declaration, &bytes)?;
        Ok(Self {
            bytes,
            declaration,
            signature,
        })
    }

    /// Reads what travelled; its signature is checked by [`SignedDeclaration::check`].
    pub fn from_parts(bytes: Bytes, signature: Signature) -> Result<Self, InvalidRecord> {
        Ok(Self {
            declaration: Declaration::from_bytes(&bytes)?,
            bytes,
            signature,
        })
    }

    /// Checks it against the fold and the record of the bulletin: ledger, signature, and that the
    /// bulletin was released to who declares.
    pub fn check(
        &self,
        state: &State,
        about: &Record,
        at: Timestamp,
    ) -> Result<(), DeclarationError> {
        let declaration = &self.declaration;
        if state.ledger() != Some(declaration.ledger) {
            return Err(DeclarationError::OtherLedger);
        }
        let (partner, key) = (&declaration.partner, self.signature.key_id);
        let public_key = state
            .registry()
            .key(partner, &key, KeyUse::Acknowledgements, at)
            .ok_or_else(|| DeclarationError::UnknownKey {
                key,
                partner: partner.clone(),
            })?;
        verify(
            &public_key,
            PayloadType::Declaration,
            &self.bytes,
            &self.signature,
        )
        .map_err(|_| DeclarationError::BadSignature)?;
        let unknown = DeclarationError::UnknownBulletin(declaration.id);
        let Fact::Accepted(accepted) = &about.fact else {
            return Err(unknown);
        };
        let seen = state.seen(&declaration.id);
        let same = accepted.header.id == declaration.id
            && accepted.header_hash() == declaration.bulletin
            && seen.is_some_and(|seen| seen.header == declaration.bulletin);
        if !same {
            return Err(unknown);
        }
        let mut releases = state.releases(about);
        if releases.all(|one| one.release.recipient != *partner) {
            return Err(DeclarationError::NotRecipient(partner.clone()));
        }
        match &declaration.what {
            What::Carried { into, notice: None } => Ok(may_carry(state, about, partner, into, at)?),
            _ => Ok(()),
        }
    }
}
