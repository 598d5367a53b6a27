//! Whom to believe: each partner's roots vouch for that partner's trust domain, and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use thiserror::Error;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use crate::identity::spiffe_id_of;
use crate::partner::{PartnerId, SpiffeId};

/// Why a certificate is not believed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TrustError {
    /// Its names.
    #[error(transparent)]
    Name(#[from] crate::identity::CertificateError),
    /// Nobody vouches for its trust domain here.
    #[error("`{0}` is not a partner here")]
    UnknownPartner(PartnerId),
    /// The chain does not hold: another authority, expired, revoked, an expired revocation list.
    #[error("the certificate of `{id}` does not hold: {reason}")]
    Chain {
        /// Whose it claims to be.
        id: SpiffeId,
        /// What is wrong.
        reason: String,
    },
    /// Not the peer that was expected.
    #[error("the peer is `{found}`, not `{expected}`")]
    OtherPeer {
        /// Who it is.
        found: SpiffeId,
        /// Who was expected.
        expected: SpiffeId,
    },
    /// A root or a revocation list that cannot be read.
    #[error("the {what} of `{partner}` cannot be read: {reason}")]
    Unreadable {
        /// Root or revocation list.
        what: &'static str,
        /// Whose.
        partner: PartnerId,
        /// Why.
        reason: String,
    },
}

/// One partner's roots and revocation list.
pub struct TrustedPartner {
    anchors: Vec<TrustAnchor<'static>>,
    crl: Option<CertRevocationList<'static>>,
}

impl fmt::Debug for TrustedPartner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedPartner({} roots)", self.anchors.len())
    }
}

/// Everybody who may connect, at one moment. Swapped whole when anything changes.
#[derive(Debug, Default)]
pub struct Trust {
    partners: HashMap<PartnerId, TrustedPartner>,
}

impl Trust {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a partner's roots vouch for its trust domain; with its revocation list, where it
    /// publishes one.
    pub fn add(
        &mut self,
        partner: &PartnerId,
        roots: &[impl AsRef<[u8]>],
        crl: Option<&[u8]>,
    ) -> Result<(), TrustError> {
        let unreadable = |what, error: webpki::Error| TrustError::Unreadable {
            what,
            partner: partner.clone(),
            reason: error.to_string(),
        };
        let mut anchors = Vec::with_capacity(roots.len());
        for root in roots {
            let der = CertificateDer::from(root.as_ref());
            let anchor =
                anchor_from_trusted_cert(&der).map_err(|error| unreadable("root", error))?;
            anchors.push(anchor.to_owned());
        }
        let crl = crl
            .map(OwnedCertRevocationList::from_der)
            .transpose()
            .map_err(|error| unreadable("revocation list", error))?
            .map(CertRevocationList::Owned);
        self.partners
            .insert(partner.clone(), TrustedPartner { anchors, crl });
        Ok(())
    }

    /// Whether a partner may connect at all.
    pub fn knows(&self, partner: &PartnerId) -> bool {
        self.partners.contains_key(partner)
    }

    /// Verifies a chain for this end of TLS and returns whose it is.
    ///
    /// The SPIFFE ID is read from the unverified leaf only to choose that trust domain's roots; the
    /// chain must end there, so it is believed only once the chain holds.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<SpiffeId, TrustError> {
        let id = spiffe_id_of(leaf)?;
        let unknown = || TrustError::UnknownPartner(id.partner().clone());
        let partner = self.partners.get(id.partner()).ok_or_else(unknown)?;
        let broken = |error: webpki::Error| TrustError::Chain {
            id: id.clone(),
            reason: error.to_string(),
        };
        let lists: Vec<&CertRevocationList<'_>> = partner.crl.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::EndEntity)
                .with_status_policy(UnknownStatusPolicy::Deny)
                // A list that nobody renews may be one that somebody holds back.
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let certificate = EndEntityCert::try_from(leaf).map_err(broken)?;
        certificate
            .verify_for_usage(
                algorithms.all,
                &partner.anchors,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map_err(broken)?;
        Ok(id)
    }

    /// Looks again at the chain that a live peer presented when it connected.
    pub(super) fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<SpiffeId, TrustError> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(crate::identity::CertificateError::Malformed)?;
        self.verify(
            leaf,
            intermediates,
            now,
            KeyUsage::client_auth(),
            algorithms,
        )
    }
}

/// rustls shows the `Debug` of other people's errors; this one is the sentence.
#[derive(Clone, Error)]
#[error("{0}")]
struct Sentence(TrustError);

impl fmt::Debug for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn to_rustls(error: &TrustError) -> rustls::Error {
    let reason = CertificateError::Other(rustls::OtherError(Arc::new(Sentence(error.clone()))));
    rustls::Error::InvalidCertificate(reason)
}

/// The broker's verifier of nodes. What it trusts can be swapped while connections live.
#[derive(Debug)]
pub(super) struct NodeVerifier {
    pub(super) trust: Arc<ArcSwap<Trust>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // rustls would send the name of every partner's authority to whoever asks.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let usage = KeyUsage::client_auth();
        self.trust
            .load()
            .verify(end_entity, intermediates, now, usage, &self.algorithms)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|error| to_rustls(&error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A node's verifier of its broker: the chain ends at the broker's roots, and the SPIFFE ID is the
/// one that was pinned. DNS names count for nothing.
#[derive(Debug)]
pub(super) struct BrokerVerifier {
    pub(super) trust: Trust,
    pub(super) expected: SpiffeId,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for BrokerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usage = KeyUsage::server_auth();
        let found = self
            .trust
            .verify(end_entity, intermediates, now, usage, &self.algorithms)
            .map_err(|error| to_rustls(&error))?;
        if found != self.expected {
            let expected = self.expected.clone();
            return Err(to_rustls(&TrustError::OtherPeer { found, expected }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
