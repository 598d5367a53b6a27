//! The broker's signed promise: these bulletins stand at these positions of the log.

use std::time::Duration;

use bytes::Bytes;

use super::record::{InvalidRecord, LedgerId};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::{
    BadSignature, Digest, PayloadType, PublicKey, SignError, Signature, Signer, verify,
};

/// A signed checkpoint covers a promised position within this delay.
pub const MERGE_DELAY: Duration = Duration::from_secs(10);

/// One bulletin of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseItem {
    /// Which.
    pub bulletin: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// Where it stands in the log.
    pub position: u64,
}

/// What is promised, to one originator, about the bulletins of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// In which ledger.
    pub ledger: LedgerId,
    /// To whom.
    pub originator: PartnerId,
    /// Which bulletins.
    pub items: Vec<PromiseItem>,
    /// Time of the group.
    pub time: Timestamp,
    /// A checkpoint covers them within this delay.
    pub merge_delay: Duration,
}

/// A promise as the broker signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPromise {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// By the log's key.
    pub signature: Signature,
}

impl SignedPromise {
    /// Signs a promise.
    pub fn sign(promise: &Promise, signer: &dyn Signer) -> Result<Self, SignError> {
        let bytes = promise.to_bytes();
        let signature = signer.sign(PayloadType::Promise, &bytes)?;
        Ok(Self { bytes, signature })
    }

    /// Verifies the signature and reads the promise.
    pub fn open(&self, key: &PublicKey) -> Result<Promise, PromiseError> {
        verify(key, PayloadType::Promise, &self.bytes, &self.signature)?;
        Ok(Promise::from_bytes(&self.bytes)?)
    }
}

/// A promise that does not hold.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum PromiseError {
    /// Not the broker's signature.
    #[error("the broker's promise: {0}")]
    Signature(#[from] BadSignature),
    /// Not readable.
    #[error("the broker's promise cannot be read: {0}")]
    Unreadable(#[from] InvalidRecord),
}
