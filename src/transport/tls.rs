//! TLS 1.3 for both ends, from our own rustls configurations: quinn's conveniences turn 0-RTT on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::verifier::{BrokerVerifier, NodeVerifier, Trust};
use crate::clock::Clock;
use crate::identity::{CertificateError, not_after};
use crate::partner::SpiffeId;

/// The protocol's name in TLS (RFC 7301).
pub const ALPN: &[u8] = b"entente/1";

/// Which key exchange is offered. quinn does not tell which was negotiated, so requiring one means
/// offering nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kex {
    /// X25519MLKEM768 first, X25519 second.
    #[default]
    Hybrid,
    /// X25519MLKEM768 only: what is recorded today stays closed.
    HybridRequired,
    /// X25519 only.
    Classical,
}

/// TLS that cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// rustls says no.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
    /// The provider lacks the cipher suite of QUIC's first packets.
    #[error("TLS cannot be set up: {0}")]
    Suite(#[from] NoInitialCipherSuite),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A private key.
    #[error("the private key cannot be read: {0}")]
    Key(String),
}

/// ring, with rustls's own aws-lc-rs lending the one group that ring lacks.
pub(super) fn provider(kex: Kex) -> CryptoProvider {
    use rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
    use rustls::crypto::ring::kx_group::X25519;
    let kx_groups = match kex {
        Kex::Hybrid => vec![X25519MLKEM768, X25519],
        Kex::HybridRequired => vec![X25519MLKEM768],
        Kex::Classical => vec![X25519],
    };
    CryptoProvider {
        kx_groups,
        ..rustls::crypto::ring::default_provider()
    }
}

/// Algorithms with which certificates are verified.
pub(super) fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

/// Time from our clock.
#[derive(Debug)]
pub(super) struct ClockTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.as_ref()))
    }
}

pub(super) fn unix_time(clock: &dyn Clock) -> UnixTime {
    let micros = u64::try_from(clock.now().micros()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_micros(micros))
}

/// A certificate chain with its key, presented in every new handshake. Renewed while the program
/// runs.
#[derive(Debug)]
pub struct Credentials {
    key: ArcSwap<CertifiedKey>,
}

impl Credentials {
    /// From PEM.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        Ok(Self {
            key: ArcSwap::from_pointee(certified(chain_pem, key_pem)?),
        })
    }

    /// Presents another certificate from now on.
    pub fn renew(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.key.store(Arc::new(certified(chain_pem, key_pem)?));
        Ok(())
    }

    /// When the certificate expires.
    pub fn not_after(&self) -> Result<crate::clock::Timestamp, CertificateError> {
        self.key
            .load()
            .cert
            .first()
            .map_or(Err(CertificateError::Malformed), not_after)
    }
}

fn certified(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertificateError::Malformed)?;
    if chain.is_empty() {
        return Err(CertificateError::Malformed.into());
    }
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Key(error.to_string()))?;
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &rustls::crypto::ring::default_provider(),
    )?)
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.key.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The broker's end: every client shows a certificate that `trust` vouches for.
pub fn server_config(
    kex: Kex,
    credentials: Arc<Credentials>,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<QuicServerConfig>, TlsError> {
    let verifier = Arc::new(NodeVerifier {
        trust,
        algorithms: algorithms(),
    });
    let mut config =
        ServerConfig::builder_with_details(Arc::new(provider(kex)), Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(credentials);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not see the verifier, and so outlive a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(QuicServerConfig::try_from(config)?))
}

/// A node's end: the broker is the one that was pinned.
pub fn client_config(
    kex: Kex,
    credentials: Arc<Credentials>,
    trust: Trust,
    broker: SpiffeId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<QuicClientConfig>, TlsError> {
    let verifier = BrokerVerifier {
        trust,
        expected: broker,
        algorithms: algorithms(),
    };
    let mut config =
        ClientConfig::builder_with_details(Arc::new(provider(kex)), Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(credentials);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // The broker is known by its SPIFFE ID; a server name would tell the network whom we talk to.
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(QuicClientConfig::try_from(config)?))
}
