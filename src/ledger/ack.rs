//! Signed statements of what was received, and of what was recorded.

use bytes::Bytes;
use thiserror::Error;

use super::record::{Ack, InvalidRecord, SignedAck};
use super::registry::Registry;
use super::state::State;
use crate::bulletin::Precedence;
use crate::clock::Timestamp;
use crate::partner::{KeyUse, PartnerId};
use crate::proof::{KeyId, PayloadType, SignError, Signature, Signer, verify};

/// An acknowledgement that is not recorded, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AckError {
    /// Made for another ledger.
    #[error("the acknowledgement is for another ledger")]
    OtherLedger,
    /// Signed with a key that may not.
    #[error("the key {key} is not one that `{recipient}` acknowledges with at this time")]
    UnknownKey {
        /// The key it names.
        key: KeyId,
        /// The recipient.
        recipient: PartnerId,
    },
    /// Not signed by that key.
    #[error("the signature under the acknowledgement does not verify")]
    BadSignature,
    /// For more than was ever sent.
    #[error("lane {precedence} was acknowledged up to {up_to}, and {issued} were ever issued")]
    BeyondIssued {
        /// The lane.
        precedence: Precedence,
        /// What was acknowledged.
        up_to: u64,
        /// What there is.
        issued: u64,
    },
    /// The sender speaks for another.
    #[error("`{partner}` may not acknowledge for `{recipient}`")]
    NotRecipient {
        /// Who sent it.
        partner: PartnerId,
        /// Whom it names.
        recipient: PartnerId,
    },
    /// The chain is not that of what was sent.
    #[error("lane {precedence}: what was acknowledged up to {up_to} is not what was sent")]
    OtherChain {
        /// The lane.
        precedence: Precedence,
        /// What was acknowledged.
        up_to: u64,
    },
}

impl AckError {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherLedger => "ack_other_ledger",
            Self::UnknownKey { .. } => "ack_unknown_key",
            Self::BadSignature => "ack_bad_signature",
            Self::BeyondIssued { .. } => "ack_beyond_issued",
            Self::NotRecipient { .. } => "ack_not_recipient",
            Self::OtherChain { .. } => "ack_other_chain",
        }
    }
}

impl SignedAck {
    /// Signs an acknowledgement.
    pub fn sign(ack: Ack, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = ack.to_bytes();
        let signature = signer.sign(PayloadType::Acknowledgement, &bytes)?;
        Ok(Self {
            bytes,
            ack,
            signature,
        })
    }

    /// Reads an acknowledgement from the wire; its signature is checked by [`SignedAck::check`].
    pub fn from_parts(bytes: Bytes, signature: Signature) -> Result<Self, InvalidRecord> {
        Ok(Self {
            ack: Ack::from_bytes(&bytes)?,
            bytes,
            signature,
        })
    }

    /// Checks it against the fold: its ledger, its signature, and that nothing is acknowledged
    /// that was never issued.
    pub fn check(&self, state: &State, at: Timestamp) -> Result<(), AckError> {
        if state.ledger() != Some(self.ack.ledger) {
            return Err(AckError::OtherLedger);
        }
        self.check_signature(state.registry(), at)?;
        for lane in &self.ack.lanes {
            let issued = state.lanes().issued(&self.ack.recipient, lane.precedence);
            if lane.up_to > issued {
                let (precedence, up_to) = (lane.precedence, lane.up_to);
                return Err(AckError::BeyondIssued {
                    precedence,
                    up_to,
                    issued,
                });
            }
        }
        Ok(())
    }

    fn check_signature(&self, registry: &Registry, at: Timestamp) -> Result<(), AckError> {
        let recipient = &self.ack.recipient;
        let id = self.signature.key_id;
        let key = registry
            .key(recipient, &id, KeyUse::Acknowledgements, at)
            .ok_or_else(|| AckError::UnknownKey {
                key: id,
                recipient: recipient.clone(),
            })?;
        verify(
            &key,
            PayloadType::Acknowledgement,
            &self.bytes,
            &self.signature,
        )
        .map_err(|_| AckError::BadSignature)
    }
}
