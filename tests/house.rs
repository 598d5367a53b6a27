//! The plan of the house: who may use whom, and what the lower storeys may not touch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PURE: &[&str] = &[
    "proto",
    "clock",
    "proof",
    "partner",
    "bulletin",
    "agreement",
    "decision",
    "formats",
    "ledger",
    "session",
];

/// Each room with the rooms it may use.
fn arrows() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let storeys_0_to_3 = [
        "proto",
        "clock",
        "proof",
        "partner",
        "bulletin",
        "agreement",
        "decision",
        "ledger",
        "session",
        "identity",
        "store",
        "stream",
        "transport",
    ];
    let without = |all: &[&'static str], left_out: &[&str]| -> BTreeSet<&'static str> {
        all.iter()
            .copied()
            .filter(|room| !left_out.contains(room))
            .collect()
    };
    let programs = [&storeys_0_to_3[..], &["formats", "broker", "node", "audit"]].concat();
    let doors = [&programs[..], &["gateway", "deployment"]].concat();
    // It tells whoever sends something back what agreements would say, before it is published.
    let door = [
        "clock",
        "partner",
        "bulletin",
        "decision",
        "formats",
        "node",
        "transport",
    ];
    let benched = [&doors[..], &["testing"]].concat();
    let only = |rooms: &[&'static str]| rooms.iter().copied().collect();
    let mut all = pure_arrows();
    all.extend([
        // It puts bulletins into PEM, for who verifies them elsewhere.
        ("identity", only(&["clock", "proof", "partner", "bulletin"])),
        (
            "store",
            only(&["clock", "proof", "partner", "bulletin", "ledger"]),
        ),
        (
            "stream",
            only(&["proto", "clock", "proof", "partner", "ledger", "store"]),
        ),
        (
            "transport",
            only(&["clock", "proof", "partner", "identity"]),
        ),
        ("broker", without(&storeys_0_to_3, &["proto"])),
        // The recipient proves; it does not decide for others.
        (
            "node",
            without(&storeys_0_to_3, &["proto", "decision", "stream"]),
        ),
        (
            "audit",
            only(&[
                "clock",
                "proof",
                "partner",
                "bulletin",
                "agreement",
                "decision",
                "ledger",
                "store",
            ]),
        ),
        // The bridge names ledgers by their ids, which are digests.
        ("gateway", only(&[&door[..], &["proof"]].concat())),
        ("deployment", without(&programs, &["proto", "formats"])),
        ("bench", without(&benched, &["proto", "formats"])),
        (
            "cli",
            without(&[&doors[..], &["bench"]].concat(), &["proto"]),
        ),
        ("testing", without(&doors, &["proto"])),
    ]);
    all
}

/// Of the rooms that are pure.
fn pure_arrows() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let only = |rooms: &[&'static str]| rooms.iter().copied().collect();
    BTreeMap::from([
        ("proto", only(&[])),
        ("clock", only(&[])),
        ("proof", only(&["clock"])),
        ("partner", only(&["proto", "clock", "proof"])),
        ("bulletin", only(&["proto", "clock", "proof", "partner"])),
        (
            "agreement",
            only(&["proto", "clock", "proof", "partner", "bulletin"]),
        ),
        (
            "decision",
            only(&["clock", "partner", "bulletin", "agreement"]),
        ),
        ("formats", only(&["clock", "proof", "partner", "bulletin"])),
        (
            "ledger",
            only(&[
                "proto",
                "clock",
                "proof",
                "partner",
                "bulletin",
                "agreement",
                "decision",
            ]),
        ),
        (
            "session",
            only(&[
                "proto",
                "clock",
                "proof",
                "partner",
                "bulletin",
                "agreement",
                "ledger",
            ]),
        ),
    ])
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's room, as seen from `src`, and its code without comments.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        let first = inside.components().next().expect("a name");
        let room = first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        let text = fs::read_to_string(&path).expect("a source");
        let code: Vec<&str> = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        files.push((room, inside.to_owned(), code.join("\n")));
    }
    files
}

/// What of the crate a piece of code names: the words after `crate::`, groups included.
fn named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let words = if let Some(group) = rest.strip_prefix('{') {
            group
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .collect()
        } else {
            vec![rest]
        };
        for word in words {
            let word: String = word
                .trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(word);
        }
    }
    found
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    for (room, path, code) in rooms() {
        if room == "lib" || room == "main" {
            continue;
        }
        let allowed = arrows.get(room.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("the room `{room}` is not in the plan"));
        for name in named(&code) {
            let known = arrows.contains_key(name.as_str());
            if known && name != room && !allowed.contains(name.as_str()) {
                wrong.push(format!("{} uses {name}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_plan_has_no_circles() {
    let arrows = arrows();
    // Take away, again and again, every room that uses none of those that are left.
    let mut left: BTreeSet<&str> = arrows.keys().copied().collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .copied()
            .filter(|room| arrows[room].iter().all(|used| !left.contains(used)))
            .collect();
        if free.is_empty() {
            break;
        }
        for room in free {
            left.remove(room);
        }
    }
    assert!(
        left.is_empty(),
        "these use one another in a circle: {left:?}"
    );
}

#[test]
fn the_lower_storeys_touch_neither_clock_nor_disk_nor_network() {
    let forbidden = [
        "tokio",
        "quinn",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::thread",
        "SystemTime::now",
        "Instant::now",
        "tracing_subscriber",
        "std::env",
        "std::process",
    ];
    let mut wrong = Vec::new();
    for (room, path, code) in rooms() {
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let pure = PURE.contains(&room.as_str());
        for name in forbidden {
            let clock = room == "clock" && name == "SystemTime::now";
            let everywhere = name == "SystemTime::now";
            if (pure || everywhere) && !clock && code.contains(name) {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cargo's word for it, and the core's build without the feature `programs` (`fuzz/run`) proves the rest.
#[test]
fn the_core_depends_on_no_runtime_socket_or_store() {
    let tree = |features: &[&str]| -> BTreeSet<String> {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.split(' ').next());
        names.map(ToOwned::to_owned).collect()
    };
    let (whole, core) = (tree(&[]), tree(&["--no-default-features"]));
    for name in [
        "tokio", "mio", "socket2", "quinn", "rustls", "rustix", "fjall", "axum", "ureq", "clap",
        "tracing",
    ] {
        assert!(whole.contains(name), "{name} is not in the tree any more");
        assert!(!core.contains(name), "the core depends on {name}");
    }
}

#[test]
fn protobuf_stays_in_its_codecs() {
    let mut wrong = Vec::new();
    for (room, path, code) in rooms() {
        let name = path.file_name().expect("a name").to_string_lossy();
        let within = path.components().any(|part| part.as_os_str() == "wire");
        let codec = within || matches!(name.as_ref(), "wire.rs" | "frame.rs") || room == "proto";
        // `proto::` as a word of its own: quinn_proto is somebody else's.
        let names = |code: &str| {
            code.match_indices("proto::").any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        };
        if !codec && (code.contains("crate::proto;") || names(&code)) {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these name generated types: {wrong:?}");
}

#[test]
fn every_file_says_what_it_is_and_nothing_is_left_undone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let text = fs::read_to_string(&path).expect("a source");
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is",
            path.display()
        );
        for word in ["TODO", "FIXME", "todo!(", "unimplemented!(", "dbg!("] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for word in [".unwrap()", ".expect(\"", "panic!(", "unreachable!("] {
            assert!(
                !code.join("\n").contains(word),
                "{} may {word}",
                path.display()
            );
        }
    }
    for (room, path, _) in rooms() {
        for name in ["util", "utils", "common", "misc", "helpers"] {
            let file = path.file_stem().expect("a name").to_string_lossy();
            assert!(
                room != name && file != name,
                "{} is no room",
                path.display()
            );
        }
    }
}

#[test]
fn every_attack_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| attack |"));
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 22, "the table of attacks lost its rows");
    let quoted = |cell: &str| -> Vec<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let mut wrong = Vec::new();
    for row in &rows[2..] {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [attack, stopped, tests] = cells.as_slice() else {
            panic!("three cells: {row}");
        };
        for file in quoted(stopped) {
            if !root.join(&file).is_file() {
                wrong.push(format!("{attack}: there is no {file}"));
            }
        }
        let (mut code, mut found) = (String::new(), 0);
        for word in quoted(tests) {
            if word.contains('/') {
                code = fs::read_to_string(root.join(&word)).unwrap_or_default();
            } else if code.contains(&format!("fn {word}(")) {
                found += 1;
            } else {
                wrong.push(format!("{attack}: there is no test {word}"));
            }
        }
        if found == 0 {
            wrong.push(format!("{attack}: it has no test"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
