//! Frameworks of different operators, each with its own broker and ledger, and bridges between them.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use entente::bulletin::{BulletinId, Draft};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::ledger::LedgerId;
use entente::node::{Carriage, Command, ItemView, Response};
use entente::partner::PartnerId;
use entente::testing::Cluster;
use tokio::process::{Child, Command as Shell};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

/// A clause from some to one, with more terms.
pub(crate) fn clause(id: &str, from: &[&str], to: &str, more: &str) -> String {
    let from: Vec<String> = from
        .iter()
        .map(|one| format!("\"{one}.example\""))
        .collect();
    format!(
        "[[clause]]\nid = \"{id}\"\nfrom = [{}]\nto = [\"{to}.example\"]\nkinds = [\"cyber\"]\ntopics = \
         [\"cyber\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n{more}\n",
        from.join(", ")
    )
}

/// That recipients may carry something into ledgers.
pub(crate) fn federation(ledgers: &[LedgerId]) -> String {
    let named: Vec<String> = ledgers.iter().map(|one| format!("\"{one}\"")).collect();
    format!("federation = [{}]\n", named.join(", "))
}

pub(crate) fn agreement(name: &str, parties: &[&str], clauses: &str) -> AgreementPlan {
    AgreementPlan {
        name: name.to_owned(),
        title: String::new(),
        parties: parties.iter().copied().map(partner).collect(),
        clauses: clauses.to_owned(),
    }
}

/// A framework that does not run yet.
pub(crate) async fn framework(
    directory: &Path,
    name: &str,
    partners: &[&str],
    agreements: Vec<AgreementPlan>,
) -> Cluster {
    let partners = partners.iter().copied().map(partner).collect();
    let mut plan = Plan::new(partner(name), partners);
    plan.agreements = agreements;
    let runner = Runner::Processes(PROGRAM.into());
    Cluster::prepare(runner, &directory.join(name), plan, 1)
        .await
        .expect("a framework")
}

/// Starts its broker and these nodes.
pub(crate) async fn start(cluster: &mut Cluster, names: &[&str]) {
    cluster.start_broker().await.expect("a broker");
    let partners: Vec<PartnerId> = names.iter().copied().map(partner).collect();
    cluster.start_nodes(&partners).await.expect("nodes");
}

/// What a node is told of another framework: its ledger, and the key sets of these partners.
pub(crate) fn knows(node: (&Cluster, &str), other: (&Cluster, &str), partners: &[&str]) {
    let (cluster, of) = node;
    let config = cluster.layout().node_config(&partner(of));
    let mut text = fs::read_to_string(&config).expect("a configuration");
    let sets: Vec<String> = partners
        .iter()
        .map(|name| format!("\"{}\"", key_set(other.0, name).display()))
        .collect();
    let known = format!(
        "\n[[federation]]\nledger = \"{}\"\nframework = \"{}.example\"\nkey_sets = [{}]\nlog_key = \"{}\"\n",
        other.0.ledger(),
        other.1,
        sets.join(", "),
        log_key(other.0)
    );
    text.push_str(&known);
    fs::write(&config, text).expect("written");
}

pub(crate) fn key_set(cluster: &Cluster, of: &str) -> PathBuf {
    let certs = cluster.layout().root().join("certs");
    certs.join(format!("{of}.example")).join("key-set.pem")
}

/// The verifier key of a framework's log.
pub(crate) fn log_key(cluster: &Cluster) -> String {
    let secret = entente::identity::read_secret_key(&cluster.layout().log_key()).expect("a key");
    let name = cluster.plan().framework.as_str();
    entente::proof::NoteKey::new(name, entente::proof::Signer::public_key(&secret))
        .expect("a name")
        .to_string()
}

/// A bridge as a process; killed when it goes.
pub(crate) struct Bridge {
    child: Child,
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    log: PathBuf,
    more: Vec<String>,
}

impl Bridge {
    /// Between the nodes of one partner in two frameworks.
    pub(crate) fn start(from: &Cluster, to: &Cluster, of: &str, lease: u64) -> Self {
        Self::between((from, of), (to, of), lease)
    }

    /// One that waits so many seconds for a broker that does not answer.
    pub(crate) fn impatient(
        from: &Cluster,
        to: &Cluster,
        of: &str,
        lease: u64,
        silence: u64,
    ) -> Self {
        Self::with(
            (from, of),
            (to, of),
            lease,
            &["--silence", &silence.to_string()],
        )
    }

    /// Between the nodes of one organisation that is known under two names.
    pub(crate) fn between(from: (&Cluster, &str), to: (&Cluster, &str), lease: u64) -> Self {
        Self::with(from, to, lease, &[])
    }

    fn with(from: (&Cluster, &str), to: (&Cluster, &str), lease: u64, more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|one| (*one).to_owned()).collect();
        let config = |(cluster, of): (&Cluster, &str)| cluster.layout().node_config(&partner(of));
        let (from, to) = (config(from), config(to));
        let log = to.with_file_name("bridge.log");
        Self {
            child: Self::spawn(&from, &to, lease, &log, &more),
            from,
            to,
            log,
            more,
        }
    }

    fn spawn(from: &Path, to: &Path, lease: u64, log: &Path, more: &[String]) -> Child {
        let output = File::options().create(true).append(true).open(log);
        Shell::new(PROGRAM)
            .args(["bridge", "run", "--lease", &lease.to_string(), "--from"])
            .arg(from)
            .arg("--to")
            .arg(to)
            .args(more)
            .env("RUST_LOG", "entente=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("a bridge")
    }

    /// Kills it at once, as a power failure would, and starts it again.
    pub(crate) async fn crash(&mut self, lease: u64) {
        self.child.kill().await.expect("killed");
        self.child = Self::spawn(&self.from, &self.to, lease, &self.log, &self.more);
    }

    pub(crate) async fn stop(&mut self) {
        self.child.kill().await.expect("killed");
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it carried, as its command lists it.
    pub(crate) async fn list(&self) -> Vec<Carriage> {
        let output = Shell::new(PROGRAM)
            .args(["--json", "bridge", "list", "--from"])
            .arg(&self.from)
            .arg("--to")
            .arg(&self.to)
            .output()
            .await
            .expect("the program");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until what it carried is as it should be.
    pub(crate) async fn listed(
        &self,
        what: &str,
        is: impl Fn(&[Carriage]) -> bool,
    ) -> Vec<Carriage> {
        let look = || async { Some(self.list().await).filter(|all| is(all)) };
        let found = until(what, PATIENCE, look).await;
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.log()))
    }
}

pub(crate) fn draft(text: &str, more: &str) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n{more}\n[[part]]\ntype = \
         \"narrative\"\ntext = \"{text}\"\n[[part]]\ntype = \"domain\"\nvalue = \
         \"update.grid-portal.example\"\n[[part]]\ntype = \"source\"\ndescription = \"whoever said so\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

/// Publishes, and waits for the promise.
pub(crate) async fn publish(cluster: &Cluster, by: &str, draft: Draft) -> BulletinId {
    let by = partner(by);
    let ids = cluster
        .publish(&by, vec![draft])
        .await
        .expect("in the outbox");
    cluster.promised(&by, &ids).await.expect("promised");
    ids[0]
}

/// Waits for the copy of an original in an inbox.
pub(crate) async fn arrived(cluster: &Cluster, at: &str, original: BulletinId) -> ItemView {
    let at = partner(at);
    let look = || async {
        let inbox = cluster.inbox(&at).await.ok()?;
        let of = |item: &ItemView| item.origin.as_ref().is_some_and(|one| one.id == original);
        inbox.into_iter().find(of)
    };
    until(&format!("{original} at {at}"), PATIENCE, look)
        .await
        .expect("it arrives")
}

/// The originals of what came from other ledgers to a node, in order.
pub(crate) async fn originals(cluster: &Cluster, at: &str) -> Vec<BulletinId> {
    let inbox = cluster.inbox(&partner(at)).await.expect("an inbox");
    let all = inbox.iter().filter_map(|item| item.origin.as_ref());
    all.map(|origin| origin.id).collect()
}

/// Asks a node.
pub(crate) async fn ask(cluster: &Cluster, of: &str, command: &Command) -> Response {
    let asked = cluster.ask_node(&partner(of), command).await;
    asked.expect("an answer")
}

/// A number of the broker's metrics, by the beginning of its line; 0 where there is none.
pub(crate) fn metric(cluster: &Cluster, line: &str) -> u64 {
    let config = cluster.layout().broker_config();
    let config = entente::broker::Config::load(&config).expect("a configuration");
    let address = config.http.expect("it is served").listen;
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an answer");
    let found = said.lines().find(|one| one.starts_with(line));
    found
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}
