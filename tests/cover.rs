//! Cover traffic: what the growth of the log tells to who only reads it, and to an auditor.

#![allow(clippy::print_stdout, reason = "the figures are printed")]

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alliance::{PATIENCE, PROGRAM, entente, partner};
use entente::broker;
use entente::bulletin::Draft;
use entente::clock::SystemEntropy;
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::identity::{new_secret_key, write_secret_key};
use entente::proof::{Checkpoint, NoteKey};
use entente::testing::{Cluster, Scratch};

fn plan() -> Plan {
    let partners = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties: ["norland", "estmark"].map(partner).to_vec(),
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n"
            .into(),
    });
    plan
}

/// A deployment whose log's growth is covered, with everybody running.
async fn covered(scratch: &Scratch, growth: &str) -> Cluster {
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::prepare(runner, scratch.path(), plan(), 1).await;
    let mut cluster = cluster.expect("a cluster");
    let key = new_secret_key(&SystemEntropy::new()).expect("a key");
    write_secret_key(&scratch.path().join("cover.key"), &key).expect("written");
    let config = cluster.layout().broker_config();
    let text = fs::read_to_string(&config).expect("a configuration");
    let key = scratch.path().join("cover.key");
    let cover = format!(
        "{text}\n[cover]\ngrowth = \"{growth}\"\ninterval_seconds = 1\nkey = \"{}\"\n",
        key.display()
    );
    fs::write(&config, cover).expect("written");
    cluster.start_broker().await.expect("a broker");
    let partners = cluster.plan().partners.clone();
    cluster.start_nodes(&partners).await.expect("nodes");
    cluster
}

fn drafts(count: usize) -> Vec<Draft> {
    let draft = |at| {
        format!(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"narrative\"\ntext = \"bulletin {at}\"\n"
        )
    };
    (0..count)
        .map(|at| Draft::from_toml(&draft(at)).expect("a bulletin"))
        .collect()
}

async fn share(cluster: &Cluster, count: usize) {
    let norland = partner("norland");
    let ids = cluster.publish(&norland, drafts(count)).await;
    let ids = ids.expect("in the outbox");
    cluster.promised(&norland, &ids).await.expect("promised");
    for id in ids {
        cluster.delivered(id).await.expect("delivered");
    }
}

async fn broker_status(cluster: &Cluster) -> broker::StatusView {
    match cluster.ask_broker(&broker::Request::Status).await {
        Ok(broker::Reply::Status(status)) => *status,
        other => panic!("no status: {other:?}"),
    }
}

fn address(cluster: &Cluster) -> String {
    let config = broker::Config::load(&cluster.layout().broker_config()).expect("a file");
    format!("http://{}", config.http.expect("http").listen)
}

/// What somebody sees who reads the log's checkpoint again and again: its sizes, each once.
struct Observer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(Vec<u64>, Vec<u64>)>,
}

/// An observer that was held up for longer may have missed a checkpoint.
const PROMPT: Duration = Duration::from_millis(200);

impl Observer {
    fn watch(cluster: &Cluster, key: &str) -> Self {
        let url = format!("{}/checkpoint", address(cluster));
        let key: NoteKey = key.parse().expect("a key");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sizes, mut steps): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut looked = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                if let Ok(mut answer) = ureq::get(&url).call() {
                    let note = answer.body_mut().read_to_string().expect("a note");
                    let size = Checkpoint::verify(&note, &key).expect("signed").size;
                    let last = sizes.last().copied();
                    if last != Some(size) {
                        let prompt = looked.elapsed() < PROMPT;
                        steps.extend(last.filter(|_| prompt).map(|last| size - last));
                        sizes.push(size);
                    }
                    looked = Instant::now();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            (sizes, steps)
        });
        Self { stop, thread }
    }

    /// The sizes, and the steps between two of which none was missed.
    fn finish(self) -> (Vec<u64>, Vec<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("an observer")
    }
}

async fn wait_until_signed(cluster: &Cluster, size: u64) {
    let signed = until("a checkpoint", PATIENCE, || async {
        (broker_status(cluster).await.witnessed >= size).then_some(())
    });
    signed.await.expect("a checkpoint of that size");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fixed_cover_growth_says_nothing_and_an_auditor_sees_all() {
    const EACH: u64 = 64;
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = covered(&scratch, &format!("fixed:{EACH}")).await;
    let first = broker_status(&cluster).await;
    let key = first.log_key.clone();
    wait_until_signed(&cluster, 1).await;

    // Silence, then a burst of more than an interval has room for, then silence.
    let observer = Observer::watch(&cluster, &key);
    let quiet = broker_status(&cluster).await.witnessed;
    wait_until_signed(&cluster, quiet + 3 * EACH).await;
    let before = broker_status(&cluster).await.bulletins;
    share(&cluster, 150).await;
    let size = broker_status(&cluster).await.size;
    wait_until_signed(&cluster, size + 2 * EACH).await;
    let (sizes, steps) = observer.finish();
    assert_eq!(broker_status(&cluster).await.bulletins, before + 150);
    println!("fixed:{EACH}: the log grew by {steps:?}");
    assert!(steps.len() >= 4, "{sizes:?}");
    assert!(steps.iter().all(|step| *step == EACH), "{steps:?}");
    assert!(
        sizes.iter().all(|size| (size - sizes[0]) % EACH == 0),
        "{sizes:?}"
    );

    // What was shared has its receipts, under checkpoints of covered sizes only.
    let own = entente::node::Command::Receipts {
        about: "cyber".into(),
        wait: 30_000,
    };
    let receipts = cluster.ask_node(&partner("estmark"), &own).await;
    let Ok(entente::node::Response::Receipts(receipts)) = receipts else {
        panic!("no receipts: {receipts:?}");
    };
    let path = scratch.path().join("receipt");
    fs::write(&path, &receipts[0]).expect("written");
    let shown = path.to_str().expect("a path");
    let (code, text) = entente(&["verify", shown, "--log-key", &key]);
    assert_eq!(code, 0, "{text}");

    // The auditor's key tells records from cover; another key tells nothing.
    let url = address(&cluster);
    let cover_key = scratch.path().join("cover.key");
    let cover_key = cover_key.to_str().expect("a path");
    let told = [
        "--json",
        "audit",
        "volume",
        &url,
        "--log-key",
        &key,
        "--cover-key",
        cover_key,
    ];
    let (code, text) = entente(&told);
    assert_eq!(code, 0, "{text}");
    let volume: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let other = scratch.path().join("other.key");
    write_secret_key(
        &other,
        &new_secret_key(&SystemEntropy::new()).expect("a key"),
    )
    .expect("written");
    let other = other.to_str().expect("a path");
    let (code, text) = entente(&[
        "--json",
        "audit",
        "volume",
        &url,
        "--log-key",
        &key,
        "--cover-key",
        other,
    ]);
    assert_eq!(code, 0, "{text}");
    let blind: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(blind["cover"], 0);

    // The same from the records themselves, which hold.
    cluster.stop().await.expect("stopped");
    let config = cluster.layout().broker_config();
    let config = config.to_str().expect("a path");
    let (code, text) = entente(&["--json", "audit", "verify", "--config", config]);
    assert_eq!(code, 0, "{text}");
    let audit: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let audit = &audit["audit"];
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert!(
        number(&audit["cover"]) >= number(&volume["cover"]),
        "{audit}"
    );
    // After what was counted there was cover only, up to the end.
    let (records, cover) = (number(&audit["records"]), number(&audit["cover"]));
    assert_eq!(
        records - cover,
        number(&volume["records"]),
        "{audit} {volume}"
    );
    assert!(number(&volume["records"]) > 150);

    // A restart goes on, and the last checkpoint was an interval's.
    cluster.start_broker().await.expect("a broker");
    assert_eq!((records - sizes[0]) % EACH, 0);
    wait_until_signed(&cluster, records + EACH).await;
    let again = broker_status(&cluster).await.witnessed;
    assert_eq!((again - sizes[0]) % EACH, 0);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_pow2_growth_tells_the_magnitude_only() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = covered(&scratch, "pow2").await;
    let key = broker_status(&cluster).await.log_key;
    wait_until_signed(&cluster, 1).await;
    let observer = Observer::watch(&cluster, &key);
    share(&cluster, 21).await;
    let size = broker_status(&cluster).await.size;
    // In silence each interval adds one.
    wait_until_signed(&cluster, size).await;
    let covered = broker_status(&cluster).await.witnessed;
    wait_until_signed(&cluster, covered + 3).await;
    let (sizes, steps) = observer.finish();
    println!("pow2: the log grew by {steps:?}");
    assert!(steps.len() >= 2, "{sizes:?}");
    assert!(steps.iter().all(|step| step.is_power_of_two()), "{steps:?}");
    assert!(steps.iter().any(|step| *step > 1), "{steps:?}");
    cluster.stop().await.expect("stopped");
    let config = cluster.layout().broker_config();
    let (code, text) = entente(&[
        "audit",
        "verify",
        "--config",
        config.to_str().expect("a path"),
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("cover: "), "{text}");
}
