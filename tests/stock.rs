//! Stock tools read the log, and a foreign witness cosigns it: Go's `sumdb/note` and `sumdb/tlog` (of
//! Debian's packages golang-go and golang-golang-x-mod-dev), `aics-tlog` and `aics-witness` (of `PyPI`, in
//! a virtual environment that this test makes). Where they cannot be had, it says so and skips.

#![allow(clippy::print_stderr, reason = "skips are shown")]

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Shell, Stdio};

use alliance::{PATIENCE, PROGRAM, configure, lonely, partner, plan, prepared, written};
use entente::broker::{self, Reply, Request};
use entente::bulletin::Draft;
use entente::deployment::{Plan, Runner, until};
use entente::testing::{Cluster, Scratch};

/// What is installed into the virtual environment.
const TOOLS: [&str; 2] = ["aics-tlog==0.2.1", "aics-witness==0.1.0"];
/// Where Debian puts the sources of Go packages.
const GO_PACKAGES: &str = "/usr/share/gocode";
/// The foreign witness's name.
const WITNESS: &str = "witness.example/w1";

/// Runs a tool: what it says, or why it failed.
fn run(shell: &mut Shell) -> Result<String, String> {
    let output = shell.output().map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

/// The tools of `PyPI`; `None`, with a word about it, where they cannot be had.
fn python_tools() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock-tools");
    let bin = home.join("bin");
    let made = home.join("made");
    if made.exists() {
        return Some(bin);
    }
    let installed = run(Shell::new("python3").args(["-m", "venv"]).arg(&home)).and_then(|_| {
        // One of them asks for a newer Python than it needs.
        run(Shell::new(bin.join("pip"))
            .args(["install", "--quiet", "--ignore-requires-python"])
            .args(TOOLS))
    });
    match installed {
        Ok(_) => {
            fs::write(made, TOOLS.join("\n")).expect("written");
            Some(bin)
        }
        Err(error) => {
            eprintln!("skipped: no Python tools here: {error}");
            None
        }
    }
}

/// The program in Go; `None`, with a word about it, where it cannot be built.
fn go_program(scratch: &Scratch) -> Option<PathBuf> {
    let packages = Path::new(GO_PACKAGES).join("src/golang.org/x/mod/sumdb");
    if !packages.is_dir() {
        eprintln!("skipped: {} is not there", packages.display());
        return None;
    }
    let program = scratch.path().join("read-log");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock/main.go");
    let mut go = Shell::new("go");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    go.env("GO111MODULE", "off").env("GOPATH", GO_PACKAGES);
    go.env("GOCACHE", cache).env("GOFLAGS", "-mod=mod");
    go.args(["build", "-o"]).arg(&program).arg(source);
    match run(&mut go) {
        Ok(_) => Some(program),
        Err(error) => {
            eprintln!("skipped: Go is not here: {error}");
            None
        }
    }
}

/// A foreign witness in a process of its own.
struct Foreign {
    child: Child,
    vkey: String,
    url: String,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn foreign(bin: &Path, scratch: &Scratch, log: &str) -> Foreign {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address").to_string();
    drop(port);
    let config = scratch.path().join("witness.json");
    let witness = |arguments: &[&str]| {
        let mut shell = Shell::new(bin.join("aics-witness"));
        shell.args(arguments).arg("--config").arg(&config);
        shell
    };
    let made = run(&mut witness(&[
        "init", "--name", WITNESS, "--listen", &address,
    ]));
    let made = made.expect("a witness");
    let vkey = made
        .split_whitespace()
        .find(|word| word.starts_with(WITNESS));
    let vkey = vkey.expect("a verifier key").to_owned();
    let origin = "alliance.example";
    run(&mut witness(&[
        "add-log", "--origin", origin, "--vkey", log,
    ]))
    .expect("a log");
    let child = witness(&["serve"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a witness");
    Foreign {
        child,
        vkey,
        url: format!("http://{address}"),
    }
}

async fn witnessed(cluster: &Cluster, at_least: u64) {
    let seen = until("a witnessed checkpoint", PATIENCE, || async {
        match cluster.ask_broker(&Request::Status).await {
            Ok(Reply::Status(status)) if status.witnessed >= at_least => Some(()),
            _ => None,
        }
    });
    seen.await.expect("the foreign witness cosigns");
}

async fn publish(cluster: &Cluster, count: usize) {
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                \"narrative\"\ntext = \"n\"\n";
    let drafts = (0..count).map(|_| Draft::from_toml(text).expect("a bulletin"));
    let norland = partner("norland");
    let ids = cluster.publish(&norland, drafts.collect()).await;
    let ids = ids.expect("in the outbox");
    cluster.promised(&norland, &ids).await.expect("promised");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_tools_verify_the_log_that_a_foreign_witness_cosigns() {
    let scratch = Scratch::new().expect("a directory");
    let Some(bin) = python_tools() else { return };
    let plan = Plan::new(partner("alliance"), vec![partner("norland")]);
    let runner = Runner::Processes(PROGRAM.into());
    let mut cluster = Cluster::prepare(runner, scratch.path(), plan, 1)
        .await
        .expect("a cluster");
    let go = go_program(&scratch);
    cluster.start_broker().await.expect("a broker");
    let Ok(Reply::Status(status)) = cluster.ask_broker(&Request::Status).await else {
        panic!("no status");
    };
    let log = status.log_key;
    cluster.kill_broker().await.expect("killed");

    let foreign = foreign(&bin, &scratch, &log);
    let policy = format!(
        "witness foreign {} {}\nquorum foreign\n",
        foreign.vkey, foreign.url
    );
    let path = cluster.layout().broker_config();
    let config = fs::read_to_string(&path).expect("a configuration");
    fs::write(path.with_file_name("policy"), policy).expect("written");
    fs::write(&path, format!("{config}\n[witness]\npolicy = \"policy\"\n")).expect("written");
    cluster.start_broker().await.expect("a broker");
    let norland = [partner("norland")];
    cluster.start_nodes(&norland).await.expect("a node");
    publish(&cluster, 40).await;
    witnessed(&cluster, 41).await;

    let config = broker::Config::load(&path).expect("a configuration");
    let url = format!("http://{}", config.http.expect("http").listen);
    let saved = scratch.path().join("saved");
    let tlog = |verb: &str, more: &[&str]| {
        let mut shell = Shell::new(bin.join("aics-tlog"));
        shell.args([verb, "--tiles", &url, "--log-key", &log]);
        shell.args(["--witness-key", &foreign.vkey, "--quorum", "1"]);
        run(shell.args(more))
    };
    let saved = saved.to_str().expect("a path");
    tlog("verify-checkpoint", &["--save-checkpoint", saved]).expect("its checkpoint verifies");
    publish(&cluster, 300).await;
    witnessed(&cluster, 341).await;
    tlog("verify-consistency", &["--old-checkpoint", saved]).expect("it only grew");
    if let Some(go) = go {
        let said = run(Shell::new(go).args([&url, &log])).expect("Go verifies it");
        assert!(said.contains("records verified"), "{said}");
    }
    // Another log's key does not verify it.
    let other = log.replace("alliance.example+", "ostland.example+");
    assert!(
        run(Shell::new(bin.join("aics-tlog")).args([
            "verify-checkpoint",
            "--tiles",
            &url,
            "--log-key",
            &other,
        ]))
        .is_err()
    );
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_tool_counts_the_cosignatures_that_a_node_gives_over_http() {
    let scratch = Scratch::new().expect("a directory");
    let Some(bin) = python_tools() else { return };
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    let Ok(Reply::Status(status)) = cluster.ask_broker(&Request::Status).await else {
        panic!("no status");
    };
    cluster.kill_broker().await.expect("killed");
    let log = status.log_key;
    let url = lonely(&scratch, &mut cluster, &[&log.parse().expect("a key")]).await;
    let witness = alliance::status(&cluster, "ostland").await.witness[0].clone();
    let policy = format!("witness ostland {witness} {url}\nquorum ostland\n");
    let policy = written(&scratch, "policy", &policy);
    let path = cluster.layout().broker_config();
    let line = format!("\n[witness]\npolicy = \"{}\"\n", policy.display());
    configure(&path, "", &line);
    cluster.start_broker().await.expect("a broker");
    cluster
        .start_nodes(&[partner("norland")])
        .await
        .expect("a node");
    publish(&cluster, 40).await;
    witnessed(&cluster, 45).await;
    let config = broker::Config::load(&path).expect("a configuration");
    let tiles = format!("http://{}", config.http.expect("http").listen);
    let verify = |witness: &str| {
        let mut shell = Shell::new(bin.join("aics-tlog"));
        shell.args(["verify-checkpoint", "--tiles", &tiles, "--log-key", &log]);
        run(shell.args(["--witness-key", witness, "--quorum", "1"]))
    };
    verify(&witness).expect("its cosignature counts");
    let another = alliance::status(&cluster, "norland").await.witness[0].clone();
    verify(&another).expect_err("that of another does not");
    cluster.stop().await.expect("stopped");
}
