//! Two persons of two partners let a held bulletin go, each at its own node.

use std::path::Path;
use std::process::Command as Shell;
use std::time::Duration;

use entente::bulletin::{BulletinId, Draft};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::identity::write_secret_key;
use entente::partner::PartnerId;
use entente::proof::{SecretKey, Signer};
use entente::testing::{Cluster, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32]).expect("a key")
}

/// Whoever is named lets it go, before too long.
fn plan() -> Plan {
    let parties = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), parties.clone());
    let person = |name: &str, of: &str, seed: u8| {
        let key = key(seed).public_key();
        format!("[persons.{name}]\npartner = \"{of}.example\"\nkey = \"{key}\"\n")
    };
    plan.agreements.push(AgreementPlan {
        name: "sensitive".into(),
        title: String::new(),
        parties,
        clauses: format!(
            "[[clause]]\nid = \"held\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
             [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nhold = {{ persons = [\"anna\", \"bo\", \
             \"carl\"], seconds = 3600 }}\n{}{}{}",
            person("anna", "norland", 1),
            person("bo", "estmark", 2),
            person("carl", "estmark", 3),
        ),
    });
    plan
}

/// What a command says, and whether it succeeds.
fn entente(directory: &Path, node: &str, arguments: &[&str]) -> (bool, String) {
    let config = format!("nodes/{node}.example/node.toml");
    let output = Shell::new(PROGRAM)
        .args(arguments)
        .args(["-c", &config])
        .current_dir(directory)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_person_releases_at_its_own_node() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan(), 8).await;
    let cluster = cluster.expect("a cluster");
    let directory = scratch.path();
    for (name, seed) in [("anna", 1), ("bo", 2), ("eve", 9)] {
        let path = directory.join(format!("{name}.key"));
        write_secret_key(&path, &key(seed)).expect("a file");
    }
    let draft = Draft::from_toml(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"a source speaks\"\n",
    );
    let norland = partner("norland");
    let drafts = vec![draft.expect("a bulletin")];
    let ids = cluster.publish(&norland, drafts).await.expect("taken");
    cluster.promised(&norland, &ids).await.expect("promised");
    let id: BulletinId = ids[0];
    let name = id.to_string();
    // Each is asked at home, and nobody elsewhere.
    for (node, own) in [
        ("norland", "waits for anna,"),
        ("estmark", "waits for bo or carl,"),
    ] {
        let asked = || async {
            let (good, said) = entente(directory, node, &["status"]);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            (good && said.contains(own)).then_some(())
        };
        until(own, PATIENCE, asked).await.expect("asked");
    }
    let release = |node: &str, person: &str, file: &str| {
        let file = format!("{file}.key");
        let arguments = [
            "agreement",
            "release",
            &name,
            "--under",
            "sensitive",
            "--as",
            person,
        ];
        entente(
            directory,
            node,
            &[&arguments[..], &["--key", &file]].concat(),
        )
    };
    let (good, said) = release("estmark", "anna", "anna");
    assert!(!good && said.contains("names no"), "{said}");
    let (good, said) = release("norland", "anna", "eve");
    assert!(!good && said.contains("does not verify"), "{said}");
    let (good, said) = release("norland", "anna", "anna");
    assert!(good, "{said}");
    let view = cluster.decided(id).await.expect("a bulletin");
    assert!(view.recipients[0].held.is_some(), "one is not enough");
    let (good, said) = release("estmark", "bo", "bo");
    assert!(good, "{said}");
    cluster.delivered(id).await.expect("delivered");
    let item = cluster
        .received(&partner("estmark"), id)
        .await
        .expect("an answer");
    assert!(item.expect("a bulletin").quarantined.is_none());
    let gone = || async {
        let (good, said) = entente(directory, "estmark", &["status"]);
        (good && !said.contains("waits for")).then_some(())
    };
    until("nothing waits", PATIENCE, gone).await.expect("done");
    // A party ends the agreement at home, too; nobody else does in its name.
    let withdraw = |node: &str, home: &str| {
        let home = format!("certs/{home}.example");
        let arguments = ["agreement", "withdraw", "sensitive", "--as", &home];
        entente(directory, node, &arguments)
    };
    let (good, said) = withdraw("estmark", "alliance");
    assert!(!good, "{said}");
    let (good, said) = withdraw("estmark", "estmark");
    assert!(good && said.contains("sensitive@1 has ended"), "{said}");
}
