//! What operators do: configurations, backups, monitoring, renewals, webhooks, quotas.

#[path = "support/client.rs"]
mod client;
#[path = "support/disk.rs"]
mod disk;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command as Shell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use client::{Identity, tls};
use disk::SmallDisk;
use entente::broker::{Config, Request};
use entente::bulletin::{BulletinId, Draft};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::partner::PartnerId;
use entente::proof::Digest;
use entente::testing::{Cluster, Scratch};
use entente::transport::{ALPN, client_endpoint};
use rustls::pki_types::CertificateDer;
use tokio::runtime::Handle;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn plan() -> Plan {
    let parties = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), parties.clone());
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties,
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n"
            .into(),
    });
    plan
}

async fn cluster(scratch: &Scratch) -> Cluster {
    let cluster = Cluster::start(
        Runner::Processes(PROGRAM.into()),
        scratch.path(),
        plan(),
        31,
    )
    .await;
    cluster.expect("a cluster")
}

fn draft(text: &str) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"{text}\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

async fn publish(cluster: &Cluster, text: &str) -> BulletinId {
    let norland = partner("norland");
    let ids = cluster
        .publish(&norland, vec![draft(text)])
        .await
        .expect("in the outbox");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    ids[0]
}

/// Exit code, and everything said.
fn entente(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Shell::new(PROGRAM)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("a file");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(path, text.replace(from, to)).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_place_and_the_exit_code() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    cluster.stop().await.expect("a clean end");
    let directory = cluster.layout().broker();
    let config = cluster.layout().broker_config();
    for (from, to, expected) in [
        ("listen = ", "lisen = ", "unknown field `lisen`"),
        ("ledger = \"ledger\"", "ledger = 7", "line 4"),
        (
            "spiffe://alliance.example/broker/1",
            "https://alliance.example",
            "line 2",
        ),
        ("[http]\nlisten = \"127", "[http]\nlisten = \"0", "loopback"),
    ] {
        let good = std::fs::read_to_string(&config).expect("a file");
        edit(&config, from, to);
        let (code, said) = entente(&directory, &["broker", "run"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(expected) && said.contains("broker.toml"),
            "{expected}: {said}"
        );
        std::fs::write(&config, good).expect("a file");
    }
    let node = cluster.layout().node(&partner("norland"));
    let (code, said) = entente(&node, &["inbox"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("start it with"), "{said}");
    assert_eq!(entente(&node, &["publish", "--frequency", "7"]).0, Some(2));
    let (code, said) = entente(&node, &["--json", "inbox"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("\"not_running\""), "{said}");
    for noun in [
        "pki",
        "broker",
        "node",
        "partner",
        "agreement",
        "publish",
        "audit",
        "demo",
    ] {
        let (code, said) = entente(&node, &[noun, "--help"]);
        assert!(code == Some(0) && said.contains("Usage"), "{noun}");
    }
    // A private key that others can read is refused.
    let key = cluster.layout().home(&partner("norland")).signing_key();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).expect("a mode");
    let (code, said) = entente(&node, &["node", "run"]);
    assert!(code == Some(1) && said.contains("chmod 600"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_broker_and_node_back_and_an_old_one_is_refused() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let first = publish(&cluster, "before the first backup").await;
    cluster.stop().await.expect("a clean end");
    let (broker, estmark) = (
        cluster.layout().broker(),
        cluster.layout().node(&partner("estmark")),
    );
    let back_up = |directory: &Path, file: &str, config: &str| {
        let (code, said) = entente(directory, &["backup", file, "--config", config]);
        assert_eq!(code, Some(0), "{said}");
    };
    back_up(&broker, "old.backup", "broker.toml");
    cluster.start_broker().await.expect("a broker");
    cluster
        .start_nodes(&["norland", "estmark"].map(partner))
        .await
        .expect("nodes");
    let second = publish(&cluster, "after it").await;
    cluster.stop().await.expect("a clean end");
    back_up(&broker, "new.backup", "broker.toml");
    back_up(&estmark, "node.backup", "node.toml");
    for store in [broker.join("ledger"), estmark.join("store")] {
        std::fs::remove_dir_all(store).expect("gone");
    }
    // The old one would rewrite history, and the broker does not start on it.
    let restore = |directory: &Path, file: &str, config: &str| {
        let (code, said) = entente(directory, &["restore", file, "--config", config]);
        assert_eq!(code, Some(0), "{said}");
    };
    restore(&broker, "old.backup", "broker.toml");
    let (code, said) = entente(&broker, &["broker", "run"]);
    assert!(code == Some(1) && said.contains("older backup"), "{said}");
    let (code, said) = entente(&broker, &["audit", "verify"]);
    assert!(
        code == Some(4) && said.contains("records are missing"),
        "{said}"
    );
    let (code, said) = entente(
        &broker,
        &["restore", "new.backup", "--config", "broker.toml"],
    );
    assert_eq!(code, Some(1), "nothing is overwritten: {said}");
    std::fs::remove_dir_all(broker.join("ledger")).expect("gone");
    restore(&broker, "new.backup", "broker.toml");
    restore(&estmark, "node.backup", "node.toml");
    cluster.start_broker().await.expect("a broker");
    cluster
        .start_nodes(&["norland", "estmark"].map(partner))
        .await
        .expect("nodes");
    let third = publish(&cluster, "and on it goes").await;
    let inbox = cluster.inbox(&partner("estmark")).await.expect("an inbox");
    let ids: Vec<_> = inbox.iter().map(|item| item.id).collect();
    assert_eq!(ids, [first, second, third]);
    let (code, said) = entente(&broker, &["audit", "verify"]);
    assert_eq!(code, Some(0), "while it runs: {said}");
    cluster.stop().await.expect("a clean end");
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_see_health_and_what_happened() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    publish(&cluster, "counted").await;
    let config = Config::load(&cluster.layout().broker_config()).expect("a configuration");
    let address = config.http.expect("an address").listen;
    assert!(get(address, "/healthz").ends_with("ok\n"));
    let look = || async { get(address, "/readyz").ends_with("ready\n").then_some(()) };
    until("readiness", PATIENCE, look).await.expect("ready");
    let metrics = get(address, "/metrics");
    for line in [
        "entente_broker_bulletins_accepted_total 1",
        "entente_broker_deliveries_total 1",
        "entente_broker_sessions 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_called_until_it_takes_each_bulletin() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let estmark = partner("estmark");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let (told, posts) = mpsc::channel();
    // Refuses the first post, and takes the others.
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("a connection");
            let body = read_post(&mut stream);
            let status = if number == 0 {
                "503 Later"
            } else {
                "204 Taken"
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).expect("answered");
            if told.send((number, body)).is_err() {
                return;
            }
        }
    });
    cluster.kill_node(&estmark).await.expect("killed");
    let config = cluster.layout().node_config(&estmark);
    let mut text = std::fs::read_to_string(&config).expect("a file");
    text += "\n[[webhook]]\nname = \"siem\"\n";
    text += &["url = \"http://", &address.to_string(), "/in\"\n"].concat();
    std::fs::write(&config, text).expect("a file");
    cluster.start_nodes([&estmark]).await.expect("connected");
    let ids = [
        publish(&cluster, "first").await,
        publish(&cluster, "second").await,
    ];
    let mut taken = Vec::new();
    for _ in 0..3 {
        let (number, body) = posts.recv_timeout(PATIENCE).expect("a post");
        let item: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let id = item["id"].as_str().expect("an id").to_owned();
        if number > 0 {
            taken.push(id);
        } else {
            assert_eq!(id, ids[0].to_string());
        }
    }
    assert_eq!(
        taken,
        ids.map(|id| id.to_string()),
        "each taken once, in order"
    );
    cluster.stop().await.expect("a clean end");
}

/// Reads a whole HTTP request; returns its body.
fn read_post(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).expect("a request");
        text.extend_from_slice(&buffer[..count]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").trim().parse().expect("a number");
        if body.len() >= length || count == 0 {
            return body.to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let address = Config::load(&cluster.layout().broker_config())
        .expect("a configuration")
        .listen;
    let leaf = cluster
        .layout()
        .home(&partner("estmark"))
        .leaf(&"spiffe://estmark.example/node/1".parse().expect("an id"));
    let shown = Identity::of(
        &std::fs::read(leaf.certificate).expect("a certificate"),
        &std::fs::read(leaf.key).expect("a key"),
    );
    let presented = || async {
        let any = "0.0.0.0:0".parse().expect("an address");
        let (endpoint, _) = client_endpoint(any, tls(Some(&shown), ALPN)).ok()?;
        let connection = endpoint
            .connect(address, "broker.invalid")
            .ok()?
            .await
            .ok()?;
        let chain = connection
            .peer_identity()?
            .downcast::<Vec<CertificateDer<'static>>>()
            .ok()?;
        Some(Digest::of(chain.first()?))
    };
    let before = until("a handshake", PATIENCE, presented)
        .await
        .expect("a certificate");
    let (code, said) = entente(
        cluster.layout().root(),
        &["pki", "issue", "spiffe://alliance.example/broker/1"],
    );
    assert_eq!(code, Some(0), "{said}");
    let renewed = || async { presented().await.filter(|now| *now != before) };
    until("the renewed certificate", PATIENCE, renewed)
        .await
        .expect("in use");
    publish(&cluster, "all the while").await;
    cluster.stop().await.expect("a clean end");
}

/// Waits until the broker said something.
async fn broker_said(cluster: &Cluster, what: &str) -> String {
    let log = cluster.layout().broker().join("broker.log");
    let look = || async {
        let said = std::fs::read_to_string(&log).ok()?;
        said.contains(what).then_some(said)
    };
    until(what, PATIENCE, look).await.expect("said")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_really_full_loses_nothing() {
    const RESERVE: u64 = 4 * 1024 * 1024;
    let scratch = Scratch::new().expect("a directory");
    let place = Scratch::new().expect("a directory");
    let Some(small) = SmallDisk::mount(place.path(), 4 * RESERVE) else {
        return;
    };
    let mut cluster = cluster(&scratch).await;
    let norland = partner("norland");
    let mut ids = vec![publish(&cluster, "before").await];
    cluster.kill_broker().await.expect("killed");
    let (config, ledger) = (
        cluster.layout().broker_config(),
        cluster.layout().broker().join("ledger"),
    );
    let on_disk = small.path().join("ledger");
    let copied = Shell::new("cp")
        .arg("-a")
        .args([&ledger, &on_disk])
        .status();
    assert!(copied.expect("cp").success());
    let named = format!("ledger = \"{}\"", on_disk.display());
    edit(&config, "ledger = \"ledger\"", &named);
    let log_key = "log_key = \"log.key\"\n";
    let reserve = |bytes: u64| format!("{log_key}disk_reserve = {bytes}\n");
    edit(&config, log_key, &reserve(RESERVE));
    cluster.start_broker().await.expect("a broker");
    ids.push(publish(&cluster, "on a small disk").await);

    // Of others' bytes: it stops short of the end, and goes on when there is room.
    small.fill(RESERVE / 2);
    let drafts = vec![draft("in the outbox")];
    ids.extend(cluster.publish(&norland, drafts).await.expect("kept"));
    broker_said(&cluster, "nothing can be recorded until there is room").await;
    small.make_room();
    cluster.promised(&norland, &ids).await.expect("promised");

    // Where nothing is kept free, a write fails: what reached the disk is unknown, and it stops.
    cluster.kill_broker().await.expect("killed");
    edit(&config, &reserve(RESERVE), &reserve(0));
    cluster.start_broker().await.expect("a broker");
    small.fill(0);
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                small.waver();
            }
        });
        tokio::task::block_in_place(|| {
            Handle::current().block_on(async {
                let runs = async || cluster.ask_broker(&Request::Status).await.is_ok();
                while runs().await && began.elapsed() < PATIENCE {
                    let published = cluster.publish(&norland, vec![draft("meanwhile")]).await;
                    ids.extend(published.into_iter().flatten());
                }
            });
        });
        stop.store(true, Ordering::Release);
    });
    let said = broker_said(&cluster, "the log cannot be written; stopping").await;
    assert!(said.contains("No space left on device"), "{said}");
    small.make_room();
    cluster.kill_broker().await.expect("it has ended");
    cluster.start_broker().await.expect("it starts with room");
    cluster.promised(&norland, &ids).await.expect("promised");
    let all = async || {
        let inbox = cluster.inbox(&partner("estmark")).await.ok()?;
        (inbox.len() >= ids.len()).then_some(inbox.len())
    };
    let count = until("all of it", PATIENCE, all).await.expect("received");
    assert_eq!(count, ids.len(), "each once");
    let said = broker_said(&cluster, "the broker listens").await;
    assert!(!said.contains("panicked"), "{said}");
    cluster.stop().await.expect("a clean end");
    let (code, said) = entente(&cluster.layout().broker(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_or_a_used_up_quota_refuses_for_now_and_nothing_is_lost() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    cluster.kill_broker().await.expect("killed");
    // More to be kept free than any disk has; and little to be published at once.
    let config = cluster.layout().broker_config();
    edit(
        &config,
        "log_key = \"log.key\"\n",
        "log_key = \"log.key\"\ndisk_reserve = 9000000000000000\n",
    );
    cluster.start_broker().await.expect("a broker");
    let norland = partner("norland");
    let ids = cluster
        .publish(&norland, vec![draft("too much")])
        .await
        .expect("in the outbox");
    broker_said(&cluster, "nothing can be recorded until there is room").await;
    cluster.kill_broker().await.expect("killed");
    edit(&config, "disk_reserve = 9000000000000000\n", "");
    let mut text = std::fs::read_to_string(&config).expect("a file");
    text.push_str("\n[quota]\nbulletins_per_second = 10\nburst = 2\n");
    std::fs::write(&config, text).expect("a file");
    cluster.start_broker().await.expect("a broker");
    cluster
        .promised(&norland, &ids)
        .await
        .expect("promised when there is room");
    let many: Vec<Draft> = (0..8).map(|number| draft(&number.to_string())).collect();
    let ids = cluster
        .publish(&norland, many)
        .await
        .expect("in the outbox");
    cluster
        .promised(&norland, &ids)
        .await
        .expect("promised as the quota allows");
    let address = Config::load(&config)
        .expect("a configuration")
        .http
        .expect("an address")
        .listen;
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("code=\"quota\""), "{metrics}");
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_replaced_without_losing_a_bulletin() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let (norland, root) = (partner("norland"), cluster.layout().root().to_owned());
    let before = publish(&cluster, "under the first key").await;
    let rotate = |grace: &str| {
        let (code, said) = entente(
            &root,
            &["pki", "rotate", "norland.example", "--grace", grace],
        );
        assert_eq!(code, Some(0), "{said}");
        let submit = ["partner", "rotate", "certs/norland.example/key-set.pem"];
        let (code, said) = entente(
            &root,
            &[&submit[..], &["-c", "broker/broker.toml"]].concat(),
        );
        assert_eq!(code, Some(0), "{said}");
    };
    rotate("7");
    // The node still has the old key, which may sign for a while.
    let between = publish(&cluster, "under the old key, in its grace").await;
    cluster.kill_node(&norland).await.expect("killed");
    cluster
        .start_nodes([&norland])
        .await
        .expect("back, with the new key");
    let after = publish(&cluster, "under the second key").await;
    // A stolen key signs nothing more: what it signs is refused for good, and said to be.
    rotate("0");
    let ids = cluster
        .publish(&norland, vec![draft("under a stolen key")])
        .await
        .expect("taken");
    let refused = cluster.promised(&norland, &ids).await.expect_err("refused");
    assert!(refused.to_string().contains("not one that"), "{refused}");
    let inbox = cluster.inbox(&partner("estmark")).await.expect("an inbox");
    assert!(
        inbox.iter().all(|item| item.quarantined.is_none()),
        "{inbox:?}"
    );
    let ids: Vec<_> = inbox.iter().map(|item| item.id).collect();
    assert_eq!(ids, [before, between, after]);
    let (code, said) = entente(&cluster.layout().broker(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    cluster.stop().await.expect("a clean end");
}
