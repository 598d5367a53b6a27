//! What is exported, judged by independent tools from the Python registry: the OASIS validator and library, `PyMISP`,
//! and MISP's converter. Without Python, the registry or the corpus these tests say that they skip.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/python.rs"]
mod python;
#[path = "support/disclosed.rs"]
mod support;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use corpus::{files, misp_events};
use entente::bulletin::{Draft, Precedence, Tlp};
use entente::formats::{Disclosed, misp, stix};
use entente::testing::Scratch;
use serde_json::{Value, json};
use support::disclosed;

const PACKAGES: [&str; 5] = [
    "setuptools>=83",
    "stix2==3.0.2",
    "stix2-validator==3.3.2",
    "pymisp==2.5.34.4",
    "misp-stix==2026.10.12",
];

/// One bulletin with every type of part.
const EVERYTHING: &str = r#"
kinds = ["cyber", "counterterrorism"]
topics = ["cyber/malware"]
regions = ["EE", "EE-37"]
tlp = "TLP:AMBER+STRICT"
classification = { policy = "NATO", level = "RESTRICTED" }
releasable_to = ["estmark.example"]
caveats = ["ORCON"]
precedence = "FLASH"
exercise = true
reliability = "B"
credibility = 2
part = [
    { type = "ip", value = "198.51.100.7", tlp = "TLP:RED", context = { first_seen = "2026-11-01T00:00:00Z", last_seen = "2026-11-02T00:00:00Z", confidence = 80, comment = "beacons" } },
    { type = "ip", value = "2001:db8::7" },
    { type = "ip-range", value = "203.0.113.0/24", context = { first_seen = "2026-11-01T00:00:00.123456Z" } },
    { type = "domain", value = "c2.example" },
    { type = "url", value = "https://c2.example/it's?a=\\b" },
    { type = "email", value = "a@c2.example" },
    { type = "as-number", value = "64496", context = { last_seen = "2026-11-02T00:00:00Z" } },
    { type = "file", name = "it's.exe", size = 7, md5 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", context = { first_seen = "2026-11-01T00:00:00Z" } },
    { type = "file", name = "b.exe", sha1 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    { type = "certificate", sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", subject = "CN=a", serial = "01", context = { first_seen = "2026-11-01T00:00:00Z" } },
    { type = "tls-fingerprint", method = "ja3", value = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    { type = "tls-fingerprint", method = "ja4", value = "t13d" },
    { type = "vulnerability", id = "CVE-2026-12345", description = "a flaw" },
    { type = "vulnerability", id = "GHSA-qgfm-rj92-x3f3" },
    { type = "detection-rule", language = "sigma", rule = "title: x" },
    { type = "detection-rule", language = "yara", rule = "rule a { condition: true }" },
    { type = "detection-rule", language = "stix", rule = "[process:name = 'a'] REPEATS 2 TIMES" },
    { type = "detection-rule", language = "stix", rule = "no pattern" },
    { type = "detection-rule", language = "kql", rule = "a | b" },
    { type = "detection-rule", language = "other", rule = "anything" },
    { type = "warning", text = "A lorry.", from = "2026-11-24T00:00:00Z", region = "EE-37", place = "market", latitude = 59.4, longitude = 24.7, method = "lorry", target = "crowd" },
    { type = "person", name = "Jo Doe", aliases = ["J"], born = "1979-02", nationalities = ["EE"], description = "tall" },
    { type = "document", kind = "passport", number = "X1" },
    { type = "telephone", number = "+37255512345" },
    { type = "bank-account", iban = "EE382200221020145685" },
    { type = "vehicle", kind = "road", registration = "123 ABC" },
    { type = "narrative", title = "What happened", text = "This.", language = "en" },
    { type = "source", description = "a friend" },
    { type = "action", text = "Block it." },
    { type = "sighting", of = "c2.example", count = 3, last = "2026-11-02T00:00:00Z", place = "a utility" },
    { type = "sighting", of = "203.0.113.9", count = 2, first = "2026-11-02T00:00:00Z" },
    { type = "sighting", of = "0190163d-8694-739b-aea5-966c26f8ad91", count = 1 },
    { type = "attachment", name = "a.pdf", media_type = "application/pdf", data = "AAAA" },
]
"#;

fn bundle(objects: &[stix::Object]) -> String {
    let objects: Vec<&str> = objects.iter().map(|one| one.json.as_str()).collect();
    let id = "00000000-0000-4000-8000-000000000000";
    let objects = objects.join(",");
    format!("{{\"type\":\"bundle\",\"id\":\"bundle--{id}\",\"objects\":[{objects}]}}")
}

/// What is published of the corpus's MISP events.
fn from_misp() -> Vec<Disclosed> {
    let labels = misp::Labels {
        kinds: vec!["cyber".parse().expect("a kind")],
        topics: vec!["cyber".parse().expect("a topic")],
        regions: Vec::new(),
        tlp: Tlp::Green,
        precedence: Precedence::Routine,
        releasable_to: Vec::new(),
        exercise: false,
    };
    let mut all = Vec::new();
    for (_, event) in misp_events() {
        let event = misp::read_event(event.to_string().as_bytes()).ok();
        let made = event.and_then(|event| misp::drafts(&event, &labels, &[]).ok());
        for draft in made.into_iter().flat_map(|made| made.drafts) {
            let number = u8::try_from(all.len() % 256).expect("a byte");
            all.push(disclosed(draft, number));
        }
    }
    all
}

/// The reports, identities and markings that are written around STIX objects of the corpus, which are
/// not ours to judge.
fn around_stix() -> Vec<stix::Object> {
    let labels = stix::Labels {
        kinds: vec!["cyber".parse().expect("a kind")],
        topics: vec!["cyber".parse().expect("a topic")],
        regions: Vec::new(),
        tlp: Tlp::Amber,
        precedence: Precedence::Routine,
        releasable_to: Vec::new(),
        exercise: false,
    };
    let (mut ours, mut seen) = (Vec::new(), HashSet::new());
    for set in [
        "stix21/attack-ics-18.1-and-17.1",
        "stix21/mvt-spyware-indicators",
        "stix21/oasis-documentation-examples",
        "stix21/oasis-elevator-idioms-2.1-valid",
        "stix21/oca-iob-behaviour-bundles",
    ] {
        for (_, bytes) in files(set) {
            let Ok(read) = stix::read_bundle(&bytes) else {
                continue;
            };
            let theirs: HashSet<String> = read.objects.iter().map(|one| one.json.clone()).collect();
            for (number, draft) in (0..).zip(stix::drafts(read, &labels)) {
                let objects = stix::export::objects(&disclosed(draft, number));
                ours.extend(
                    objects
                        .into_iter()
                        .filter(|one| !theirs.contains(&one.json) && seen.insert(one.id.clone())),
                );
            }
        }
    }
    ours
}

fn write(directory: &Path) {
    let bundles = directory.join("bundles");
    let feeds = directory.join("feed");
    fs::create_dir_all(&bundles).expect("a directory");
    fs::create_dir_all(&feeds).expect("a directory");
    let everything = Draft::from_toml(EVERYTHING).expect("a draft");
    let mut all = vec![disclosed(everything, 255)];
    all.extend(from_misp());
    for (number, bulletin) in all.iter().enumerate() {
        let objects = stix::export::objects(bulletin);
        let path = bundles.join(format!("{number:03}.json"));
        fs::write(path, bundle(&objects)).expect("a bundle");
    }
    // STIX 2.0 that was upgraded.
    for (number, (_, bytes)) in files("stix2/unit42-playbooks").iter().take(3).enumerate() {
        let Ok(mut read) = stix::read_any_bundle(bytes) else {
            continue;
        };
        read.objects.truncate(400);
        let path = bundles.join(format!("upgraded-{number}.json"));
        fs::write(path, bundle(&read.objects)).expect("a bundle");
    }
    let around = around_stix();
    if !around.is_empty() {
        fs::write(bundles.join("around.json"), bundle(&around)).expect("a bundle");
    }
    let feed = misp::feed(&all);
    let mut manifest: Value = serde_json::from_str(&feed.manifest).expect("JSON");
    // And what stands in the place of an event that is there no more.
    let everything = Draft::from_toml(EVERYTHING).expect("a draft");
    let event = misp::feed_event(&disclosed(everything, 254)).expect("an event");
    let now = "2026-11-26T00:00:00Z".parse().expect("a time");
    let empty = misp::tombstone(&event.event, now).expect("an event");
    assert_eq!(empty.uuid, event.uuid);
    manifest[&empty.uuid] = serde_json::from_str(&empty.manifest).expect("JSON");
    let path = feeds.join(format!("{}.json", empty.uuid));
    fs::write(path, empty.event).expect("an event");
    fs::write(feeds.join("manifest.json"), manifest.to_string()).expect("a manifest");
    fs::write(feeds.join("hashes.csv"), feed.hashes).expect("hashes");
    for (uuid, event) in feed.events {
        fs::write(feeds.join(format!("{uuid}.json")), event).expect("an event");
    }
}

#[test]
fn independent_tools_take_what_is_exported() {
    let Some(python) = python::python("formats", &PACKAGES) else {
        return;
    };
    let scratch = Scratch::new().expect("a directory");
    write(scratch.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/oracles.py");
    let output = Command::new(python)
        .arg(script)
        .arg(scratch.path())
        .output()
        .expect("Python");
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{trouble}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    println!(
        "{} objects, {} bundles converted to MISP, {} events of the feed",
        told["objects"], told["converted"], told["events"]
    );
    assert_eq!(told["emptied"], 1, "an event without contents");
    for tool in ["validator", "stix2", "misp_stix", "pymisp"] {
        assert_eq!(told[tool], json!({}), "{tool} finds fault");
    }
}
