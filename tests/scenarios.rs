//! The partnerships of the field, each played with real processes by the demo: what the files in
//! `scenarios/` promise is what happens.

#![allow(clippy::print_stdout, reason = "figures are shown")]

#[path = "support/corpus.rs"]
mod corpus;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");

fn demo(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(PROGRAM)
        .arg("demo")
        .args(arguments)
        .output()
        .expect("the program");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn every_scenario_goes_as_its_file_says() {
    let (listed, names, _) = demo(&["--list-scenarios", "--json"]);
    assert!(listed);
    let names: Vec<(String, String)> = serde_json::from_str(&names).expect("JSON");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|file| file.expect("a file").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    let listed: BTreeSet<String> = names.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(listed, files, "every file is a scenario of the demo");
    let mut broken = Vec::new();
    for name in &files {
        let (good, said, wrong) = demo(&["--scenario", name, "--json"]);
        if !good {
            broken.push(format!("{name}: {wrong}"));
            continue;
        }
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["audit"]["verified"], true, "{name}");
        assert!(
            said["bulletins"].as_array().expect("bulletins").len() >= 2,
            "{name}"
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_scenario_that_is_not_there_is_refused_with_those_that_are() {
    let (good, _, wrong) = demo(&["--scenario", "utopia"]);
    assert!(!good && wrong.contains("collective-defence"), "{wrong}");
}

/// The step of the scenario that a file of the disclosure pairs is like, by its name.
fn row(file: &str) -> Option<String> {
    let name = Path::new(file).file_stem()?.to_str()?;
    let consent = name.split_once("consent_")?.1;
    let everyone = consent.starts_with("everyone");
    if !file.contains("nonfed_submission/") {
        let handling = ["FOUO", "PUBREL"]
            .into_iter()
            .find(|one| name.contains(one))?;
        let rule = if consent.contains("_deny") {
            "deny"
        } else {
            "permit"
        };
        let all = format!("federal, everyone, {rule}, {handling}");
        return Some(if everyone {
            all
        } else {
            format!("federal, usg or none, {handling}")
        });
    }
    let tlp = ["White", "Green", "Amber"]
        .into_iter()
        .find(|one| name.contains(&format!("TLP_{one}")))?;
    let consent = if everyone { "everyone" } else { "usg or none" };
    Some(format!("company, {consent}, TLP {tlp}"))
}

/// How a bundle of the feed to the community shows its originator, and its marking.
fn disclosed(bundle: &Value) -> (String, String) {
    let objects = bundle.as_array().or_else(|| bundle["objects"].as_array());
    let objects = objects.expect("objects");
    let content = objects
        .iter()
        .filter(|one| one["type"] != "identity" && one["type"] != "marking-definition");
    let (mut creators, mut markings) = (BTreeSet::new(), BTreeSet::new());
    for one in content {
        creators.extend(one["created_by_ref"].as_str());
        markings.extend(
            one["object_marking_refs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str),
        );
    }
    let mut names = objects
        .iter()
        .filter(|one| one["id"].as_str().is_some_and(|id| creators.contains(id)))
        .filter_map(|one| one["name"].as_str());
    let name = names.next().expect("an originator");
    assert!(
        names.next().is_none() && markings.len() == 1,
        "more than one originator or marking"
    );
    // Three capitalised words without a space are an alias, as the reference says.
    let words = name.chars().filter(|one| one.is_uppercase()).count();
    let shown = match name {
        "USA.USG" => "framework",
        alias if words == 3 && alias.chars().all(|one| one.is_ascii_alphabetic()) => "alias",
        _ => "named",
    };
    let tlp = match *markings.first().expect("a marking") {
        "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9" => "TLP:CLEAR",
        "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da" => "TLP:GREEN",
        "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82" => "TLP:AMBER",
        other => other,
    };
    (shown.to_owned(), tlp.to_owned())
}

#[test]
fn the_community_sees_of_a_submitter_what_the_pairs_of_the_programme_show() {
    let files = corpus::files("policy/cisa-ais-feed-pairs-sample");
    if files.is_empty() {
        return;
    }
    let (good, said, wrong) = demo(&["--scenario", "ais", "--json"]);
    assert!(good, "{wrong}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let mut received: BTreeMap<String, (String, String)> = BTreeMap::new();
    for bulletin in said["bulletins"].as_array().expect("bulletins") {
        let says = bulletin["says"].as_str().expect("a title").to_owned();
        let recipients = bulletin["recipients"].as_array().expect("recipients");
        for one in recipients {
            let text = |key: &str| one[key].as_str().expect("a text").to_owned();
            match text("partner").as_str() {
                "cert.example" => assert_eq!(one["originator"], "named", "{says}"),
                _ => drop(received.insert(says.clone(), (text("originator"), text("tlp")))),
            }
        }
    }
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (mut pairs, mut rows) = (0, BTreeSet::new());
    for (name, bytes) in files
        .iter()
        .filter(|(name, _)| name.contains("/nonfed_feed/"))
    {
        if !names.contains(name.replace("/nonfed_feed/", "/fed_feed/").as_str()) {
            continue;
        }
        let row = row(name).unwrap_or_else(|| panic!("{name}: no such row"));
        let bundle = serde_json::from_slice(bytes).expect("JSON");
        let ours = received
            .get(&row)
            .unwrap_or_else(|| panic!("{row}: nothing was received"));
        assert_eq!(*ours, disclosed(&bundle), "{row}: {name}");
        pairs += 1;
        rows.insert(row);
    }
    println!("{pairs} pairs of {} kinds agree", rows.len());
    assert!(pairs >= 400 && rows.len() == received.len());
}
