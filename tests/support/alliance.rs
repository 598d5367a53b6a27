//! An alliance of real processes, and questions to it: for tests of what a whole deployment does.

#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each test uses its part; what was not as it should be is shown"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Shell;
use std::time::Duration;

use entente::bulletin::{BulletinId, Draft, Header};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::node::{Command, Response, StatusView};
use entente::partner::PartnerId;
use entente::proof::NoteKey;
use entente::testing::{Cluster, Scratch};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

/// Norland, Estmark and Ostland, of whom these share cyber without sources.
pub(crate) fn plan(parties: &[&str]) -> Plan {
    let partners = ["norland", "estmark", "ostland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: "Cyber indicators".into(),
        parties: parties.iter().copied().map(partner).collect(),
        clauses: r#"
[[clause]]
id = "feed"
from = ["*"]
to = ["*"]
kinds = ["cyber"]
topics = ["cyber"]
regions = ["*"]
tlp = "TLP:AMBER"
withhold = ["source"]
"#
        .into(),
    });
    plan
}

/// An alliance that does not run yet.
pub(crate) async fn prepared(scratch: &Scratch, plan: Plan) -> Cluster {
    let runner = Runner::Processes(PROGRAM.into());
    Cluster::prepare(runner, scratch.path(), plan, 1)
        .await
        .expect("a cluster")
}

/// Starts these partners' nodes, and waits until each is connected.
pub(crate) async fn start(cluster: &mut Cluster, names: &[&str]) {
    let partners: Vec<PartnerId> = names.iter().copied().map(partner).collect();
    cluster.start_nodes(&partners).await.expect("nodes");
}

pub(crate) fn draft(text: &str) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"{text}\"\n[[part]]\ntype = \"source\"\ndescription = \"whoever said so\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

pub(crate) async fn publish(cluster: &Cluster, by: &str, text: &str) -> BulletinId {
    let by = partner(by);
    let ids = cluster.publish(&by, vec![draft(text)]).await;
    let ids = ids.expect("in the outbox");
    cluster.promised(&by, &ids).await.expect("promised");
    ids[0]
}

/// A node's status, once it runs.
pub(crate) async fn status(cluster: &Cluster, of: &str) -> StatusView {
    let asked = until("a node", PATIENCE, || async {
        match cluster.ask_node(&partner(of), &Command::Status).await {
            Ok(Response::Status(status)) => Some(*status),
            _ => None,
        }
    });
    asked.await.expect("a status")
}

/// Waits until a node's status is as it should be.
pub(crate) async fn settled(
    cluster: &Cluster,
    of: &str,
    what: impl Fn(&StatusView) -> bool,
) -> StatusView {
    let found = until("a node's status", PATIENCE, || async {
        Some(status(cluster, of).await).filter(|status| what(status))
    });
    let found = found.await;
    if found.is_err() {
        println!("{of} is {:#?}", status(cluster, of).await);
    }
    found.expect("the status that is waited for")
}

pub(crate) async fn receipts(cluster: &Cluster, of: &str, about: &str) -> Vec<String> {
    let about = about.to_owned();
    let asked = Command::Receipts {
        about,
        wait: 30_000,
    };
    match cluster.ask_node(&partner(of), &asked).await {
        Ok(Response::Receipts(receipts)) => receipts,
        other => panic!("no receipts: {other:?}"),
    }
}

/// Where a published bulletin stands in the log.
pub(crate) async fn position(cluster: &Cluster, of: &str, id: BulletinId) -> u64 {
    let ids = vec![id];
    let asked = Command::Outbox { ids, wait: 0 };
    let Ok(Response::Outbox(all)) = cluster.ask_node(&partner(of), &asked).await else {
        panic!("no outbox");
    };
    let value = serde_json::to_value(&all[0]).expect("JSON");
    value["position"].as_u64().expect("a position")
}

pub(crate) fn written(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = scratch.path().join(name);
    fs::write(&path, text).expect("written");
    path
}

/// Adds lines before or after what a configuration says.
pub(crate) fn configure(config: &Path, before: &str, after: &str) {
    let text = fs::read_to_string(config).expect("a configuration");
    fs::write(config, format!("{before}{text}{after}")).expect("written");
}

/// Ostland's node as a witness of these logs, whose broker is nowhere.
pub(crate) async fn lonely(scratch: &Scratch, cluster: &mut Cluster, logs: &[&NoteKey]) -> String {
    let lines: Vec<String> = logs.iter().map(|log| format!("log {log}\n")).collect();
    let logs = written(scratch, "logs", &format!("{}quorum none\n", lines.concat()));
    let config = cluster.layout().node_config(&partner("ostland"));
    let text = fs::read_to_string(&config).expect("a configuration");
    let nowhere = |line: &str| {
        if line.starts_with("broker = ") {
            return "broker = \"127.0.0.1:9\"\n".to_owned();
        }
        format!("{line}\n")
    };
    let text: String = text.lines().map(nowhere).collect();
    fs::write(&config, text).expect("written");
    let witness = format!(
        "\n[witness]\nlisten = \"127.0.0.1:0\"\nlogs = \"{}\"\n",
        logs.display()
    );
    configure(&config, "", &witness);
    witness_of(cluster).await
}

/// Starts Ostland's node, and tells where its witness listens.
pub(crate) async fn witness_of(cluster: &mut Cluster) -> String {
    cluster.launch_node(&partner("ostland")).expect("a node");
    let status = settled(cluster, "ostland", |status| {
        status.witness_address.is_some()
    })
    .await;
    assert!(!status.connected);
    let address = status.witness_address.expect("it listens");
    format!("http://{address}")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Ledger and head of a stopped broker, to be put back later.
pub(crate) fn keep(cluster: &Cluster, to: &Path) {
    let broker = cluster.layout().broker();
    copy(&broker.join("ledger"), &to.join("ledger"));
    fs::copy(broker.join("head"), to.join("head")).expect("copied");
}

/// Puts ledger and head back, as they were kept.
pub(crate) fn put_back(cluster: &Cluster, from: &Path) {
    let broker = cluster.layout().broker();
    fs::remove_dir_all(broker.join("ledger")).expect("removed");
    copy(&from.join("ledger"), &broker.join("ledger"));
    fs::copy(from.join("head"), broker.join("head")).expect("copied");
}

/// Runs the program: its exit code, and what it says.
pub(crate) fn entente(arguments: &[&str]) -> (i32, String) {
    let output = Shell::new(PROGRAM).args(arguments).output();
    let output = output.expect("the program");
    let text = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("an exit code");
    (code, String::from_utf8_lossy(&text).into_owned())
}

/// The notices that a node has given, whatever became of them.
pub(crate) async fn given(cluster: &Cluster, by: &str) -> usize {
    let asked = Command::Outbox {
        ids: Vec::new(),
        wait: 0,
    };
    let Ok(Response::Outbox(all)) = cluster.ask_node(&partner(by), &asked).await else {
        panic!("no outbox");
    };
    let headers = all
        .iter()
        .filter_map(|one| Header::from_bytes(&one.header()?).ok());
    headers.filter(|header| header.notice).count()
}

/// A partner's node signs with a key that is its partner's no longer, until it starts again: what it publishes is refused.
pub(crate) fn rotate_at_once(cluster: &Cluster, name: &str) {
    let root = cluster.layout().root().to_owned();
    let shell = |args: &[&str]| {
        let output = Shell::new(PROGRAM).args(args).current_dir(&root).output();
        let output = output.expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    };
    let id = partner(name).to_string();
    shell(&["pki", "rotate", &id, "--grace", "0"]);
    let set = format!("certs/{id}/key-set.pem");
    shell(&["partner", "rotate", &set, "-c", "broker/broker.toml"]);
}
