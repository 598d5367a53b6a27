//! Deployments by hand, of the README and of the page about federation, run as they stand.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use entente::clock::SystemEntropy;
use entente::deployment::free_ports;
use entente::testing::Scratch;

/// The shell blocks of a page, in order.
fn blocks(page: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(page).expect("the page");
    let parts = text.split("```sh\n").skip(1);
    parts
        .map(|part| part.split("```").next().expect("a closed block").to_owned())
        .collect()
}

#[test]
fn the_deployment_by_hand_works_as_it_stands() {
    let blocks = blocks("README.md");
    assert!(blocks.len() >= 6, "the README lost its commands");
    // The only thing changed: ports that are free on this machine.
    let (udp, tcp) =
        free_ports(Ipv4Addr::LOCALHOST.into(), &SystemEntropy::default()).expect("ports");
    let script = blocks
        .join("\n")
        .replace("127.0.0.1:7400", &udp.to_string())
        .replace("127.0.0.1:7401", &tcp.to_string());
    let said = run(&script);
    for expected in [
        "sharing@1 is in force",
        "update.grid-portal.example",
        "withheld; its hash is",
        "audit: 6 records verified",
        "everything is as the agreements say",
        "exercise@1",
    ] {
        assert!(
            said.contains(expected),
            "`{expected}` is missing from:\n{said}"
        );
    }
    assert!(
        !said.contains("must not be named"),
        "the source was not withheld:\n{said}"
    );
}

#[test]
fn two_frameworks_are_joined_by_hand_as_it_stands() {
    let blocks = blocks("docs/federation.md");
    assert!(blocks.len() >= 6, "the page lost its commands");
    let (one, other) =
        free_ports(Ipv4Addr::LOCALHOST.into(), &SystemEntropy::default()).expect("ports");
    // Ports that are free on this machine, which need not follow each other.
    let script = blocks
        .join("\n")
        .replace("port=7500", &format!("port={}", one.port()))
        .replace("port=$((port + 1))", &format!("port={}", other.port()))
        .replace("127.0.0.1:7500", &one.to_string())
        .replace("127.0.0.1:7501", &other.to_string());
    let said = run(&script);
    for expected in [
        "may be carried into ledger",
        "yes: norland.example -> carrier.example",
        "update.grid-portal.example",
        "from norland.example, by way of alliance.example",
        "verified: norland.example signed it",
        "which norland.example signed",
        "the log `alliance.example` accepted the original",
    ] {
        assert!(
            said.contains(expected),
            "`{expected}` is missing from:\n{said}"
        );
    }
    assert!(
        !said.contains("must not be named"),
        "the source was not withheld:\n{said}"
    );
}

/// Runs a script in a directory of its own; what it says.
fn run(script: &str) -> String {
    let scratch = Scratch::new().expect("a directory");
    let bin = Path::new(env!("CARGO_BIN_EXE_entente"))
        .parent()
        .expect("a directory");
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args([
            "-euo",
            "pipefail",
            "-c",
            &format!("trap 'kill $(jobs -p)' EXIT\n{script}"),
        ])
        .current_dir(scratch.path())
        .env("PATH", path)
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    said.into_owned()
}

#[test]
fn every_key_of_the_configurations_is_described() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    for file in ["src/broker/config.rs", "src/node/config.rs"] {
        let source = fs::read_to_string(root.join(file)).expect("a source");
        for line in source
            .lines()
            .filter_map(|line| line.strip_prefix("    pub "))
        {
            // Fields only; tables are described by their keys.
            let Some((name, kind)) = line.split_once(": ") else {
                continue;
            };
            if kind.contains("Config") || name.starts_with("fn ") {
                continue;
            }
            let described =
                readme.contains(&format!("`{name}`")) || readme.contains(&format!(".{name}`"));
            assert!(described, "{file}: `{name}` is not in the README");
        }
    }
}
