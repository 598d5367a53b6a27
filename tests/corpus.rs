//! Real input that nobody here wrote: STIX bundles, JSON of all sorts, Merkle proofs. The corpus
//! lies beside the project; where it is not, these tests say that they skip.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;

use std::fs;
use std::path::Path;
use std::process::Command;

use corpus::{corpus, files};
use data_encoding::BASE64;
use entente::formats::stix::{self, BundleError};
use entente::proof::{Digest, merkle};
use entente::testing::Scratch;
use serde_json::Value;

fn is_stix(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("json" | "stix2"))
}

/// The sets of STIX 2.1, with how many objects each is known to break a MUST with.
const SETS: [(&str, usize); 12] = [
    ("stix21/attack-ics-18.1-and-17.1", 0),
    ("stix21/disarm-influence-operations", 0),
    ("stix21/mvt-spyware-indicators", 0),
    ("stix21/oasis-documentation-examples", 0),
    // Relationships without a target, ids with colons or of no version of UUIDs, a report without a name,
    // a property with hyphens.
    ("stix21/oasis-elevator-idioms-2.1-valid", 79),
    ("stix21/oasis-json-schemas-examples", 0),
    ("stix21/oasis-marking-extensions-acs-iep-cui", 0),
    // Ids that are no UUIDs, empty references, a version 2.1 written otherwise.
    ("stix21/oca-iob-behaviour-bundles", 25),
    ("stix21/opencti-geo-sectors", 0),
    ("stix21/stix4doge-markings-identities", 0),
    // Registry keys with abbreviated hives, URLs without a scheme: the OASIS validator refuses them, too.
    ("misp/eset-as-stix21-by-misp-stix", 60),
    // STIX 2.0 beside 2.1, and MISP's own format.
    ("misp/misp-stix-event-pairs", 51),
];

#[test]
fn every_object_is_kept_byte_for_byte_or_refused_by_name() {
    let mut total = 0;
    for (set, expected) in SETS {
        let (mut objects, mut refused) = (0, 0);
        for (name, bytes) in files(set).iter().filter(|(name, _)| is_stix(name)) {
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            let bundle = match stix::read_bundle(bytes) {
                Ok(bundle) => bundle,
                Err(BundleError::NoBundle(_)) if set == "misp/misp-stix-event-pairs" => continue,
                Err(error) => panic!("{name}: {error}"),
            };
            let mut from = 0;
            for object in &bundle.objects {
                let at = text[from..].find(&object.json);
                from += at.unwrap_or_else(|| panic!("{name}: {} was changed", object.id));
            }
            for one in &bundle.refused {
                assert!(
                    !one.reason.is_empty() && !one.property.is_empty(),
                    "{name}: {one}"
                );
            }
            objects += bundle.objects.len();
            refused += bundle.refused.len();
        }
        println!("{set}: {objects} objects, {refused} refused");
        if corpus().is_some() {
            assert_eq!(refused, expected, "{set}");
        }
        total += objects;
    }
    println!("{total} objects");
}

#[test]
fn stix_2_0_is_refused_by_name() {
    for set in ["negative/stix20-mitre-cti-sample", "stix2/unit42-playbooks"] {
        for (name, bytes) in files(set).iter().filter(|(name, _)| is_stix(name)) {
            let bundle = stix::read_bundle(bytes).expect("a bundle");
            assert!(
                bundle.objects.is_empty(),
                "{name}: {:?}",
                bundle.objects[0].id
            );
            for one in &bundle.refused {
                assert!(one.reason.contains("STIX 2.0"), "{name}: {one}");
            }
        }
    }
}

#[test]
fn what_is_no_json_is_refused_and_what_is_is_read() {
    for (path, bytes) in files("negative/json-parsing") {
        let name = Path::new(&path)
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let read = stix::read_bundle(&bytes);
        if name.starts_with("n_") {
            assert!(
                matches!(read, Err(BundleError::Json(_))),
                "{name}: {read:?}"
            );
        } else if name.starts_with("y_") {
            // JSON, and no bundle.
            assert!(
                !matches!(read, Err(BundleError::Json(_))),
                "{name}: {read:?}"
            );
        }
    }
}

#[test]
fn merkle_proofs_are_judged_as_the_vectors_say() {
    let mut cases = 0;
    for (name, bytes) in files("tlog/merkle-proof-vectors") {
        if !is_stix(&name) {
            continue;
        }
        let case: Value = serde_json::from_slice(&bytes).expect("a case");
        let number = |field: &str| case[field].as_u64().expect("a number");
        let digest = |value: &Value| {
            let bytes = BASE64
                .decode(value.as_str().unwrap_or_default().as_bytes())
                .ok()?;
            Digest::try_from(bytes.as_slice()).ok()
        };
        let proof: Option<Vec<Digest>> = case["proof"].as_array().map_or_else(
            || Some(Vec::new()),
            |list| list.iter().map(digest).collect(),
        );
        let holds = if name.contains("inclusion") {
            let parts = (digest(&case["leafHash"]), digest(&case["root"]), proof);
            let (Some(leaf), Some(root), Some(proof)) = parts else {
                // Not SHA-256: there is no such digest to give us.
                continue;
            };
            merkle::verify_inclusion(&leaf, number("leafIdx"), number("treeSize"), &proof, &root)
        } else {
            let parts = (digest(&case["root1"]), digest(&case["root2"]), proof);
            let (Some(old), Some(new), Some(proof)) = parts else {
                // Not SHA-256: there is no such digest to give us.
                continue;
            };
            merkle::verify_consistency(number("size1"), number("size2"), &old, &new, &proof)
        };
        assert_eq!(
            holds.is_err(),
            case["wantErr"] == true,
            "{name}: {}",
            case["desc"]
        );
        cases += 1;
    }
    println!("{cases} proofs");
    assert!(corpus().is_none() || cases > 100);
}

/// Every real bundle crosses the alliance: published, routed, delivered, and compared.
#[test]
fn every_bundle_arrives_byte_for_byte() {
    let scratch = Scratch::new().expect("a directory");
    let mut paths = Vec::new();
    for (set, _) in SETS {
        for (at, (name, bytes)) in files(set).iter().enumerate() {
            if is_stix(name) {
                let path = scratch
                    .path()
                    .join(format!("{}-{at}.json", set.replace('/', "-")));
                fs::write(&path, bytes).expect("a file");
                paths.push(path);
            }
        }
    }
    if paths.is_empty() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_entente"))
        .args(["demo", "--json", "--stix"])
        .args(&paths)
        .output()
        .expect("the program");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (mut objects, mut arrived) = (0, 0);
    for file in shown["stix"].as_array().expect("files") {
        assert_eq!(file["objects"], file["arrived"], "{}", file["file"]);
        objects += file["objects"].as_u64().expect("a count");
        arrived += file["arrived"].as_u64().expect("a count");
    }
    println!("{} files, {arrived} of {objects} objects", paths.len());
    assert_eq!(shown["audit"]["verified"], true);
}
