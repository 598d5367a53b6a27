//! Who is at the other end, now and later.

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use super::tls::{algorithms, unix_time};
use super::verifier::{Trust, TrustError};
use crate::clock::{Clock, Timestamp};
use crate::identity::{CertificateError, not_after, spiffe_id_of};
use crate::partner::SpiffeId;
use crate::proof::Digest;

/// A peer that cannot be named.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// Its certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Who a connected peer is: read again from the certificate that was verified.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    chain: Vec<CertificateDer<'static>>,
    id: SpiffeId,
    not_after: Timestamp,
}

impl PeerIdentity {
    /// The identity of a connection's peer, whose certificate rustls has verified.
    pub fn of(connection: &quinn::Connection) -> Result<Self, PeerError> {
        let chain = connection
            .peer_identity()
            .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
            .ok_or(PeerError::NoCertificate)?;
        let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
        Ok(Self {
            id: spiffe_id_of(leaf)?,
            not_after: not_after(leaf)?,
            chain: *chain,
        })
    }

    /// Its SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When its certificate expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-256 of its certificate.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.chain.first().map(AsRef::as_ref).unwrap_or_default())
    }

    /// Whether it would still be let in: asked when a session registers, and whenever trust changes
    /// or time passes.
    pub fn recheck(&self, trust: &Trust, clock: &dyn Clock) -> Result<(), TrustError> {
        trust
            .verify_client(&self.chain, unix_time(clock), &algorithms())
            .map(|_| ())
    }
}
