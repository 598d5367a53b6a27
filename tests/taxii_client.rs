//! OASIS's own client (`taxii2-client` of `PyPI`) walks the server: every endpoint, filters, pages, adding,
//! deleting. Where Python or the registry cannot be had, the test says so and skips.

#[path = "support/python.rs"]
mod python;
#[path = "support/taxii.rs"]
mod taxii;

use std::process::Command as Shell;
use std::sync::Arc;

use entente::clock::SystemClock;
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
    let data = json!({
        "/discovery": {"title": "lab", "default": "/lab/", "api_roots": ["/lab/"]},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 1_000_000},
            "collections": [
                {"id": COLLECTION, "title": "both", "can_read": true, "can_write": true},
            ],
        },
    });
    let server = Server::of(&data.to_string(), Arc::new(SystemClock), 20);
    let mut walk = Shell::new(python);
    walk.arg(script("tests/taxii_client/walk.py"));
    walk.arg(format!("http://{}", server.address))
        .arg(COLLECTION);
    let said = run(&mut walk).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.ends_with("walked 53\n"), "{said}");
}
