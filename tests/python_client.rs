//! A client in Python, written from `proto/` and `docs/protocol.md` alone, at a real broker: it publishes what
//! our node verifies, and receives, verifies and acknowledges what our node publishes. Where Python or the
//! registry cannot be reached, the test says so and skips.

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command as Shell;

use alliance::{PATIENCE, entente, partner, plan, prepared, publish, start, written};
use entente::broker::Config;
use entente::bulletin::BulletinId;
use entente::deployment::{Layout, until};
use entente::node::{Command, Response};
use entente::testing::{Cluster, Scratch};
use python::{python, run, script};
use serde_json::{Value, json};

/// What is installed into the virtual environment.
const REQUIREMENTS: &str = include_str!("../examples/python/requirements.txt");

/// A bulletin in protobuf's JSON.
const BULLETIN: &str = r#"{
  "header": {"kinds": ["KIND_CYBER"], "topics": ["cyber/malware"], "tlp": "TLP_GREEN", "precedence": "PRECEDENCE_FLASH"},
  "parts": [
    {"domain": {"value": "update.grid-portal.example", "context": {"confidence": 80}}},
    {"narrative": {"text": "Implants report to this domain."}},
    {"source": {"description": "Forensics at a utility."}}
  ]
}"#;

/// The client in Python, as Estmark's node.
struct Client<'a> {
    python: &'a Path,
    config: PathBuf,
}

impl Client<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut shell = Shell::new(self.python);
        shell.arg(script("examples/python/entente_client.py"));
        shell.arg("--config").arg(&self.config).args(arguments);
        run(&mut shell)
    }

    fn says(&self, arguments: &[&str]) -> Value {
        let said = self
            .run(arguments)
            .unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

/// The client's configuration, with another SPIFFE ID of the broker than the true one where one is given.
fn config(scratch: &Scratch, cluster: &Cluster, broker_id: Option<&str>) -> PathBuf {
    let layout = cluster.layout();
    let home = layout.home(&partner("estmark"));
    let leaf = home.leaf(&Layout::node_id(&partner("estmark")).expect("an id"));
    let broker = Config::load(&layout.broker_config()).expect("a configuration");
    let broker_id = broker_id.map_or_else(|| broker.spiffe_id.to_string(), str::to_owned);
    let text = json!({
        "broker": broker.listen.to_string(),
        "broker_id": broker_id,
        "broker_roots": layout.home(&partner("alliance")).roots(),
        "certificate": leaf.certificate,
        "key": leaf.key,
        "signing_key": home.signing_key(),
        "key_set": home.key_set_path(),
        "state": "python-state",
    });
    let name = format!("client-{}.json", broker_id.len());
    written(scratch, &name, &text.to_string())
}

async fn acknowledged(cluster: &Cluster, id: BulletinId) {
    let look = || async {
        let asked = Command::Follow { id };
        let Ok(Response::Followed(all)) = cluster.ask_node(&partner("norland"), &asked).await
        else {
            return None;
        };
        let estmark = all
            .iter()
            .find(|one| one.recipient == Some(partner("estmark")))?;
        (estmark.state == "acknowledged").then_some(())
    };
    let seen = until("an acknowledgement", PATIENCE, look).await;
    seen.expect("acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_speaks_the_protocol() {
    let packages: Vec<&str> = REQUIREMENTS.lines().collect();
    let Some(python) = python("python-client", &packages) else {
        return;
    };
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland"]).await;
    let client = Client {
        python: &python,
        config: config(&scratch, &cluster, None),
    };

    // Python publishes, our node receives and verifies.
    let file = written(&scratch, "bulletin.json", BULLETIN);
    let said = client.says(&["publish", file.to_str().expect("a path")]);
    let id: BulletinId = said["bulletin"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let look = || async { cluster.received(&partner("norland"), id).await.ok()? };
    let item = until("the bulletin at Norland", PATIENCE, look).await;
    let item = serde_json::to_value(item.expect("received")).expect("JSON");
    assert_eq!(item["quarantined"], Value::Null, "{item}");
    assert_eq!(item["position"], said["position"]);
    assert_eq!(item["header"]["originator"], "estmark.example");
    let text = item["parts"].to_string();
    assert!(text.contains("update.grid-portal.example") && text.contains("report to this domain"));
    assert!(
        !text.contains("Forensics"),
        "the agreement withholds sources"
    );

    // Our node publishes; Python receives, verifies, acknowledges, and goes on where it was.
    for text in ["the first", "the second"] {
        let id = publish(&cluster, "norland", text).await;
        let shown = client.says(&["receive", "--max", "1"]);
        assert_eq!(shown["bulletin"], id.to_string(), "{shown}");
        assert_eq!(shown["originator"], "norland.example");
        assert_eq!(shown["parts"], json!([{"narrative": {"text": text}}]));
        assert_eq!(
            shown["withheld"].as_array().map(Vec::len),
            Some(1),
            "the source"
        );
        assert_eq!(shown["clauses"], json!(["cyber@1/feed"]));
        acknowledged(&cluster, id).await;
    }
    refuses(&scratch, &cluster, &client);

    cluster.stop().await.expect("a clean end");
    let broker = cluster.layout().broker_config();
    let broker = broker.to_str().expect("a path");
    let (code, said) = entente(&["audit", "verify", "--config", broker]);
    assert_eq!(code, 0, "{said}");
}

/// What it must not believe, and what it is refused.
fn refuses(scratch: &Scratch, cluster: &Cluster, client: &Client<'_>) {
    let other = Client {
        python: client.python,
        config: config(
            scratch,
            cluster,
            Some("spiffe://alliance.example/broker/other"),
        ),
    };
    let error = other.run(&["receive"]).expect_err("another broker");
    assert!(
        error.contains("the certificate of somebody else"),
        "{error}"
    );

    let file = written(
        scratch,
        "odd.json",
        &BULLETIN.replace("cyber/malware", "cyber/magic"),
    );
    let error = client.run(&["publish", file.to_str().expect("a path")]);
    let error = error.expect_err("no topic of the taxonomy");
    assert!(error.contains("(invalid_field)"), "{error}");

    // Every byte of a delivery counts.
    let mut tamper = Shell::new(client.python);
    tamper.arg(script("tests/python_client/tamper.py"));
    tamper.arg(script("proto"));
    tamper.arg(scratch.path().join("python-state/1-1.delivery"));
    tamper.arg(cluster.layout().home(&partner("norland")).key_set_path());
    let said = run(&mut tamper).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.starts_with("noticed "), "{said}");
}
