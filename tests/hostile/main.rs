//! Hostile input: each gets the named error, nobody else notices, and memory stays bounded.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the count is shown; a table is one piece"
)]

mod acts;
mod bulletins;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/closing.rs"]
mod closing;
mod pseudonyms;
mod sessions;
mod strangers;

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

use acts::forged_acts;
use bulletins::{forged_bulletins, sealed};
use pseudonyms::forged_pseudonyms;
use sessions::{one_node_at_a_time, rude_sessions};
use strangers::{operator, order, stand, strangers};

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
            witness: vec![],
            checkpoint: String::new(),
        }
    }

    /// A connection that was welcomed.
    async fn session(&self) -> Session {
        let identity = self.identity("mallory");
        let connection = self.connect(Some(&identity), ALPN).await;
        let welcomed = Self::greet(connection.expect("a connection")).await;
        welcomed.expect("a welcome")
    }

    /// Greets; `None` where the broker does not.
    async fn greet(connection: Connection) -> Option<Session> {
        let (mut send, receive) = connection.open_bi().await.ok()?;
        let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
        let hello = encode(&Frame::Hello(Self::hello()));
        write_frame(&mut send, &hello).await.ok()?;
        let answer = decode(reader.next().await.ok()??);
        matches!(answer, Ok(Frame::Welcome(_))).then_some(Session {
            connection,
            send,
            _reader: reader,
        })
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
    one_node_at_a_time(&mut siege).await;
    siege.others_are_served().await;
    forged_bulletins(&mut siege).await;
    forged_pseudonyms(&mut siege).await;
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
