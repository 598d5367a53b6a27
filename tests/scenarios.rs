//! The partnerships of the field, each played with real processes by the demo: what the files in
//! `scenarios/` promise is what happens.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

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
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
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
