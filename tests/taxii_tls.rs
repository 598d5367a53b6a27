//! TAXII over TLS: both versions that the specification asks for, client certificates known by their hash,
//! and nothing resumed.

#[path = "support/taxii.rs"]
mod taxii;

use std::net::SocketAddr;
use std::sync::Arc;

use entente::clock::{Clock, Entropy, ManualClock, SystemClock, SystemEntropy};
use entente::gateway::taxii::{Access, Client, MemoryStore, Secret, Taxii, serve};
use entente::transport::{Credentials, HttpLimits, Tls};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::json;
use taxii::TAXII;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

type Pair = CertifiedKey<KeyPair>;

fn pair(name: &str) -> Pair {
    generate_simple_self_signed([name.to_owned()]).expect("a certificate")
}

fn fingerprint(pair: &Pair) -> String {
    data_encoding::HEXLOWER.encode(digest(&SHA256, pair.cert.der()).as_ref())
}

/// Serves with this certificate to whoever shows the other.
async fn served(server: &Pair, known: &Pair, clock: Arc<dyn Clock>) -> SocketAddr {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let data = json!({"/discovery": {"title": "guarded"}}).to_string();
    let store = MemoryStore::read(&data, Arc::new(SystemClock), Arc::clone(&entropy));
    let secret = Secret::certificate(&fingerprint(known)).expect("a fingerprint");
    let access = Access::new([(Client("box".to_owned()), secret)], entropy.as_ref());
    let taxii = Taxii::new(Arc::new(store.expect("data")), access.expect("random"), 20);
    let (chain, key) = (server.cert.pem(), server.signing_key.serialize_pem());
    let credentials = Credentials::new(chain.as_bytes(), key.as_bytes()).expect("credentials");
    let tls = Tls::new(Arc::new(credentials), true, clock).expect("TLS");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    tokio::spawn(serve(
        listener,
        Some(tls),
        taxii,
        HttpLimits::default(),
        stop,
    ));
    address
}

/// What the server says to a client of this version that shows this certificate; `None` where it ends the
/// connection instead.
async fn said(
    address: SocketAddr,
    server: &Pair,
    shows: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let chain: Vec<CertificateDer<'static>> = vec![pair.cert.der().clone()];
            let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
            config.with_client_auth_cert(chain, key).expect("a key")
        }
    };
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("taxii.example").expect("a name");
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let mut stream = stream.ok()?;
    let session = &stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(version.version));
    let request = format!(
        "GET /taxii2/ HTTP/1.1\r\nhost: taxii.example\r\nconnection: close\r\naccept: {TAXII}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(
        stream.get_ref().1.tls13_tickets_received(),
        0,
        "nothing to resume with"
    );
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_certificate_under_both_versions() {
    let (server, known, stranger) = (pair("taxii.example"), pair("box"), pair("box"));
    let address = served(&server, &known, Arc::new(SystemClock)).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ask = async |shows| said(address, &server, shows, version).await;
        let answer = ask(Some(&known)).await.expect("an answer");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("guarded"),
            "{answer}"
        );
        // Anybody may shake hands; what they may see is another question.
        for other in [None, Some(&stranger)] {
            let answer = ask(other).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    }
    // Without TLS nothing is said.
    let mut plain = TcpStream::connect(address).await.expect("a connection");
    plain
        .write_all(b"GET /taxii2/ HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_none() {
    let (server, known) = (pair("taxii.example"), pair("box"));
    let late = "9998-01-01T00:00:00Z".parse().expect("a time");
    let address = served(&server, &known, Arc::new(ManualClock::new(late))).await;
    let answer = said(address, &server, Some(&known), &rustls::version::TLS13).await;
    assert_eq!(answer, None);
}
