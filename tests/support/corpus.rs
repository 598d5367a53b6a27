//! Files of the corpus, which lies beside the project.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses its share; skips are shown"
)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The corpus, or `None` with a word about it.
pub(crate) fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: there is no corpus at {}", path.display());
    None
}

/// Every file of a set, packed or not, by name.
pub(crate) fn files(set: &str) -> Vec<(String, Vec<u8>)> {
    let Some(corpus) = corpus() else {
        return Vec::new();
    };
    let packed = corpus.join(format!("{set}.tar.gz"));
    if !packed.exists() {
        return walk(&corpus.join(set));
    }
    let reader = flate2::read::GzDecoder::new(fs::File::open(packed).expect("a set"));
    let mut archive = tar::Archive::new(reader);
    let mut files = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let name = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("a file");
            files.push((name, bytes));
        }
    }
    files
}

/// Every MISP event, whether its file holds one or several, with the file's name.
pub(crate) fn misp_events() -> Vec<(String, Value)> {
    let mut events = Vec::new();
    for set in [
        "misp/eset-malware-ioc-events",
        "misp/misp-training-events",
        "misp/misp-stix-event-pairs",
    ] {
        for (name, bytes) in files(set) {
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let list = match &value {
                Value::Array(list) => list.clone(),
                Value::Object(map) if map.contains_key("response") => {
                    map["response"].as_array().cloned().unwrap_or_default()
                }
                value => vec![value.clone()],
            };
            let list = list.into_iter().filter(|one| one["Event"].is_object());
            events.extend(list.map(|one| (name.clone(), one)));
        }
    }
    events
}

fn walk(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a set") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
    files
}
