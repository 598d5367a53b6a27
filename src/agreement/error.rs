//! What is wrong with an agreement.

use thiserror::Error;

use crate::partner::PartnerId;
use crate::proof::KeyId;

/// An agreement, ratification or withdrawal that does not hold, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AgreementError {
    /// Not the canonical bytes of an agreement this version reads.
    #[error("the bytes are not a canonical agreement: {0}")]
    NotCanonical(&'static str),
    /// A term that cannot stand.
    #[error("the agreement's `{field}` cannot stand: {reason}")]
    InvalidTerm {
        /// Its name in agreement.proto.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Made for another ledger.
    #[error("the agreement is for another ledger")]
    OtherLedger,
    /// A party did not sign these bytes.
    #[error("`{0}` has not ratified the agreement")]
    NotRatified(PartnerId),
    /// It widens what flows, and a party did not sign.
    #[error(
        "it widens what the version before allows ({flow}), and `{missing}` has not ratified it"
    )]
    Widens {
        /// The first flow that it adds.
        flow: String,
        /// The first party that did not sign.
        missing: PartnerId,
    },
    /// A party signed twice.
    #[error("`{0}` ratified the agreement twice; one signature counts")]
    RatifiedTwice(PartnerId),
    /// Somebody else signed.
    #[error("`{0}` signed, and is no party")]
    NotParty(PartnerId),
    /// Nobody knows the party's keys.
    #[error("the keys of `{0}` are not known; admit it first")]
    UnknownParty(PartnerId),
    /// The party's keys are not those the agreement pins.
    #[error("the key set of `{0}` is not the one that the agreement pins")]
    OtherKeySet(PartnerId),
    /// A key that may not sign agreements now.
    #[error("the key {key} is not one that `{partner}` signs agreements with at this time")]
    UnknownKey {
        /// The party.
        partner: PartnerId,
        /// The key it names.
        key: KeyId,
    },
    /// One key signs for two parties.
    #[error("the key {0} signs for two parties")]
    SharedKey(KeyId),
    /// Not a signature over these bytes.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(PartnerId),
    /// A withdrawal of another agreement.
    #[error("the withdrawal is of another agreement")]
    OtherAgreement,
}

impl AgreementError {
    pub(super) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidTerm {
            field,
            reason: reason.into(),
        }
    }

    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotCanonical(_) => "not_canonical",
            Self::InvalidTerm { .. } => "invalid_term",
            Self::OtherLedger => "other_ledger",
            Self::NotRatified(_) => "not_ratified",
            Self::Widens { .. } => "widens",
            Self::RatifiedTwice(_) => "ratified_twice",
            Self::NotParty(_) => "not_party",
            Self::UnknownParty(_) => "unknown_party",
            Self::OtherKeySet(_) => "other_key_set",
            Self::UnknownKey { .. } => "unknown_key",
            Self::SharedKey(_) => "shared_key",
            Self::BadSignature(_) => "bad_signature",
            Self::OtherAgreement => "other_agreement",
        }
    }
}
