//! What travels, seen from a client that keeps to no rule: the traps of TLS under QUIC, revocation
//! of the connected, and what a recipient's bytes contain.

#[path = "support/client.rs"]
mod client;
#[path = "support/closing.rs"]
mod closing;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Gullible, Identity, tls};
use closing::closed_with;
use data_encoding::BASE64;
use entente::agreement::SignedAgreement;
use entente::broker::Request;
use entente::bulletin::{Draft, Part};
use entente::clock::{Clock, SystemClock, SystemEntropy};
use entente::deployment::{AgreementPlan, OPERATOR, Plan, Runner, until};
use entente::identity::{certificates_from_pem, read_private, read_secret_key, serial_of};
use entente::ledger::StandingOrder;
use entente::node::{Command, Response};
use entente::partner::{PartnerId, SpiffeId, Standing};
use entente::proof::{PayloadType, Signer};
use entente::session::{Frame, Hello, Limits, MAX_FRAME_BYTES, decode, encode};
use entente::testing::{Cluster, Scratch};
use entente::transport::{ALPN, FrameReader, Kex, client_endpoint, write_frame};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError};
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, SignatureScheme};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(30);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn node_id(name: &str) -> SpiffeId {
    SpiffeId::new(&partner(name), "/node/1").expect("a SPIFFE ID")
}

fn plan() -> Plan {
    let partners = ["norland", "estmark", "sudland", "ostland"]
        .map(partner)
        .to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    let clause = "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = \
                  [\"source\"]\n";
    for (name, parties) in [
        ("ours", &["norland", "estmark"][..]),
        ("theirs", &["norland", "sudland"]),
        ("secret", &["sudland", "ostland"]),
    ] {
        plan.agreements.push(AgreementPlan {
            name: name.into(),
            title: String::new(),
            parties: parties.iter().map(|one| partner(one)).collect(),
            clauses: clause.into(),
        });
    }
    plan
}

async fn prepare(scratch: &Scratch, plan: Plan) -> Cluster {
    let cluster =
        Cluster::prepare(Runner::Processes(PROGRAM.into()), scratch.path(), plan, 21).await;
    let mut cluster = cluster.expect("a deployment");
    cluster.start_broker().await.expect("a broker");
    cluster
}

fn address(cluster: &Cluster) -> SocketAddr {
    let config = entente::broker::Config::load(&cluster.layout().broker_config());
    config.expect("a configuration").listen
}

fn identity(cluster: &Cluster, name: &str) -> Identity {
    let leaf = cluster.layout().home(&partner(name)).leaf(&node_id(name));
    Identity::of(
        &std::fs::read(leaf.certificate).expect("a certificate"),
        read_private(&leaf.key).expect("a key").as_bytes(),
    )
}

async fn connect(
    cluster: &Cluster,
    tls: Arc<QuicClientConfig>,
) -> Result<Connection, ConnectionError> {
    let (endpoint, _) =
        client_endpoint("0.0.0.0:0".parse().expect("an address"), tls).expect("an endpoint");
    endpoint
        .connect(address(cluster), "broker.invalid")
        .expect("a connection")
        .await
}

/// Greets and waits for the welcome; the control stream stays open with what it returns.
async fn greet(connection: &Connection) -> (quinn::SendStream, FrameReader<quinn::RecvStream>) {
    let (mut send, receive) = connection.open_bi().await.expect("a stream");
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let hello = Hello {
        versions: vec![1],
        limits: Limits::OURS,
        agent: "test".into(),
        time: SystemClock.now(),
        resume: vec![],
        ledger: None,
        witness: vec![],
        checkpoint: String::new(),
    };
    write_frame(&mut send, &encode(&Frame::Hello(hello)))
        .await
        .expect("sent");
    let welcome = reader.next().await.expect("an answer").expect("a frame");
    assert!(matches!(decode(welcome), Ok(Frame::Welcome(_))));
    (send, reader)
}

/// Changes a partner's standing, as its operator.
async fn stand(cluster: &Cluster, name: &str, standing: Standing) {
    let order = StandingOrder {
        ledger: cluster.ledger(),
        partner: partner(name),
        standing,
        reason: "a test".into(),
        time: SystemClock.now(),
    };
    let bytes = order.to_bytes();
    let key = read_secret_key(&cluster.layout().operator_key()).expect("a key");
    let signature = key
        .sign(PayloadType::StandingOrder, &bytes)
        .expect("signed");
    let request = Request::Stand {
        order: BASE64.encode(&bytes),
        operator: OPERATOR.into(),
        key: signature.key_id.to_string(),
        signature: BASE64.encode(&signature.bytes),
    };
    cluster.ask_broker(&request).await.expect("recorded");
}

/// Notes every ticket that would let a client skip its certificate the next time.
#[derive(Debug, Default)]
struct Tickets(Mutex<usize>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {
        *self.0.lock().expect("a count") += 1;
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        *self.0.lock().expect("a count") += 1;
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// Shows a certificate, and notes whom the broker says it would believe.
#[derive(Debug)]
struct Curious {
    key: Arc<CertifiedKey>,
    hints: Mutex<Option<usize>>,
}

impl ResolvesClientCert for Curious {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.hints.lock().expect("hints") = Some(hints.len());
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_resumed_hinted_or_sent_early() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepare(&scratch, plan()).await;
    let shown = identity(&cluster, "estmark");
    let provider = rustls::crypto::ring::default_provider();
    let key = CertifiedKey::from_der(shown.chain, shown.key, &provider).expect("a pair");
    let curious = Arc::new(Curious {
        key: Arc::new(key),
        hints: Mutex::new(None),
    });
    let tickets = Arc::new(Tickets::default());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_client_cert_resolver(Arc::clone(&curious) as Arc<dyn ResolvesClientCert>);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config.resumption =
        rustls::client::Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
    let tls = Arc::new(QuicClientConfig::try_from(config).expect("a QUIC suite"));
    for _ in 0..2 {
        let connection = connect(&cluster, Arc::clone(&tls))
            .await
            .expect("a connection");
        // Tickets come after the handshake, before or with the first answer.
        let _control = greet(&connection).await;
        assert_eq!(connection.max_datagram_size(), None, "datagrams are off");
        connection.close(0u8.into(), b"");
    }
    assert_eq!(
        *tickets.0.lock().expect("a count"),
        0,
        "a resumed session skips the verifier"
    );
    assert_eq!(
        *curious.hints.lock().expect("hints"),
        Some(0),
        "no partner's name is given away"
    );
    let (endpoint, _) =
        client_endpoint("0.0.0.0:0".parse().expect("an address"), tls).expect("an endpoint");
    let connecting = endpoint
        .connect(address(&cluster), "broker.invalid")
        .expect("a connection");
    assert!(
        connecting.into_0rtt().is_err(),
        "nothing can be said before the certificate is seen"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hybrid_required_refuses_a_client_without_it() {
    let scratch = Scratch::new().expect("a directory");
    let mut required = plan();
    required.kex = Kex::HybridRequired;
    let mut cluster = prepare(&scratch, required).await;
    let shown = identity(&cluster, "estmark");
    let refused = connect(&cluster, tls(Some(&shown), ALPN))
        .await
        .expect_err("no common group");
    assert!(refused.to_string().contains("handshake"), "{refused}");
    // A node as it comes offers X25519MLKEM768 first, and is let in.
    let config = cluster.layout().node_config(&partner("estmark"));
    let text = std::fs::read_to_string(&config).expect("a configuration");
    assert!(text.contains("kex = \"hybrid-required\""));
    std::fs::write(&config, text.replace("kex = \"hybrid-required\"\n", "")).expect("a file");
    cluster
        .start_nodes([&partner("estmark")])
        .await
        .expect("connected");
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_believes_its_own_broker_only() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepare(&scratch, plan()).await;
    // Sudland's node knows that the broker's certificate was revoked.
    let home = cluster.layout().home(&partner("alliance"));
    let broker_id = SpiffeId::new(&partner("alliance"), "/broker/1").expect("an id");
    let leaf = certificates_from_pem(&home.leaf(&broker_id).certificate).expect("a certificate");
    let now = SystemClock.now();
    let until_then = now.saturating_add(Duration::from_hours(1));
    let serial = serial_of(&leaf[0]).expect("a serial");
    home.authority()
        .expect("an authority")
        .revoke(&[serial], now, until_then)
        .expect("a list");
    for (name, from, to, expected) in [
        (
            "sudland",
            "store = ",
            "broker_revocations = \"../../certs/alliance.example/ca.crl\"\nstore = ",
            "CertRevoked",
        ),
        (
            "norland",
            "broker/1\"",
            "broker/2\"",
            "not `spiffe://alliance.example/broker/2`",
        ),
        (
            "estmark",
            "../../certs/alliance.example/ca.pem",
            "../../certs/sudland.example/ca.pem",
            "UnknownIssuer",
        ),
    ] {
        let who = partner(name);
        let config = cluster.layout().node_config(&who);
        let text = std::fs::read_to_string(&config)
            .expect("a configuration")
            .replace(from, to);
        std::fs::write(&config, text).expect("a file");
        cluster.launch_node(&who).expect("started");
        let look = || async {
            match cluster.ask_node(&who, &Command::Status).await.ok()? {
                Response::Status(status) => {
                    assert!(!status.connected);
                    status.reason.filter(|reason| reason.contains(expected))
                }
                other => panic!("{other:?}"),
            }
        };
        until(expected, PATIENCE, look)
            .await
            .expect("refused by name");
    }
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connected_are_looked_at_again() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepare(&scratch, plan()).await;
    let now = || SystemClock.now();
    // Revoked, suspended, and expired while connected; a bystander stays.
    let bystander = connect(&cluster, tls(Some(&identity(&cluster, "norland")), ALPN)).await;
    let bystander = bystander.expect("a connection");
    let _control = greet(&bystander).await;
    let home = cluster.layout().home(&partner("ostland"));
    let short = home.authority().expect("an authority").issue(
        &node_id("ostland"),
        now(),
        Duration::from_secs(6),
        &SystemEntropy::new(),
    );
    let short = short.expect("a certificate");
    let short = Identity::of(short.certificate.as_bytes(), short.key.as_bytes());
    let shown = [
        ("estmark", identity(&cluster, "estmark")),
        ("sudland", identity(&cluster, "sudland")),
        ("ostland", short),
    ];
    let mut live = Vec::new();
    for (name, identity) in &shown {
        let connection = connect(&cluster, tls(Some(identity), ALPN))
            .await
            .expect(name);
        let control = greet(&connection).await;
        live.push((connection, control));
    }
    let home = cluster.layout().home(&partner("estmark"));
    let leaf = certificates_from_pem(&home.leaf(&node_id("estmark")).certificate);
    let serial = serial_of(&leaf.expect("a certificate")[0]).expect("a serial");
    let day = Duration::from_hours(24);
    let authority = home.authority().expect("an authority");
    let crl = authority
        .revoke(&[serial], now(), now().saturating_add(day))
        .expect("a list");
    let request = Request::Revoke {
        partner: partner("estmark"),
        crl: BASE64.encode(&crl),
    };
    cluster.ask_broker(&request).await.expect("recorded");
    stand(&cluster, "sudland", Standing::Suspended).await;
    for ((name, _), (connection, _)) in shown.iter().zip(&live) {
        assert_eq!(closed_with(connection).await, "no_longer_trusted", "{name}");
    }
    assert!(
        bystander.close_reason().is_none(),
        "the bystander is still connected"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revoked_are_gone_within_a_second_with_their_queue_and_do_not_resume() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepare(&scratch, plan()).await;
    let norland = partner("norland");
    cluster.start_nodes([&norland]).await.expect("connected");
    // One client with one session cache, before and after.
    let shown = identity(&cluster, "estmark");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_client_auth_cert(shown.chain, shown.key)
        .expect("a pair");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let tls = Arc::new(QuicClientConfig::try_from(config).expect("a QUIC suite"));
    let connection = connect(&cluster, Arc::clone(&tls)).await;
    let connection = connection.expect("a connection");
    let _control = greet(&connection).await;
    // It reads nothing, so that more waits for it than the windows hold.
    let text = "x".repeat(1_000_000);
    let draft = ["kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \"narrative\"\ntext = \"", &text, "\"\n"].concat();
    let mut ids = Vec::new();
    for _ in 0..12 {
        let draft = Draft::from_toml(&draft).expect("a bulletin");
        ids.extend(cluster.publish(&norland, vec![draft]).await.expect("taken"));
    }
    cluster.promised(&norland, &ids).await.expect("promised");

    let home = cluster.layout().home(&partner("estmark"));
    let leaf = certificates_from_pem(&home.leaf(&node_id("estmark")).certificate);
    let serial = serial_of(&leaf.expect("a certificate")[0]).expect("a serial");
    let now = SystemClock.now();
    let day = now.saturating_add(Duration::from_hours(24));
    let crl = home
        .authority()
        .expect("an authority")
        .revoke(&[serial], now, day);
    let request = Request::Revoke {
        partner: partner("estmark"),
        crl: BASE64.encode(&crl.expect("a list")),
    };
    cluster.ask_broker(&request).await.expect("recorded");
    let second = tokio::time::timeout(Duration::from_secs(1), connection.closed()).await;
    assert!(second.is_ok(), "it is still connected after a second");
    assert_eq!(closed_with(&connection).await, "no_longer_trusted");
    // What came before, in the windows, is all: the queue is twelve times that.
    let mut came = 0;
    while let Ok(mut lane) = connection.accept_uni().await {
        while let Ok(Some(chunk)) = lane.read_chunk(usize::MAX, true).await {
            came += chunk.bytes.len();
        }
    }
    assert!(came < 2_000_000, "{came} bytes of the queue");

    // The client believes that it is connected until the broker has judged its certificate.
    for _ in 0..2 {
        if let Ok(again) = connect(&cluster, Arc::clone(&tls)).await {
            let closed = tokio::time::timeout(PATIENCE, again.closed()).await;
            closed.expect("it is let in by what it remembers");
            assert!(again.accept_uni().await.is_err(), "it is given nothing");
        }
    }
    for id in ids {
        let view = cluster.decided(id).await.expect("decided");
        let mut recipients = view.recipients.iter();
        let estmark = recipients.find(|one| one.partner == partner("estmark"));
        assert!(!estmark.expect("released").acknowledged);
    }
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipients_bytes_hold_nothing_of_what_is_withheld_or_anothers() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepare(&scratch, plan()).await;
    let norland = partner("norland");
    cluster.start_nodes([&norland]).await.expect("connected");
    let draft = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
                 \"FLASH\"\n[[part]]\ntype = \"narrative\"\ntext = \"openly told\"\n[[part]]\ntype = \
                 \"source\"\ndescription = \"deeply hidden\"\n";
    let draft = Draft::from_toml(draft).expect("a bulletin");
    let ids = cluster.publish(&norland, vec![draft]).await.expect("taken");
    cluster.promised(&norland, &ids).await.expect("promised");
    let view = cluster.decided(ids[0]).await.expect("decided");
    assert_eq!(
        view.recipients.len(),
        2,
        "Estmark and Sudland both receive it"
    );

    let connection = connect(&cluster, tls(Some(&identity(&cluster, "estmark")), ALPN)).await;
    let connection = connection.expect("a connection");
    let (_send, mut control) = greet(&connection).await;
    let mut captured = control
        .next()
        .await
        .expect("evidence")
        .expect("a frame")
        .to_vec();
    let mut delivery = None;
    while delivery.is_none() {
        let lane = tokio::time::timeout(PATIENCE, connection.accept_uni())
            .await
            .expect("a lane");
        let mut lane = FrameReader::new(lane.expect("a lane"), MAX_FRAME_BYTES);
        let opened = lane.next().await.expect("a lane's name").expect("a frame");
        captured.extend_from_slice(&opened);
        let Ok(Frame::LaneOpen { precedence, .. }) = decode(opened) else {
            panic!("a lane's name")
        };
        if precedence == entente::bulletin::Precedence::Flash {
            let frame = lane.next().await.expect("a delivery").expect("a frame");
            captured.extend_from_slice(&frame);
            let Ok(Frame::Deliver {
                item: Some(item), ..
            }) = decode(frame)
            else {
                panic!("a delivery")
            };
            delivery = Some(item);
        }
    }
    let holds = |needle: &[u8]| {
        captured
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(holds(b"openly told"), "what is released is there");
    let bulletin = &delivery.expect("a delivery").bulletin;
    let withheld: Vec<_> = bulletin
        .parts
        .iter()
        .filter_map(|part| {
            if let Part::Withheld(leaf) = part {
                Some(leaf)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(withheld.len(), 1);
    assert!(
        holds(withheld[0].as_bytes()),
        "of what is withheld there is a hash"
    );
    assert!(!holds(b"deeply hidden"), "and nothing else");
    for other in ["sudland", "ostland", "theirs", "secret"] {
        assert!(!holds(other.as_bytes()), "nothing of `{other}`");
    }
    let id = |name: &str| {
        let file = std::fs::read(cluster.layout().agreement(name)).expect("an agreement");
        let signed = SignedAgreement::from_file(&file).expect("an agreement");
        signed.id().0
    };
    assert!(holds(id("ours").as_bytes()), "the agreement is named");
    for other in ["theirs", "secret"] {
        let id = id(other);
        assert!(!holds(id.as_bytes()), "the id of `{other}`");
        assert!(!holds(id.to_string().as_bytes()), "the id of `{other}`");
    }
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_does_not_read_holds_up_nobody() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepare(&scratch, plan()).await;
    let norland = partner("norland");
    cluster
        .start_nodes(&["norland", "sudland"].map(partner))
        .await
        .expect("connected");
    // Estmark connects, opens no lane it is offered, and acknowledges nothing.
    let lazy = connect(&cluster, tls(Some(&identity(&cluster, "estmark")), ALPN)).await;
    let lazy = lazy.expect("a connection");
    let _control = greet(&lazy).await;
    let text = "x".repeat(1_000_000);
    let mut last = None;
    for _ in 0..60 {
        let draft = ["kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \"narrative\"\ntext = \"", &text, "\"\n"].concat();
        let draft = Draft::from_toml(&draft).expect("a bulletin");
        last = cluster
            .publish(&norland, vec![draft])
            .await
            .expect("taken")
            .pop();
    }
    let last = last.expect("sixty bulletins");
    cluster.promised(&norland, &[last]).await.expect("promised");
    let look = || async { cluster.received(&partner("sudland"), last).await.ok()? };
    until("the last at Sudland", PATIENCE, look)
        .await
        .expect("received");
    let pid = cluster.broker_process().expect("a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    // The body cache of 64 MiB, the store's own, and a lane's window: not a backlog of all there is.
    assert!(kib < 400 * 1024, "{kib} KiB");
    assert!(lazy.close_reason().is_none(), "slow is no offence");
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_suspended_while_connecting_does_not_stay() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepare(&scratch, plan()).await;
    for round in 0..12u32 {
        let shown = identity(&cluster, "estmark");
        let connecting = async {
            // Each round, the order lands at another moment of the handshake.
            tokio::time::sleep(Duration::from_micros(u64::from(round) * 250)).await;
            connect(&cluster, tls(Some(&shown), ALPN)).await
        };
        let suspending = stand(&cluster, "estmark", Standing::Suspended);
        let (connected, ()) = tokio::join!(connecting, suspending);
        if let Ok(connection) = connected {
            let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
            assert!(closed.is_ok(), "round {round}: it is still connected");
        }
        stand(&cluster, "estmark", Standing::Active).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_make_the_broker_hold_more_than_its_windows() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepare(&scratch, plan()).await;
    let connection = connect(&cluster, tls(Some(&identity(&cluster, "estmark")), ALPN)).await;
    let connection = connection.expect("a connection");
    let _control = greet(&connection).await;
    // The first of these is the publish stream, and announces a frame that never ends; the others
    // nobody reads.
    let chunk = vec![0; 64 * 1024];
    let (mut taken, mut streams) = (0, Vec::new());
    for _ in 0..12 {
        let Ok((mut send, _receive)) = connection.open_bi().await else {
            break;
        };
        send.write_all(&8_000_000u32.to_be_bytes())
            .await
            .expect("a length");
        while let Ok(Ok(())) =
            tokio::time::timeout(Duration::from_millis(300), send.write_all(&chunk)).await
        {
            taken += chunk.len();
            if taken > 64 * 1024 * 1024 {
                break;
            }
        }
        streams.push(send);
    }
    // 8 MiB of a frame in the making, 8 MiB of windows, 4 MiB on our own side.
    assert!(taken < 24 * 1024 * 1024, "{taken} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_packets_fit_every_path() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a socket");
    let address = socket.local_addr().expect("its address");
    let any = "0.0.0.0:0".parse().expect("an address");
    let (endpoint, _) = client_endpoint(any, tls(None, ALPN)).expect("an endpoint");
    let _connecting = endpoint
        .connect(address, "broker.invalid")
        .expect("a connection");
    let mut packet = [0; 2_048];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut packet)).await;
    assert_eq!(received.expect("in time").expect("a packet"), 1_200);
}
