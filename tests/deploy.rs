//! The examples of a deployment: the configurations can be read, and say of the units' directories what the
//! units make; the units are what systemd takes, and are closed. Where there is no `systemd-analyze`, the test
//! says so and skips that.

#![allow(clippy::print_stderr, reason = "skips are shown")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use entente::testing::Scratch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/deploy")
        .join(name)
}

/// The values of a unit's setting.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let lines = unit.lines();
    lines
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_configurations_fit_the_units() {
    let broker = entente::broker::Config::load(&example("broker.toml")).expect("a configuration");
    let node = entente::node::Config::load(&example("node.toml")).expect("a configuration");
    let files = [
        (
            "entente-broker",
            broker.log_key,
            vec![broker.ledger, broker.head, broker.tls.key],
            broker.control,
        ),
        (
            "entente-node",
            node.signing_key,
            vec![node.store, node.tls.key, node.pseudonyms.expect("kept")],
            node.control,
        ),
    ];
    for (name, secret, durable, control) in files {
        let unit = fs::read_to_string(example(&format!("{name}.service"))).expect("a unit");
        assert_eq!(setting(&unit, "User"), [name]);
        assert_eq!(setting(&unit, "StateDirectory"), [name]);
        assert_eq!(setting(&unit, "RuntimeDirectory"), [name]);
        for path in durable {
            assert!(
                path.starts_with(Path::new("/var/lib").join(name)),
                "{}",
                path.display()
            );
        }
        let run = Path::new("/run").join(name);
        assert!(control.starts_with(&run));
        // The credential is copied to where the configuration has it.
        let file = secret
            .file_name()
            .and_then(|file| file.to_str())
            .expect("a file");
        assert_eq!(secret, run.join(file));
        let copy = format!("/usr/bin/install -m 0400 %d/{file} %t/{name}/{file}");
        assert_eq!(setting(&unit, "ExecStartPre"), [copy]);
        let credential = setting(&unit, "LoadCredential");
        assert!(credential[0].starts_with(&format!("{file}:")));
        let users = fs::read_to_string(example("entente.sysusers.conf")).expect("users");
        assert!(users.contains(&format!("u {name} ")));
    }
}

#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return eprintln!("skipped: there is no systemd-analyze");
    }
    let scratch = Scratch::new().expect("a directory");
    for name in ["entente-broker.service", "entente-node.service"] {
        let unit = fs::read_to_string(example(name)).expect("a unit");
        let path = scratch.path().join(name);
        // It looks whether the program is there.
        fs::write(&path, unit.replace("/usr/local/bin/entente", PROGRAM)).expect("written");
        let analyze = |arguments: &[&str]| {
            let output = Command::new("systemd-analyze")
                .args(arguments)
                .arg(&path)
                .output();
            let output = output.expect("it ran");
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8_lossy(&text).into_owned(),
            )
        };
        let (taken, said) = analyze(&["verify", "--man=no"]);
        assert!(taken && !said.contains(name), "{said}");
        // An exposure of 2.0 of 10 at most.
        let (closed, said) =
            analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]);
        assert!(closed, "{said}");
    }
}
