//! The examples of a deployment: the configurations can be read, and say of the units' directories what the
//! units make; the units are what systemd takes, and are closed. Where there is no `systemd-analyze`, the test
//! says so and skips that.

#![allow(clippy::print_stderr, reason = "skips are shown")]

#[path = "support/nats.rs"]
mod nats;
#[path = "support/python.rs"]
mod python;

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

/// The instructions of a container file, continued lines joined: each with what follows it.
fn instructions(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(' ').expect("an instruction");
            (name.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

/// No image is built here: nothing may be missing for it, and what it runs has to be what the program takes.
#[test]
fn the_container_file_fits_the_project_and_the_program() {
    let text = fs::read_to_string(example("Containerfile")).expect("a container file");
    let all = instructions(&text);
    let of = |name: &str| -> Vec<&str> {
        let found = all.iter().filter(|(one, _)| one == name);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "VOLUME",
        "EXPOSE",
        "ENTRYPOINT",
        "CMD",
    ];
    assert!(
        all.iter().all(|(name, _)| known.contains(&name.as_str())),
        "{all:?}"
    );
    assert_eq!(all[0].0, "FROM");

    // Built with the compiler that the project asks for, and what the lock names.
    let manifest = include_str!("../Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.expect("a version").trim_matches('"');
    let [build, image] = of("FROM")[..] else {
        panic!("two stages: {all:?}");
    };
    assert!(
        build.contains(&format!("rust:{version}")) && build.ends_with("AS build"),
        "{build}"
    );
    assert!(image.ends_with(":nonroot"), "no root: {image}");
    let run = of("RUN").concat();
    for word in ["cargo build", "--profile dist", "--locked", "--bin entente"] {
        assert!(run.contains(word), "{word}: {run}");
    }
    // What is copied out of the first stage was made in it.
    for copied in of("COPY")
        .iter()
        .filter(|copied| copied.contains("--from="))
    {
        let words: Vec<&str> = copied
            .split(' ')
            .filter(|word| !word.starts_with("--"))
            .collect();
        let [from, _] = words[..] else {
            panic!("from and to: {copied}");
        };
        assert!(copied.contains("--from=build"), "{copied}");
        let made = from == "/src/target/dist/entente" || run.contains(&format!("mkdir {from}"));
        assert!(made, "{copied}");
    }
    assert!(of("COPY").contains(&". ."));
    let words = |name: &str| -> Vec<String> {
        let all = of(name);
        serde_json::from_str(all[0]).expect("a list in JSON")
    };
    assert_eq!(words("ENTRYPOINT"), ["/usr/local/bin/entente"]);
    // The program takes it: it misses the configuration, and nothing else.
    let output = Command::new(PROGRAM)
        .args(words("CMD"))
        .output()
        .expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/etc/entente/broker.toml"), "{said}");
    let broker = entente::broker::Config::load(&example("broker.toml")).expect("a configuration");
    let port = broker.listen.port();
    assert_eq!(of("EXPOSE"), [format!("{port}/udp")]);

    // What the build needs is let in; what is built here, and what is secret, is not.
    let ignored = fs::read_to_string(example("Containerfile.containerignore")).expect("a list");
    let ignored: Vec<&str> = ignored
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for kept in ["src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"] {
        assert!(!ignored.contains(&kept), "{kept}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(kept).exists());
    }
    assert!(
        ignored
            .iter()
            .any(|line| line.trim_matches('/') == "target"),
        "{ignored:?}"
    );
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

#[test]
fn three_brokers_are_one_log_and_no_two_are_alike() {
    let all = (0..3).map(|number| {
        let file = deploy(&format!("config/broker-{number}.toml"));
        entente::broker::Config::load(&file).expect("a configuration")
    });
    let all: Vec<_> = all.collect();
    let compose = fs::read_to_string(deploy("compose.yaml")).expect("a file");
    let brokers = fs::read_to_string(deploy("kubernetes/brokers.yaml")).expect("a file");
    let kustomization = fs::read_to_string(deploy("kustomization.yaml")).expect("a file");
    let mut ids = std::collections::BTreeSet::new();
    for (number, broker) in all.iter().enumerate() {
        assert!(ids.insert(broker.spiffe_id.to_string()));
        assert_eq!(broker.ledger, all[0].ledger);
        assert_eq!(broker.log_key, all[0].log_key);
        assert_eq!(broker.stream.name, all[0].stream.name);
        assert_eq!(
            (broker.stream.replicas, broker.stream.monitors.len()),
            (3, 3)
        );
        for path in [&broker.head, &broker.control, &broker.stream.cache] {
            assert!(path.starts_with("/var/lib/entente"), "{}", path.display());
        }
        let mounted =
            format!("./config/broker-{number}.toml:/etc/entente/config/broker-{number}.toml:ro");
        assert!(compose.contains(&mounted), "{mounted}");
        assert!(kustomization.contains(&format!("config/broker-{number}.toml")));
        for server in 0..3 {
            let name = format!("nats-{server}.nats");
            assert!(broker.ledger.to_string_lossy().contains(&name));
            assert!(
                compose.contains(&format!("aliases: [\"{name}\"]")),
                "{name}"
            );
        }
    }
    assert!(brokers.contains("/etc/entente/config/broker-$(NUMBER).toml"));
}

#[test]
fn the_server_takes_its_configuration() {
    let Some(program) = nats::nats_server() else {
        return;
    };
    let scratch = Scratch::new().expect("a directory");
    let text = fs::read_to_string(deploy("config/nats.conf")).expect("a configuration");
    assert!(text.contains("sync_interval: always"));
    // The keys are where the containers have them; here they are made.
    let tls = scratch.path().join("tls");
    fs::create_dir_all(&tls).expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["nats-0.nats".to_owned()];
    let params = rcgen::CertificateParams::new(names).expect("names");
    let certificate = params.self_signed(&key).expect("a certificate");
    for (name, pem) in [
        ("ca.pem", certificate.pem()),
        ("nats.pem", certificate.pem()),
        ("nats.key", key.serialize_pem()),
    ] {
        fs::write(tls.join(name), pem).expect("written");
    }
    let here = text.replace("/etc/nats/tls", &tls.display().to_string());
    let file = scratch.path().join("nats.conf");
    fs::write(&file, here).expect("written");
    let output = Command::new(program)
        .env("NATS_NAME", "nats-0")
        .arg("-t")
        .arg("--config")
        .arg(&file)
        .output()
        .expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}
