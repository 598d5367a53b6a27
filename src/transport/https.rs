//! TLS over TCP, for tools that speak HTTP. Unlike partners they are of nobody's certificate authority: who
//! they are, an application says; a certificate that one shows proves only that it holds the key.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::{ClockTime, Credentials, Kex, TlsError, algorithms, provider};
use crate::clock::{Clock, Timestamp};
use crate::identity::not_after;

/// A client's certificate in DER. TLS verified that the client holds its key, and that it has not expired;
/// nothing else is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(pub Vec<u8>);

/// The server's end of TLS 1.2 and 1.3, without resumption and without 0-RTT (TAXII 2.1, section 8.2.2).
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Presents these credentials; asks for client certificates where somebody is known by one.
    pub fn new(
        credentials: Arc<Credentials>,
        asks: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let verifier: Arc<dyn ClientCertVerifier> = if asks {
            Arc::new(Holds)
        } else {
            Arc::new(NoClientAuth)
        };
        // Of no partner: tools that know X25519MLKEM768 get it, others X25519.
        let provider = Arc::new(provider(Kex::Hybrid));
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(credentials);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<(TlsStream<TcpStream>, Option<PeerCertificate>)> {
        let stream = self.0.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let leaf = shown.and_then(<[CertificateDer<'_>]>::first);
        let certificate = leaf.map(|leaf| PeerCertificate(leaf.to_vec()));
        Ok((stream, certificate))
    }
}

/// Takes any certificate whose key the client holds. Applications know certificates by their hash.
#[derive(Debug)]
struct Holds;

impl ClientCertVerifier for Holds {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)));
        let ends = not_after(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if now.is_none_or(|now| now > ends) {
            return Err(CertificateError::Expired.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
