//! Connections of those who are not who they say.

#![allow(clippy::wildcard_imports, reason = "one table, in five files")]

use super::*;

/// A leaf under Mallory's authority with whatever names.
fn odd_leaf(home: &Home, ca: &str, uris: &[&str]) -> Identity {
    let key =
        rcgen::KeyPair::from_pem(&read_private(Path::new(ca)).expect("a key")).expect("a key");
    let root = certificates_from_pem(&home.roots())
        .expect("a root")
        .remove(0);
    let issuer = rcgen::Issuer::from_ca_cert_der(&root, &key).expect("an issuer");
    let leaf = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    for uri in uris {
        params
            .subject_alt_names
            .push(rcgen::SanType::URI((*uri).try_into().expect("a URI")));
    }
    params.subject_alt_names.push(rcgen::SanType::DnsName(
        "broker".try_into().expect("a name"),
    ));
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&leaf, &issuer).expect("a certificate");
    Identity::of(
        certificate.pem().as_bytes(),
        leaf.serialize_pem().as_bytes(),
    )
}

/// Connections of those who are not who they say.
pub(super) async fn strangers(siege: &mut Siege) {
    let entropy = SystemEntropy::new();
    let mallory = siege.home("mallory");
    let ca = mallory.roots().with_extension("key");
    let ca = ca.to_str().expect("a path");
    let authority = mallory.authority().expect("an authority");
    let issue = |authority: &Authority, id: &SpiffeId, at: Timestamp, days: u64| {
        let valid = Duration::from_secs(days * 86_400);
        let issued = authority
            .issue(id, at, valid, &entropy)
            .expect("a certificate");
        Identity::of(issued.certificate.as_bytes(), issued.key.as_bytes())
    };
    let year = Duration::from_hours(8760);

    // Another partner's authority: a root of the same key names whatever domain it likes.
    let other = Scratch::new().expect("a directory");
    let forged = Authority::create(&partner("norland"), other.path(), now(), &entropy);
    let forged = forged.expect("an authority");
    let nobody = Authority::create(&partner("nobody"), &other.path().join("n"), now(), &entropy);
    let nobody = nobody.expect("an authority");

    revoke(siege).await;
    let cases = [
        (
            "another protocol",
            Some(siege.identity("mallory")),
            &b"h3"[..],
            "known protocol",
        ),
        ("no certificate", None, ALPN, "no certificate"),
        (
            "a forged authority",
            Some(issue(&forged, &node_id("norland"), now(), 1)),
            ALPN,
            "does not hold",
        ),
        (
            "a stranger",
            Some(issue(&nobody, &node_id("nobody"), now(), 1)),
            ALPN,
            "`nobody.example` is not a partner",
        ),
        (
            "a partner under another partner's authority",
            Some(odd_leaf(&mallory, ca, &["spiffe://norland.example/node/1"])),
            ALPN,
            "certificate of `spiffe://norland.example/node/1` does not hold",
        ),
        (
            "expired",
            Some(issue(
                &authority,
                &node_id("mallory"),
                now().saturating_sub(year),
                1,
            )),
            ALPN,
            "Expired",
        ),
        (
            "of next year",
            Some(issue(
                &authority,
                &node_id("mallory"),
                now().saturating_add(year),
                1,
            )),
            ALPN,
            "NotValidYet",
        ),
        (
            "two names",
            Some(odd_leaf(
                &mallory,
                ca,
                &["spiffe://mallory.example/a", "spiffe://norland.example/b"],
            )),
            ALPN,
            "has 2 URI names",
        ),
        (
            "no name",
            Some(odd_leaf(&mallory, ca, &[])),
            ALPN,
            "has 0 URI names",
        ),
        (
            "no SPIFFE ID",
            Some(odd_leaf(&mallory, ca, &["https://mallory.example/"])),
            ALPN,
            "no SPIFFE ID",
        ),
        (
            "a revoked certificate",
            Some(siege.identity("revoked")),
            ALPN,
            "Revoked",
        ),
        (
            "a suspended partner",
            Some(siege.identity("suspended")),
            ALPN,
            "`suspended.example` is not a partner",
        ),
    ];
    for (name, identity, alpn, expected) in cases {
        let before = siege.log().len();
        if let Ok(connection) = siege.connect(identity.as_ref(), alpn).await {
            // The client's side of TLS 1.3 is done before the broker has judged.
            tokio::time::timeout(PATIENCE, connection.closed())
                .await
                .expect("closed");
        }
        let look = || async { siege.log()[before..].contains(expected).then_some(()) };
        let told = until(name, PATIENCE, look).await;
        if told.is_err() {
            let said = siege.log()[before..].to_owned();
            siege
                .wrong
                .push(format!("{name}: `{expected}` is not in: {said}"));
        }
        siege.count += 1;
    }
    // A list that its authority does not renew counts for less and less, and then nobody connects.
    let identity = siege.identity("stale");
    let look = || async {
        let before = siege.log().len();
        if let Ok(connection) = siege.connect(Some(&identity), ALPN).await {
            let (mut send, _receive) = connection.open_bi().await.ok()?;
            let _ = write_frame(&mut send, b"x").await;
            let _ = connection.closed().await;
        }
        siege.log()[before..].contains("CrlExpired").then_some(())
    };
    until("the end of a stale revocation list", PATIENCE, look)
        .await
        .expect("refused");
    siege.count += 1;
    // Noise on the port.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for size in 0..1_000usize {
        let noise = Digest::of(&size.to_be_bytes()).0.repeat(1 + size % 40);
        let _ = socket.send_to(&noise, siege.address());
    }
    siege.count += 1;
}

async fn revoke(siege: &Siege) {
    for (name, valid) in [("revoked", 86_400), ("stale", 4)] {
        let home = siege.home(name);
        let leaf = home.leaf(&node_id(name)).certificate;
        let serial = serial_of(&certificates_from_pem(&leaf).expect("a certificate")[0]);
        let serials = if name == "revoked" {
            vec![serial.expect("a serial")]
        } else {
            vec![]
        };
        let until = now().saturating_add(Duration::from_secs(valid));
        let crl = home
            .authority()
            .expect("an authority")
            .revoke(&serials, now(), until);
        let crl = BASE64.encode(&crl.expect("a list"));
        let request = Request::Revoke {
            partner: partner(name),
            crl,
        };
        siege.cluster.ask_broker(&request).await.expect("recorded");
    }
    let (order, signed) = order(siege, "suspended", Standing::Suspended, now());
    siege
        .cluster
        .ask_broker(&stand(&order, OPERATOR, &signed))
        .await
        .expect("recorded");
}

pub(super) fn operator(siege: &Siege) -> SecretKey {
    read_secret_key(&siege.cluster.layout().operator_key()).expect("the operator's key")
}

pub(super) fn order(
    siege: &Siege,
    name: &str,
    standing: Standing,
    time: Timestamp,
) -> (Bytes, Signature) {
    let order = StandingOrder {
        ledger: siege.ledger(),
        partner: partner(name),
        standing,
        reason: String::new(),
        time,
    };
    let bytes = order.to_bytes();
    let signature = operator(siege)
        .sign(PayloadType::StandingOrder, &bytes)
        .expect("signed");
    (bytes, signature)
}

pub(super) fn stand(order: &[u8], operator: &str, signature: &Signature) -> Request {
    Request::Stand {
        order: BASE64.encode(order),
        operator: operator.to_owned(),
        key: signature.key_id.to_string(),
        signature: BASE64.encode(&signature.bytes),
    }
}
