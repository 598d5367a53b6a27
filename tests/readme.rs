//! The README's deployment by hand, run as it stands.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use entente::clock::SystemEntropy;
use entente::deployment::free_ports;
use entente::testing::Scratch;

/// The shell blocks of the README, in order.
fn blocks() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).expect("the README");
    let parts = text.split("```sh\n").skip(1);
    parts
        .map(|part| part.split("```").next().expect("a closed block").to_owned())
        .collect()
}

#[test]
fn the_deployment_by_hand_works_as_it_stands() {
    let blocks = blocks();
    assert!(blocks.len() >= 6, "the README lost its commands");
    let scratch = Scratch::new().expect("a directory");
    // The only thing changed: ports that are free on this machine.
    let (udp, tcp) =
        free_ports(Ipv4Addr::LOCALHOST.into(), &SystemEntropy::default()).expect("ports");
    let script = blocks
        .join("\n")
        .replace("127.0.0.1:7400", &udp.to_string())
        .replace("127.0.0.1:7401", &tcp.to_string());
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
            "`{expected}` is missing from:\n{said}\n{wrong}"
        );
    }
    assert!(
        !said.contains("must not be named"),
        "the source was not withheld:\n{said}"
    );
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
