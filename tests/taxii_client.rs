//! OASIS's own client (`taxii2-client` of `PyPI`) walks the server: every endpoint, filters, pages, adding,
//! deleting. Where Python or the registry cannot be had, the test says so and skips.

#[path = "support/python.rs"]
mod python;
#[path = "support/taxii.rs"]
mod taxii;

use std::fs;
use std::path::Path;
use std::process::Command as Shell;
use std::sync::Arc;

use entente::clock::SystemClock;
use entente::testing::Scratch;
use python::{python, run, script};
use serde_json::json;
use taxii::{Server, TAXII};

/// What is installed into the virtual environment.
const CLIENT: [&str; 1] = ["taxii2-client==2.3.0"];
const COLLECTION: &str = "1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a01";

#[test]
fn the_client_of_oasis_walks_every_endpoint() {
    let Some(python) = python("taxii-client", &CLIENT) else {
        return;
    };
    let server = server();
    let mut walk = Shell::new(python);
    walk.arg(script("tests/taxii_client/walk.py"));
    walk.arg(format!("http://{}", server.address))
        .arg(COLLECTION);
    let said = run(&mut walk).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.ends_with("walked 53\n"), "{said}");
}

/// A server with one empty collection.
fn server() -> Server {
    let data = json!({
        "/discovery": {"title": "lab", "default": "/lab/", "api_roots": ["/lab/"]},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 1_000_000},
            "collections": [
                {"id": COLLECTION, "title": "both", "can_read": true, "can_write": true},
            ],
        },
    });
    Server::of(&data.to_string(), Arc::new(SystemClock), 20)
}

#[test]
fn the_script_to_be_copied_reads_and_publishes() {
    let Some(python) = python("taxii-client", &CLIENT) else {
        return;
    };
    let server = server();
    let scratch = Scratch::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let client = |secret: &Path, arguments: &[&str]| {
        let mut shell = Shell::new(&python);
        shell.arg(script("examples/python/taxii_client.py"));
        shell.arg(format!("http://{}/taxii2/", server.address));
        shell.arg("--secret").arg(secret).args(arguments);
        run(&mut shell)
    };
    let indicator = |number: u32| {
        json!({
            "type": "indicator",
            "spec_version": "2.1",
            "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
            "created": "2026-01-15T09:30:00.000Z",
            "modified": "2026-01-15T09:30:00.000Z",
            "pattern": format!("[ipv4-addr:value = '192.0.2.{number}']"),
            "pattern_type": "stix",
            "valid_from": "2026-01-15T09:30:00Z",
        })
    };
    let bundle = |name: &str, objects: Vec<serde_json::Value>| {
        let text = json!({"type": "bundle", "objects": objects}).to_string();
        file(name, &text).to_str().expect("a path").to_owned()
    };
    let user = file("user", "basic admin:Password0\n");
    let machine = file("machine", &format!("bearer {}\n", server.token));
    let since = scratch.path().join("since");
    let since = since.to_str().expect("a path");

    let said = client(&user, &["list"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said, format!("{COLLECTION}  both  (read write)\n"));
    let many = bundle("many", (0..45).map(indicator).collect());
    let said = client(&machine, &["add", COLLECTION, &many]);
    let said = said.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said, "complete: 45 published, 0 not\n");
    let read = || client(&machine, &["read", "both", "--since", since]);
    let said = read().unwrap_or_else(|error| panic!("{error}"));
    // The library remarks upon pages smaller than it asked for.
    let objects = said.lines().filter(|line| line.starts_with('{'));
    assert_eq!(objects.count(), 45, "three pages");
    assert_eq!(read().as_deref(), Ok(""), "nothing is new");
    let one = bundle("one", vec![indicator(99)]);
    client(&user, &["add", "both", &one]).unwrap_or_else(|error| panic!("{error}"));
    let said = read().unwrap_or_else(|error| panic!("{error}"));
    let new: serde_json::Value = serde_json::from_str(&said).expect("one object");
    assert_eq!(new, indicator(99));

    let wrong = file("wrong", "basic admin:guessed\n");
    let error = client(&wrong, &["list"]).expect_err("refused");
    assert!(error.contains("error: 401"), "{error}");
}
