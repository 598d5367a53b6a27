//! STIX against real input that nobody here wrote: the OASIS validators' own cases, and bundles.
//! The corpus lies beside the project; where it is not, these tests say that they skip.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;

use corpus::{corpus, files};
use entente::formats::stix::pattern;
use serde_json::Value;

/// The lines of a set of labelled cases.
fn cases(set: &str) -> Vec<Value> {
    let mut cases = Vec::new();
    for (name, bytes) in files(set) {
        let text = String::from_utf8(bytes).expect("UTF-8");
        for line in text.lines().filter(|line| !line.is_empty()) {
            cases
                .push(serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}")));
        }
    }
    cases
}

#[test]
fn patterns_are_judged_as_the_oasis_pattern_validator_does() {
    let cases = cases("stix21/oasis-pattern-cases");
    for case in &cases {
        let text = case["pattern"].as_str().expect("a pattern");
        let read = pattern::parse(text);
        assert_eq!(read.is_ok(), case["expect"] == "pass", "{text}: {read:?}");
    }
    println!("{} patterns", cases.len());
    assert!(corpus().is_none() || cases.len() == 44);
}

/// Every pattern of a valid indicator is read; of how many it is known that they are indicators.
#[test]
fn real_patterns_are_read() {
    let (mut all, mut simple) = (0, 0);
    for set in [
        "stix21/mvt-spyware-indicators",
        "misp/eset-as-stix21-by-misp-stix",
        "stix21/oasis-documentation-examples",
        "stix21/oasis-elevator-idioms-2.1-valid",
        "stix21/oasis-json-schemas-examples",
    ] {
        for (name, bytes) in files(set) {
            let Ok(bundle) = serde_json::from_slice::<Value>(&bytes) else {
                continue;
            };
            let objects = bundle["objects"].as_array().cloned().unwrap_or_default();
            for object in objects.iter().filter(|one| one["pattern_type"] == "stix") {
                let text = object["pattern"].as_str().expect("a pattern");
                let read = pattern::parse(text);
                let read = read.unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
                all += 1;
                simple += usize::from(pattern::indicators(&read).is_some());
            }
        }
    }
    println!("{all} patterns, {simple} of them typed indicators");
    assert!(corpus().is_none() || simple > 2_000, "{simple} of {all}");
}
