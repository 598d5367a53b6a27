//! Hostile input: each gets the named error, nobody else notices, and memory stays bounded.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the count is shown; a table is one piece"
)]

#[path = "support/client.rs"]
mod client;
#[path = "support/closing.rs"]
mod closing;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use client::{Identity, tls};
use closing::closed_with;
use data_encoding::BASE64;
use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal, parse_draft};
use entente::broker::{Reply, Request};
use entente::bulletin::{Draft, Header, Marking, OpenPart, Part, Sealed, Tlp, Unsealed, seal};
use entente::clock::{Clock, SystemClock, SystemEntropy, Timestamp};
use entente::deployment::{AgreementPlan, DeploymentError, OPERATOR, Plan, Runner, until};
use entente::identity::{
    Authority, Home, certificates_from_pem, crl_from_pem, read_private, read_secret_key, serial_of,
};
use entente::ledger::{Ack, LaneAck, LedgerId, PartnerAdmitted, SignedAck, StandingOrder};
use entente::partner::{KeySet, PartnerId, SignedKeySet, SpiffeId, Standing};
use entente::proof::{Digest, KeyId, PayloadType, SecretKey, Signature, Signer, merkle};
use entente::session::{Frame, Hello, Limits, MAX_FRAME_BYTES, Refusal, Rejected, decode, encode};
use entente::testing::{Cluster, Scratch};
use entente::transport::{ALPN, FrameReader, client_endpoint, write_frame};
use quinn::{Connection, RecvStream, SendStream};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(20);
/// What a broker may hold after all of it.
const MEMORY: u64 = 512 * 1024 * 1024;

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn node_id(name: &str) -> SpiffeId {
    SpiffeId::new(&partner(name), "/node/1").expect("a SPIFFE ID")
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn plan() -> Plan {
    let partners = [
        "norland",
        "estmark",
        "mallory",
        "revoked",
        "stale",
        "suspended",
    ];
    let mut plan = Plan::new(partner("alliance"), partners.map(partner).to_vec());
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties: ["norland", "estmark", "mallory"].map(partner).to_vec(),
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n"
            .into(),
    });
    plan
}

const DRAFT: &str = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype \
                     = \"ip\"\nvalue = \"192.0.2.1\"\n[[part]]\ntype = \"narrative\"\ntext = \"n\"\n";

fn draft() -> Draft {
    Draft::from_toml(DRAFT).expect("a bulletin")
}

/// The alliance under attack.
struct Siege {
    cluster: Cluster,
    mallory: SecretKey,
    count: usize,
    /// What was not refused as it should be.
    wrong: Vec<String>,
}

impl Siege {
    fn home(&self, name: &str) -> Home {
        self.cluster.layout().home(&partner(name))
    }

    /// Everybody else is served all the while.
    async fn others_are_served(&self) {
        let ids = self
            .cluster
            .publish(&partner("norland"), vec![draft()])
            .await
            .expect("taken");
        self.cluster
            .promised(&partner("norland"), &ids)
            .await
            .expect("promised");
        let view = self.cluster.delivered(ids[0]).await.expect("delivered");
        assert!(
            view.recipients
                .iter()
                .any(|one| one.partner == partner("estmark"))
        );
    }

    async fn status(&self) -> entente::broker::StatusView {
        match self
            .cluster
            .ask_broker(&Request::Status)
            .await
            .expect("an answer")
        {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn ledger(&self) -> LedgerId {
        self.cluster.ledger()
    }

    fn address(&self) -> std::net::SocketAddr {
        let config = entente::broker::Config::load(&self.cluster.layout().broker_config());
        config.expect("a configuration").listen
    }

    fn log(&self) -> String {
        let path = self.cluster.layout().broker().join("broker.log");
        std::fs::read_to_string(path).expect("the broker's log")
    }

    /// Mallory's node as it should connect.
    fn identity(&self, name: &str) -> Identity {
        let leaf = self.home(name).leaf(&node_id(name));
        Identity::of(
            &std::fs::read(leaf.certificate).expect("a certificate"),
            read_private(&leaf.key).expect("a key").as_bytes(),
        )
    }

    async fn connect(
        &self,
        identity: Option<&Identity>,
        alpn: &[u8],
    ) -> Result<Connection, String> {
        let (endpoint, _) = client_endpoint(
            "0.0.0.0:0".parse().expect("an address"),
            tls(identity, alpn),
        )
        .map_err(|error| error.to_string())?;
        let connecting = endpoint.connect(self.address(), "broker.invalid");
        connecting
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| error.to_string())
    }

    fn hello() -> Hello {
        Hello {
            versions: vec![1],
            limits: Limits::OURS,
            agent: "mallory".into(),
            time: now(),
            resume: vec![],
            ledger: None,
        }
    }

    /// A connection that was welcomed.
    async fn session(&self) -> Session {
        let identity = self.identity("mallory");
        let connection = self
            .connect(Some(&identity), ALPN)
            .await
            .expect("a connection");
        let (mut send, receive) = connection.open_bi().await.expect("a stream");
        let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
        let hello = encode(&Frame::Hello(Self::hello()));
        write_frame(&mut send, &hello).await.expect("sent");
        let answer = reader.next().await.expect("an answer").expect("a frame");
        assert!(matches!(decode(answer), Ok(Frame::Welcome(_))));
        Session {
            connection,
            send,
            _reader: reader,
        }
    }
}

struct Session {
    connection: Connection,
    send: SendStream,
    _reader: FrameReader<RecvStream>,
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_is_refused_by_name_and_disturbs_nobody() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = Cluster::prepare(
        Runner::Processes(PROGRAM.into()),
        scratch.path(),
        plan(),
        11,
    )
    .await;
    let mut cluster = cluster.expect("a deployment");
    cluster.start_broker().await.expect("a broker");
    cluster
        .start_nodes(&["norland", "estmark"].map(partner))
        .await
        .expect("nodes");
    let mallory = read_secret_key(&cluster.layout().home(&partner("mallory")).signing_key());
    let mut siege = Siege {
        cluster,
        mallory: mallory.expect("a key"),
        count: 0,
        wrong: Vec::new(),
    };
    siege.others_are_served().await;
    strangers(&mut siege).await;
    siege.others_are_served().await;
    rude_sessions(&mut siege).await;
    siege.others_are_served().await;
    forged_bulletins(&mut siege).await;
    siege.others_are_served().await;
    forged_acts(&mut siege).await;
    siege.others_are_served().await;
    let pid = siege.cluster.broker_process().expect("a process");
    let memory = resident(pid);
    println!(
        "{} hostile inputs; the broker holds {} MiB",
        siege.count,
        memory / 1024 / 1024
    );
    assert!(siege.wrong.is_empty(), "{}", siege.wrong.join("\n"));
    assert!(siege.count >= 60, "{}", siege.count);
    assert!(memory < MEMORY, "{memory} bytes");
    assert!(!siege.log().contains("panicked"), "{}", siege.log());
    siege.cluster.stop().await.expect("a clean end");
}

/// Bytes that a process holds in memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

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
async fn strangers(siege: &mut Siege) {
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

fn operator(siege: &Siege) -> SecretKey {
    read_secret_key(&siege.cluster.layout().operator_key()).expect("the operator's key")
}

fn order(siege: &Siege, name: &str, standing: Standing, time: Timestamp) -> (Bytes, Signature) {
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

fn stand(order: &[u8], operator: &str, signature: &Signature) -> Request {
    Request::Stand {
        order: BASE64.encode(order),
        operator: operator.to_owned(),
        key: signature.key_id.to_string(),
        signature: BASE64.encode(&signature.bytes),
    }
}

/// First frames and later ones that do not belong.
async fn rude_sessions(siege: &mut Siege) {
    let hello = Siege::hello();
    let framed = |hello: Hello| {
        let frame = encode(&Frame::Hello(hello));
        [
            &u32::try_from(frame.len()).expect("small").to_be_bytes()[..],
            &frame,
        ]
        .concat()
    };
    let raw = |length: u32, bytes: &[u8]| [&length.to_be_bytes()[..], bytes].concat();
    let hour = Duration::from_hours(1);
    let ahead = LaneAck {
        precedence: entente::bulletin::Precedence::Flash,
        up_to: 7,
        chain: Digest::of(b"chain"),
    };
    let first: Vec<(&str, Vec<u8>, &str)> = vec![
        ("garbage", raw(4, &[0xff; 4]), "malformed_frame"),
        ("an empty frame", raw(0, b""), "malformed_frame"),
        ("half a frame", raw(100, b"half"), "truncated"),
        ("half a length", vec![0, 0], "truncated"),
        ("a greeting of 4 GiB", raw(u32::MAX, b""), "frame_too_large"),
        (
            "a greeting of 100 KiB",
            raw(100 * 1024, &vec![7; 100 * 1024]),
            "frame_too_large",
        ),
        ("silence", vec![], "no_hello"),
        (
            "not a greeting",
            {
                let frame = encode(&Frame::Goodbye {
                    reason: "no".into(),
                });
                raw(u32::try_from(frame.len()).expect("small"), &frame)
            },
            "no_hello",
        ),
        (
            "no version",
            framed(Hello {
                versions: vec![],
                ..hello.clone()
            }),
            "unsupported_version",
        ),
        (
            "a later version",
            framed(Hello {
                versions: vec![2, 9],
                ..hello.clone()
            }),
            "unsupported_version",
        ),
        (
            "a clock that is late",
            framed(Hello {
                time: now().saturating_sub(hour),
                ..hello.clone()
            }),
            "clock_skew",
        ),
        (
            "a clock that is early",
            framed(Hello {
                time: now().saturating_add(hour),
                ..hello.clone()
            }),
            "clock_skew",
        ),
        (
            "another ledger",
            framed(Hello {
                ledger: Some(LedgerId(Digest::of(b"x"))),
                ..hello.clone()
            }),
            "other_ledger",
        ),
        (
            "tiny limits",
            framed(Hello {
                limits: Limits {
                    frame_bytes: 9,
                    ..Limits::OURS
                },
                ..hello.clone()
            }),
            "limits",
        ),
        (
            "what was never sent",
            framed(Hello {
                resume: vec![ahead],
                ..hello.clone()
            }),
            "resume_ahead",
        ),
    ];
    let identity = siege.identity("mallory");
    for (name, bytes, expected) in first {
        let connection = siege.connect(Some(&identity), ALPN).await.expect(name);
        let (mut send, _receive) = connection.open_bi().await.expect(name);
        send.write_all(&bytes).await.expect(name);
        send.finish().expect(name);
        let code = closed_with(&connection).await;
        if code != expected {
            siege
                .wrong
                .push(format!("{name}: {code} instead of {expected}"));
        }
        siege.count += 1;
    }

    let ack = |recipient: &str, ledger: LedgerId, lanes: Vec<LaneAck>, key: &SecretKey| {
        let ack = Ack {
            ledger,
            recipient: partner(recipient),
            lanes,
            time: now(),
        };
        Frame::Acknowledge(SignedAck::sign(ack, key).expect("signed"))
    };
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let ledger = siege.ledger();
    let later: Vec<(&str, Frame, &str)> = vec![
        ("a second greeting", Frame::Hello(hello), "unexpected_frame"),
        (
            "a refusal of the node's",
            Frame::Refuse(Refusal::new("x", "y")),
            "unexpected_frame",
        ),
        (
            "a submission on the control stream",
            Frame::Submit {
                sequence: 1,
                bulletin: Ok(Box::new(sealed(siege))),
            },
            "unexpected_frame",
        ),
        (
            "an acknowledgement for another",
            ack("norland", ledger, vec![], &siege.mallory),
            "ack_not_recipient",
        ),
        (
            "an acknowledgement of what was never sent",
            ack("mallory", ledger, vec![ahead], &siege.mallory),
            "bad_acknowledgement",
        ),
        (
            "an acknowledgement for another ledger",
            ack(
                "mallory",
                LedgerId(Digest::of(b"x")),
                vec![],
                &siege.mallory,
            ),
            "ack_other_ledger",
        ),
        (
            "an acknowledgement under a strange key",
            ack("mallory", ledger, vec![], &stranger),
            "ack_unknown_key",
        ),
    ];
    for (name, frame, expected) in later {
        let mut session = siege.session().await;
        write_frame(&mut session.send, &encode(&frame))
            .await
            .expect(name);
        let code = closed_with(&session.connection).await;
        if code != expected {
            siege
                .wrong
                .push(format!("{name}: {code} instead of {expected}"));
        }
        siege.count += 1;
    }
    let mut session = siege.session().await;
    session
        .send
        .write_all(&u32::MAX.to_be_bytes())
        .await
        .expect("sent");
    assert_eq!(closed_with(&session.connection).await, "frame_too_large");
    siege.count += 1;
    let mut tampered = {
        let Frame::Acknowledge(ack) = ack("mallory", ledger, vec![], &siege.mallory) else {
            unreachable!()
        };
        ack
    };
    tampered.signature.bytes[5] ^= 1;
    let mut session = siege.session().await;
    write_frame(&mut session.send, &encode(&Frame::Acknowledge(tampered)))
        .await
        .expect("sent");
    assert_eq!(closed_with(&session.connection).await, "ack_bad_signature");
    siege.count += 1;
    // Out of order, and more than may wait.
    let mut session = siege.session().await;
    let frame = Frame::Submit {
        sequence: 2,
        bulletin: Ok(Box::new(sealed(siege))),
    };
    let (mut send, _receive) = session.connection.open_bi().await.expect("a stream");
    write_frame(&mut send, &encode(&frame)).await.expect("sent");
    assert_eq!(closed_with(&session.connection).await, "out_of_order");
    session.send.finish().ok();
    siege.count += 1;
    // More streams than may be open: the broker does not answer for them, and holds no memory.
    let session = siege.session().await;
    for _ in 0..16 {
        let opened = tokio::time::timeout(Duration::from_millis(200), session.connection.open_bi());
        if let Ok(Ok((mut send, _receive))) = opened.await {
            let _ = send.write_all(&[0, 0, 0, 9]).await;
        }
    }
    session.connection.close(0u8.into(), b"");
    siege.count += 1;
}

fn unsealed() -> Unsealed {
    let draft = draft().into_unsealed(&partner("mallory"), now(), &SystemEntropy::new());
    draft.expect("a bulletin")
}

fn sealed(siege: &Siege) -> Sealed {
    seal(vec![unsealed()], &siege.mallory, &SystemEntropy::new())
        .expect("sealed")
        .remove(0)
}

/// Signs whatever bytes as a header, in a burst of one.
fn signed(header: Vec<u8>, like: &Sealed, key: &SecretKey) -> Sealed {
    let leaf = merkle::leaf_hash(&[b"entente/bulletin/v1\n", Digest::of(&header).as_bytes()]);
    let payload = [&1u32.to_be_bytes()[..], leaf.as_bytes()].concat();
    let mut sealed = like.clone();
    sealed.header = header.into();
    sealed.burst.size = 1;
    sealed.burst.index = 0;
    sealed.burst.path = vec![];
    sealed.burst.signature = key.sign(PayloadType::Burst, &payload).expect("signed");
    sealed
}

/// Changes a header and signs it as its originator would.
fn with_header(siege: &Siege, change: impl FnOnce(&mut Header)) -> Sealed {
    let sealed = sealed(siege);
    let mut header = Header::from_bytes(&sealed.header).expect("a header");
    change(&mut header);
    let mut forged = signed(header.to_bytes().to_vec(), &sealed, &siege.mallory);
    (forged.id, forged.precedence) = (header.id, header.precedence);
    forged
}

/// Changes the parts, with a root that covers them.
fn with_parts(siege: &Siege, change: impl FnOnce(&mut Vec<Part>)) -> Sealed {
    let mut parts = sealed(siege).parts;
    change(&mut parts);
    let leaves: Vec<Digest> = parts.iter().map(Part::leaf).collect();
    let count = u32::try_from(parts.len()).expect("few");
    let mut forged = with_header(siege, |header| {
        header.parts_root = merkle::root(&leaves);
        header.part_count = count;
    });
    forged.parts = parts;
    forged
}

fn part(class: &str, body: Vec<u8>) -> Part {
    Part::Open(OpenPart {
        salt: [3; 32],
        class: class.into(),
        marking: Marking::default(),
        body: body.into(),
    })
}

/// Bulletins that are not what they should be; published on a session of Mallory's own.
async fn forged_bulletins(siege: &mut Siege) {
    let good = sealed(siege);
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let day = Duration::from_hours(24);
    let mut cases: Vec<(&str, Sealed, &str)> = Vec::new();
    let mut change = |name, expected, change: &dyn Fn(&mut Sealed)| {
        let mut one = sealed(siege);
        change(&mut one);
        cases.push((name, one, expected));
    };
    change("another id outside", "envelope_contradicts", &|one| {
        one.id.0[0] ^= 1;
    });
    change(
        "another precedence outside",
        "envelope_contradicts",
        &|one| {
            one.precedence = entente::bulletin::Precedence::Flash;
        },
    );
    change("a bad signature", "bad_signature", &|one| {
        one.burst.signature.bytes[0] ^= 1;
    });
    change("a changed header", "bad_signature", &|one| {
        let mut bytes = one.header.to_vec();
        // The source's credibility, unsigned: its tag is 18, its value follows.
        bytes.extend([0x90, 0x01, 0x02]);
        one.header = bytes.into();
    });
    change(
        "another key named outside",
        "envelope_contradicts",
        &|one| {
            one.burst.signature.key_id = KeyId(Digest::of(b"key"));
        },
    );
    change("a burst of three", "not_in_burst", &|one| {
        one.burst.size = 3;
    });
    change("a burst of four billion", "not_in_burst", &|one| {
        one.burst.size = 1 << 31;
    });
    change("a place outside the burst", "not_in_burst", &|one| {
        one.burst.index = 9;
    });
    change("a path too long", "count", &|one| {
        one.burst.path = vec![Digest([0; 32]); 40];
    });
    change("a changed body", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.body = Bytes::from_static(b"changed");
        }
    });
    change("a changed class", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.class = "action".into();
        }
    });
    change("a changed salt", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.salt[0] ^= 1;
        }
    });
    change("parts in another order", "wrong_root", &|one| {
        one.parts.reverse();
    });
    change("a part left out", "envelope_contradicts", &|one| {
        one.parts.pop();
    });
    change(
        "a part of another bulletin",
        "envelope_contradicts",
        &|one| {
            let strange = one.parts[0].clone();
            one.parts.push(strange);
        },
    );
    change("no parts", "count", &|one| one.parts.clear());
    change("a part withheld from the broker", "part_missing", &|one| {
        one.parts[0] = Part::Withheld(one.parts[0].leaf());
    });
    change("no header", "unknown_format", &|one| {
        *one = Sealed {
            header: Bytes::new(),
            ..one.clone()
        }
    });
    change("no header worth the name", "malformed", &|one| {
        one.header = Bytes::from_static(&[0xff; 9]);
    });
    change("a header of 100 KiB", "too_large", &|one| {
        one.header = vec![0; 100 * 1024].into();
    });
    let extended = |field: &[u8]| signed([&good.header[..], field].concat(), &good, &siege.mallory);
    cases.extend([
        (
            "a critical field of tomorrow",
            extended(&[0xb8, 0x01, 1]),
            "unknown_critical_field",
        ),
        (
            "a format of tomorrow",
            extended(&[0x08, 2]),
            "unknown_format",
        ),
        (
            "a stranger's key",
            signed(good.header.to_vec(), &good, &stranger),
            "envelope_contradicts",
        ),
        (
            "a stranger's key, named",
            {
                let mut header = Header::from_bytes(&good.header).expect("a header");
                header.signing_key = stranger.public_key().id();
                signed(header.to_bytes().to_vec(), &good, &stranger)
            },
            "unknown_key",
        ),
        (
            "in another's name",
            with_header(siege, |header| header.originator = partner("norland")),
            "unknown_key",
        ),
        (
            "of tomorrow",
            with_header(siege, |header| header.created = now().saturating_add(day)),
            "from_the_future",
        ),
        (
            "of yesterday",
            with_header(siege, |header| {
                header.valid_from = now().saturating_sub(2 * day);
                header.valid_until = now().saturating_sub(day);
            }),
            "expired",
        ),
        (
            "over before it began",
            with_header(siege, |header| header.valid_until = header.valid_from),
            "invalid_field",
        ),
        (
            "about nothing",
            with_header(siege, |header| header.kinds.clear()),
            "count",
        ),
        (
            "of no topic",
            with_header(siege, |header| header.topics.clear()),
            "count",
        ),
        (
            "of one topic 65 times",
            with_header(siege, |header| {
                header.topics = vec![header.topics[0]; 65];
            }),
            "invalid_field",
        ),
        (
            "that takes back itself",
            with_header(siege, |header| {
                let relation = entente::bulletin::Relation::Retracts;
                header.references = vec![entente::bulletin::Reference {
                    relation,
                    bulletin: header.id,
                }];
            }),
            "invalid_field",
        ),
        (
            "an audience that is not there",
            with_header(siege, |header| header.audience_part = true),
            "audience",
        ),
        (
            "an audience that is not announced",
            with_parts(siege, |parts| parts.push(part("audience", vec![]))),
            "audience",
        ),
        (
            "a marking weaker than the whole",
            with_parts(siege, |parts| {
                parts[0] = Part::Open(OpenPart {
                    salt: [3; 32],
                    class: "narrative".into(),
                    marking: Marking {
                        tlp: Some(Tlp::Clear),
                        level: None,
                    },
                    body: Bytes::new(),
                });
            }),
            "weak_marking",
        ),
        (
            "a part of 5 MB",
            with_parts(siege, |parts| {
                parts.push(part("narrative", vec![0; 5_000_000]));
            }),
            "too_large",
        ),
        (
            "a class without a name",
            with_parts(siege, |parts| parts.push(part("", vec![]))),
            "too_large",
        ),
        (
            "20,000 parts",
            with_parts(siege, |parts| *parts = vec![part("source", vec![]); 20_000]),
            "count",
        ),
    ]);
    let session = siege.session().await;
    let (mut send, receive) = session.connection.open_bi().await.expect("a stream");
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let mut sequence = 0;
    for (name, bulletin, expected) in cases {
        sequence += 1;
        let rejected = submit(&mut send, &mut reader, sequence, bulletin).await;
        match rejected {
            Some(rejected) if rejected.refusal.code == expected => {
                assert_eq!(rejected.sequence, sequence);
            }
            other => siege
                .wrong
                .push(format!("{name}: {other:?} instead of {expected}")),
        }
        siege.count += 1;
    }
    // A field that is not critical passes, byte for byte; the same again gets the same promise; the
    // same id with other content never.
    let newer = extended(&[0xc0, 0x3e, 1]);
    sequence += 1;
    assert!(
        submit(&mut send, &mut reader, sequence, newer.clone())
            .await
            .is_none()
    );
    siege.cluster.delivered(newer.id).await.expect("delivered");
    let size = siege.status().await.size;
    sequence += 1;
    assert!(
        submit(&mut send, &mut reader, sequence, newer.clone())
            .await
            .is_none()
    );
    assert_eq!(siege.status().await.size, size, "recorded once");
    let other = with_header(siege, |header| header.id = newer.id);
    sequence += 1;
    let rejected = submit(&mut send, &mut reader, sequence, other)
        .await
        .expect("refused");
    assert_eq!(rejected.refusal.code, "duplicate_id");
    siege.count += 2;
}

async fn submit(
    send: &mut SendStream,
    reader: &mut FrameReader<RecvStream>,
    sequence: u64,
    bulletin: Sealed,
) -> Option<Rejected> {
    let frame = Frame::Submit {
        sequence,
        bulletin: Ok(Box::new(bulletin)),
    };
    write_frame(send, &encode(&frame)).await.expect("sent");
    let answer = tokio::time::timeout(PATIENCE, reader.next())
        .await
        .expect("in time");
    match decode(answer.expect("an answer").expect("a frame")).expect("readable") {
        Frame::Rejected(rejected) => Some(rejected),
        Frame::Promise { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// Acts of operators and parties that do not hold.
async fn forged_acts(siege: &mut Siege) {
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let entropy = SystemEntropy::new();
    let ledger = siege.ledger();
    let new = Scratch::new().expect("a directory");
    let home = Home::create(&new.path().join("new"), &partner("new"), now(), &entropy);
    let newcomer = home.expect("a partner").key_set().expect("a key set");
    let admit = |set: &SignedKeySet, ledger: LedgerId, operator: &str, key: &SecretKey| {
        let payload = PartnerAdmitted::payload(ledger, set);
        let signature = key.sign(PayloadType::Admission, &payload).expect("signed");
        Request::Admit {
            key_set: BASE64.encode(&set.to_bytes()),
            operator: operator.to_owned(),
            key: signature.key_id.to_string(),
            signature: BASE64.encode(&signature.bytes),
        }
    };
    let own = operator(siege);
    let known = siege.home("norland").key_set().expect("a key set");
    let other_ledger = LedgerId(Digest::of(b"other"));
    let unsigned = {
        let key_set: KeySet = newcomer.claimed().clone();
        SignedKeySet::sign(key_set, &[&stranger]).expect("signed")
    };
    let (replay, signature) = order(
        siege,
        "suspended",
        Standing::Active,
        now().saturating_sub(Duration::from_secs(9_999)),
    );
    let agreement = |change: &dyn Fn(String) -> String, signers: &[&str]| {
        let path = siege.cluster.layout().agreements().join("cyber.toml");
        let text = change(
            std::fs::read_to_string(path)
                .expect("an agreement")
                .replace("cyber", "second"),
        );
        let text = text.replace("kinds = [\"second\"]", "kinds = [\"cyber\"]");
        let terms = parse_draft(&text).expect("terms");
        let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
        for name in signers {
            let key = read_secret_key(&siege.home(name).agreements_key()).expect("a key");
            signed.ratify(&partner(name), &key).expect("signed");
        }
        Request::Ratify {
            agreement: BASE64.encode(&signed.to_file()),
        }
    };
    let all = ["norland", "estmark", "mallory"];
    let same = |text: String| text;
    let elsewhere = |text: String| text.replace(&ledger.to_string(), &other_ledger.to_string());
    let over = |text: String| {
        let year = &text[text.find("valid_from = \"").expect("a time") + 14..][..4];
        let (from, until) = (
            format!("valid_from = \"{year}"),
            format!(
                "valid_until = \"{}",
                year.parse::<u32>().expect("a year") + 1
            ),
        );
        text.replace(&from, "valid_from = \"2001")
            .replace(&until, "valid_until = \"2002")
    };
    let pinned = |text: String| {
        let pin = siege
            .home("mallory")
            .key_set()
            .expect("a key set")
            .hash()
            .to_string();
        text.replace(&pin, &"0".repeat(64))
    };
    let no_parties = BASE64.encode(b"not an agreement");
    let withdrawal = |by: &str, key: &SecretKey, ledger: LedgerId| {
        let Ok(signed) = SignedAgreement::from_file(
            &std::fs::read(siege.cluster.layout().agreement("cyber")).expect("an agreement"),
        ) else {
            panic!("an agreement")
        };
        let withdrawal = Withdrawal {
            ledger: ledger.0,
            agreement: signed.id(),
            partner: partner(by),
            time: now(),
            reason: String::new(),
        };
        let signed = SignedWithdrawal::sign(withdrawal, key).expect("signed");
        Request::Withdraw {
            withdrawal: BASE64.encode(&signed.to_file()),
        }
    };
    let mallorys = read_secret_key(&siege.home("mallory").agreements_key()).expect("a key");
    let estmarks_list = siege
        .home("estmark")
        .authority()
        .expect("an authority")
        .revoke(&[], now(), now().saturating_add(Duration::from_hours(24)));
    let old_list = siege
        .home("mallory")
        .authority()
        .expect("an authority")
        .revoke(
            &[],
            now().saturating_sub(Duration::from_hours(24)),
            now().saturating_sub(Duration::from_mins(1)),
        );
    let cases = vec![
        (
            "an unknown operator",
            admit(&newcomer, ledger, "eve", &own),
            "unknown_operator",
        ),
        (
            "another's key for an operator",
            admit(&newcomer, ledger, OPERATOR, &stranger),
            "bad_operator_signature",
        ),
        (
            "an admission to another ledger",
            admit(&newcomer, other_ledger, OPERATOR, &own),
            "bad_operator_signature",
        ),
        (
            "admitted twice",
            admit(&known, ledger, OPERATOR, &own),
            "already_admitted",
        ),
        (
            "a key set that its owner did not sign",
            admit(&unsigned, ledger, OPERATOR, &own),
            "key_set",
        ),
        (
            "an old order again",
            stand(&replay, OPERATOR, &signature),
            "stale_order",
        ),
        (
            "an order under another's key",
            stand(
                &replay,
                OPERATOR,
                &stranger
                    .sign(PayloadType::StandingOrder, &replay)
                    .expect("signed"),
            ),
            "bad_operator_signature",
        ),
        (
            "a first key set as a rotation",
            Request::Rotate {
                key_set: BASE64.encode(&known.to_bytes()),
            },
            "key_set",
        ),
        (
            "no agreement",
            Request::Ratify {
                agreement: no_parties,
            },
            "unreadable",
        ),
        (
            "not base64",
            Request::Ratify {
                agreement: "%%%".into(),
            },
            "bad_request",
        ),
        (
            "a party did not sign",
            agreement(&same, &["norland", "estmark"]),
            "agreement",
        ),
        ("nobody signed", agreement(&same, &[]), "agreement"),
        (
            "for another ledger",
            agreement(&elsewhere, &all),
            "agreement",
        ),
        ("over already", agreement(&over, &all), "over"),
        (
            "another key set pinned",
            agreement(&pinned, &all),
            "agreement",
        ),
        (
            "a withdrawal by no party",
            withdrawal("stale", &mallorys, ledger),
            "agreement",
        ),
        (
            "a withdrawal in another's name",
            withdrawal("norland", &mallorys, ledger),
            "agreement",
        ),
        (
            "a withdrawal in another ledger",
            withdrawal("mallory", &mallorys, other_ledger),
            "agreement",
        ),
        (
            "a revocation list of another's authority",
            Request::Revoke {
                partner: partner("norland"),
                crl: BASE64.encode(&estmarks_list.expect("a list")),
            },
            "bad_crl",
        ),
        (
            "a revocation list that is over",
            Request::Revoke {
                partner: partner("mallory"),
                crl: BASE64.encode(&old_list.expect("a list")),
            },
            "bad_crl",
        ),
        (
            "a revocation list that was there before",
            Request::Revoke {
                partner: partner("revoked"),
                crl: BASE64.encode(
                    &crl_from_pem(&siege.home("revoked").roots().with_extension("crl"))
                        .expect("a list"),
                ),
            },
            "bad_crl",
        ),
        (
            "no revocation list",
            Request::Revoke {
                partner: partner("mallory"),
                crl: BASE64.encode(b"x"),
            },
            "bad_crl",
        ),
    ];
    let before = siege.status().await.size;
    for (name, request, expected) in cases {
        match siege.cluster.ask_broker(&request).await {
            Err(DeploymentError::Trouble { code, .. }) if code == expected => {}
            other => siege
                .wrong
                .push(format!("{name}: {other:?} instead of {expected}")),
        }
        siege.count += 1;
    }
    assert_eq!(
        siege.status().await.size,
        before,
        "nothing of it was recorded"
    );
    // The texts of agreements that say too little.
    for (name, from, to) in [
        ("no parties", "[parties]\n", "[nobody]\n"),
        ("an empty list of givers", "from = [\"*\"]", "from = []"),
        (
            "an unknown topic",
            "topics = [\"*\"]",
            "topics = [\"weather\"]",
        ),
        ("an unknown level", "TLP:AMBER", "TLP:PINK"),
    ] {
        let path = siege.cluster.layout().agreements().join("cyber.toml");
        let text = std::fs::read_to_string(path)
            .expect("an agreement")
            .replace(from, to);
        let error = parse_draft(&text).expect_err(name);
        assert!(error.line > 0 && !error.message.is_empty(), "{name}");
        siege.count += 1;
    }
}
