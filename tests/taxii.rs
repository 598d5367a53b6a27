//! TAXII 2.1 as a server speaks it: every endpoint with each of its status codes, every filter, and pages
//! that lose and repeat nothing. Over a real socket.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/taxii.rs"]
mod taxii;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use entente::clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, Timestamp, random};
use entente::gateway::taxii::{
    AddError, ApiRoot, Client, Collection, Discovery, Entry, Fault, MemoryStore, Place, Position,
    Status, Store, Waiting,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use taxii::{Said, Server, TAXII, basic};

const LAB: &str = "/lab/";
/// Read and written; known by an alias, too.
const BOTH: &str = "/lab/collections/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a01/";
const READ: &str = "/lab/collections/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a02/";
const WRITE: &str = "/lab/collections/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a03/";
const NEITHER: &str = "/lab/collections/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a04/";
const NOWHERE: &str = "/lab/collections/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a05/";
const TOOL: &str = "tool--00000000-0000-4000-8000-000000000001";
const MARKING: &str = "marking-definition--00000000-0000-4000-8000-000000000002";
const OLD: &str = "malware--00000000-0000-4000-8000-000000000003";

fn tool(modified: &str) -> Value {
    json!({
        "type": "tool", "spec_version": "2.1", "id": TOOL, "name": "a tool",
        "created": "2020-01-01T00:00:00.000Z", "modified": modified,
    })
}

/// Four collections with each pair of rights; in the first are three versions of a tool, a marking that
/// cannot have versions, and malware once in STIX 2.0 and once in 2.1.
fn lab() -> String {
    let objects = [
        (
            tool("2020-01-01T00:00:00.000Z"),
            "2020-02-01T00:00:00.000000Z",
        ),
        (
            tool("2020-01-02T00:00:00.000Z"),
            "2020-02-01T00:00:00.000001Z",
        ),
        (
            json!({
                "type": "marking-definition", "spec_version": "2.1", "id": MARKING,
                "created": "2020-01-01T00:00:00.000Z", "definition_type": "statement",
                "definition": {"statement": "ours"},
            }),
            "2020-02-02T00:00:00.000000Z",
        ),
        (
            json!({
                "type": "malware", "id": OLD, "name": "m", "created": "2020-01-01T00:00:00.000Z",
                "modified": "2020-01-09T00:00:00.000Z", "labels": ["trojan"],
            }),
            "2020-02-03T00:00:00.000000Z",
        ),
        (
            json!({
                "type": "malware", "spec_version": "2.1", "id": OLD, "name": "m", "is_family": false,
                "created": "2020-01-01T00:00:00.000Z", "modified": "2020-01-02T00:00:00.000Z",
            }),
            "2020-02-03T00:00:00.000001Z",
        ),
        (
            tool("2020-01-03T00:00:00.000Z"),
            "2020-02-04T00:00:00.000000Z",
        ),
    ];
    let mut collections = Vec::new();
    for (number, read, write) in [
        (1, true, true),
        (2, true, false),
        (3, false, true),
        (4, false, false),
    ] {
        collections.push(json!({
            "id": format!("1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a0{number}"), "title": format!("{number}"),
            "can_read": read, "can_write": write, "media_types": ["application/stix+json;version=2.1"],
        }));
    }
    collections[0]["alias"] = "both".into();
    collections[0]["objects"] = objects.iter().map(|(object, _)| object.clone()).collect();
    let record = |(object, date): &(Value, &str)| {
        let version = object.get("modified").unwrap_or_else(|| &object["created"]);
        let spec = object["spec_version"].as_str().unwrap_or("2.0");
        json!({
            "id": object["id"], "date_added": date, "version": version,
            "media_type": format!("application/stix+json;version={spec}"),
        })
    };
    collections[0]["manifest"] = objects.iter().map(record).collect();
    json!({
        "/discovery": {"title": "lab", "default": "/lab/", "api_roots": ["/lab/", "/empty/"]},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 4096},
            "status": [], "collections": collections,
        },
        "empty": {
            "information": {"title": "Empty", "versions": [TAXII], "max_content_length": 1},
            "status": [], "collections": [],
        },
    })
    .to_string()
}

fn server() -> Server {
    Server::of(&lab(), Arc::new(SystemClock), 20)
}

fn objects(query: &str) -> String {
    format!("{BOTH}objects/{query}")
}

fn posted(objects: &[Value]) -> Vec<u8> {
    json!({ "objects": objects }).to_string().into_bytes()
}

/// An endpoint of every kind with a method that it has.
fn endpoints() -> Vec<(&'static str, String)> {
    vec![
        ("GET", "/taxii2/".into()),
        ("GET", LAB.into()),
        (
            "GET",
            format!("{LAB}status/1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1aff/"),
        ),
        ("GET", format!("{LAB}collections/")),
        ("GET", BOTH.into()),
        ("GET", format!("{BOTH}manifest/")),
        ("GET", format!("{BOTH}objects/")),
        ("POST", format!("{BOTH}objects/")),
        ("GET", format!("{BOTH}objects/{TOOL}/")),
        ("DELETE", format!("{BOTH}objects/{TOOL}/")),
        ("GET", format!("{BOTH}objects/{TOOL}/versions/")),
    ]
}

#[test]
fn without_a_credential_every_endpoint_says_401_and_how() {
    let server = server();
    let wrong = [
        String::new(),
        basic("admin", "Password1"),
        basic("otto", "Password0"),
        "Bearer x".to_owned(),
        "Basic !".to_owned(),
    ];
    for (method, path) in endpoints() {
        for header in &wrong[..1] {
            let said = server.send(method, &path, &[("authorization", header)], b"{}");
            said.refused(401);
            let ways = said.all("www-authenticate");
            assert!(ways[0].starts_with("Basic realm="), "{ways:?}");
            assert!(ways[1].starts_with("Bearer realm="), "{ways:?}");
        }
    }
    for header in &wrong {
        let headers = [("authorization", &**header), ("accept", TAXII)];
        server.send("GET", "/taxii2/", &headers, b"").refused(401);
        // Before anything else is said, of what is there and what is not.
        server.send("GET", "/nowhere/", &headers, b"").refused(401);
    }
    let right = basic("admin", "Password0");
    let headers = [("authorization", &*right), ("accept", TAXII)];
    assert_eq!(
        server.send("GET", "/taxii2/", &headers, b"").ok()["title"],
        "lab"
    );
}

#[test]
fn who_tries_passwords_keeps_nobody_out_who_has_logged_in() {
    let server = server();
    let right = basic("admin", "Password0");
    let ask = |header: &str| {
        let headers = [("authorization", header), ("accept", TAXII)];
        server.send("GET", "/taxii2/", &headers, b"").status
    };
    assert_eq!(ask(&right), 200);
    // So many at once that some have to be turned away; on a busy machine not in the first round.
    let mut ends = BTreeSet::new();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            let tries = (0..24).map(|at| {
                let wrong = basic("admin", &format!("Password{at}!"));
                scope.spawn(move || ask(&wrong))
            });
            let tries: Vec<_> = tries.collect();
            for _ in 0..10 {
                assert_eq!(ask(&right), 200);
            }
            ends.extend(tries.into_iter().map(|one| one.join().expect("an end")));
        });
        if ends.contains(&503) {
            break;
        }
    }
    assert_eq!(ends, [401, 503].into());
}

#[test]
fn every_endpoint_negotiates_its_media_type() {
    let server = server();
    let token = format!("Bearer {}", server.token);
    for (method, path) in endpoints() {
        let send = |accept: Option<&str>| {
            let mut headers = vec![("authorization", &*token), ("content-type", TAXII)];
            headers.extend(accept.map(|accept| ("accept", accept)));
            server.send(method, &path, &headers, b"{}")
        };
        for accept in [
            None,
            Some("application/json"),
            Some("*/*"),
            Some("application/taxii+json;version=2.0"),
        ] {
            send(accept).refused(406);
        }
    }
    for accept in [
        "application/taxii+json",
        "application/taxii+json;version=2.1",
        "application/taxii+json; version=2.1",
        "application/taxii+json;version=2.1,application/stix+json;version=2.1",
    ] {
        let headers = [("authorization", &*token), ("accept", accept)];
        let path = format!("{BOTH}manifest/");
        server.send("GET", &path, &headers, b"").ok();
    }
    let add = |kind: Option<&str>| {
        let mut headers = vec![("authorization", &*token), ("accept", TAXII)];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        server.send(
            "POST",
            &objects(""),
            &headers,
            &posted(&[tool("2021-01-01T00:00:00Z")]),
        )
    };
    for kind in [
        None,
        Some("application/json"),
        Some("application/stix+json;version=2.1"),
        Some("text/plain"),
    ] {
        add(kind).refused(415);
    }
    for kind in [
        "application/taxii+json",
        TAXII,
        "application/taxii+json; version=2.1",
    ] {
        assert_eq!(add(Some(kind)).status, 202);
    }
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_allowed_403() {
    let server = server();
    for path in [
        "/",
        "/nowhere/",
        "/taxii2/collections/",
        "/nowhere/collections/",
        "/lab/x/",
        "/lab/status/1/",
        NOWHERE,
        &format!("{NOWHERE}manifest/"),
        &format!("{NOWHERE}objects/"),
        &format!("{NOWHERE}objects/{TOOL}/"),
        &format!("{NOWHERE}objects/{TOOL}/versions/"),
        &objects("tool--00000000-0000-4000-8000-0000000000ff/"),
        &objects("tool--00000000-0000-4000-8000-0000000000ff/versions/"),
        &format!("/empty/collections/{}/", &BOTH[17..53]),
    ] {
        server.get(path).refused(404);
    }
    server
        .post(
            &format!("{NOWHERE}objects/"),
            &posted(&[tool("2021-01-01T00:00:00Z")]),
        )
        .refused(404);
    for closed in [WRITE, NEITHER] {
        for rest in [
            "manifest/",
            "objects/",
            &format!("objects/{TOOL}/"),
            &format!("objects/{TOOL}/versions/"),
        ] {
            server.get(&format!("{closed}{rest}")).refused(403);
        }
    }
    for closed in [READ, NEITHER] {
        let path = format!("{closed}objects/");
        server
            .post(&path, &posted(&[tool("2021-01-01T00:00:00Z")]))
            .refused(403);
    }
    // Section 5.7.
    for (collection, status) in [(NEITHER, 404), (READ, 403), (WRITE, 403)] {
        server
            .delete(&format!("{collection}objects/{TOOL}/"))
            .refused(status);
    }
    let said = server.send(
        "PUT",
        "/taxii2/",
        &[
            ("authorization", &format!("Bearer {}", server.token)),
            ("accept", TAXII),
        ],
        b"",
    );
    said.refused(405);
    assert_eq!(said.header("allow"), Some("GET, HEAD"));
    // Still to be seen: rights are told where a collection is described.
    let described = server.get(NEITHER).ok();
    assert_eq!(
        (&described["can_read"], &described["can_write"]),
        (&json!(false), &json!(false))
    );
}

#[test]
fn a_path_without_its_last_slash_leads_to_the_one_that_has_it() {
    let server = server();
    for (method, path) in endpoints() {
        let token = format!("Bearer {}", server.token);
        let headers = [
            ("authorization", &*token),
            ("accept", TAXII),
            ("content-type", TAXII),
        ];
        let short = path.strip_suffix('/').expect("a slash");
        let said = server.send(method, &format!("{short}?limit=1"), &headers, b"{}");
        assert_eq!(said.status, 308);
        assert_eq!(said.header("location"), Some(&*format!("{path}?limit=1")));
    }
    // Never to another host.
    for path in [
        "//evil.example",
        "//evil.example/collections",
        "/.//evil.example",
    ] {
        server.get(path).refused(404);
    }
}

#[test]
fn what_a_server_is_is_told_without_empty_lists() {
    let server = server();
    let discovery = server.get("/taxii2/").ok();
    assert_eq!(
        discovery,
        json!({"title": "lab", "default": "/lab/", "api_roots": ["/lab/", "/empty/"]})
    );
    let root = server.get(LAB).ok();
    assert_eq!(
        root,
        json!({"title": "Lab", "versions": [TAXII], "max_content_length": 4096})
    );
    assert_eq!(server.get("/empty/collections/").ok(), json!({}));
    let all = server.get("/lab/collections/").ok();
    let all = all["collections"].as_array().expect("a list");
    assert_eq!(all.len(), 4);
    assert!(
        all.iter()
            .all(|one| one.get("objects").is_none() && one.get("manifest").is_none())
    );
    assert_eq!(
        server.get("/lab/collections/both/").ok(),
        all[0],
        "by its alias"
    );
    assert_eq!(
        server.get("/lab/collections/both/objects/").ids(),
        server.get(&objects("")).ids()
    );
    // An empty answer is {}, with neither lists nor headers.
    for path in [
        format!("{READ}objects/"),
        format!("{READ}manifest/"),
        objects("?match[type]=campaign"),
        objects(&format!("{TOOL}/?match[version]=2000-01-01T00:00:00Z")),
        objects(&format!(
            "{TOOL}/versions/?added_after=2030-01-01T00:00:00Z"
        )),
    ] {
        let said = server.get(&path);
        assert_eq!(said.ok(), json!({}), "{path}");
        assert_eq!(said.dates(), None, "{path}");
    }
}

/// The versions of an envelope's objects.
#[track_caller]
fn versions(said: &Said) -> Vec<String> {
    let value = said.ok();
    let objects = value["objects"].as_array().cloned().unwrap_or_default();
    let version = |object: &Value| {
        let version = object.get("modified").or_else(|| object.get("created"));
        version.and_then(Value::as_str).expect("a version")[..10].to_owned()
    };
    objects.iter().map(version).collect()
}

#[test]
fn each_filter_narrows_and_all_of_them_together() {
    let server = server();
    let ids = |query: &str| server.get(&objects(query)).ids();
    assert_eq!(
        ids(""),
        [MARKING, OLD, TOOL],
        "the latest of each, by the date it was added"
    );
    assert_eq!(ids("?match[type]=tool"), [TOOL]);
    assert_eq!(ids("?match[type]=tool,malware"), [OLD, TOOL]);
    assert_eq!(ids("?match%5Btype%5D=indicator"), [""; 0]);
    assert_eq!(ids(&format!("?match[id]={TOOL}")), [TOOL]);
    assert_eq!(
        ids(&format!("?match[id]={TOOL},{MARKING}")),
        [MARKING, TOOL]
    );
    assert_eq!(
        ids(&format!("?match[id]={TOOL}&match[type]=malware")),
        [""; 0]
    );
    assert_eq!(
        ids("?match[version]=all").len(),
        5,
        "of the latest specification each"
    );
    assert_eq!(ids("?match[version]=first"), [TOOL, MARKING, OLD]);
    assert_eq!(
        ids("?match[version]=first,last"),
        [TOOL, MARKING, OLD, TOOL]
    );
    assert_eq!(
        ids("?match[version]=2020-01-02T00:00:00Z"),
        [TOOL, OLD],
        "the same moment in fewer digits"
    );
    assert_eq!(
        ids("?match[version]=all&match[spec_version]=2.0,2.1").len(),
        6
    );
    assert_eq!(ids("?match[spec_version]=2.0"), [OLD]);
    assert_eq!(ids("?match[spec_version]=3.0"), [""; 0]);
    assert_eq!(
        ids("?added_after=2020-02-02T00:00:00Z"),
        [OLD, TOOL],
        "strictly after"
    );
    assert_eq!(
        ids("?added_after=2020-02-01T00:00:00.000000Z&match[version]=first"),
        [TOOL, MARKING, OLD]
    );
    let of = |query: &str| versions(&server.get(&objects(&format!("{TOOL}/{query}"))));
    assert_eq!(of(""), ["2020-01-03"]);
    assert_eq!(of("?match[version]=first"), ["2020-01-01"]);
    assert_eq!(
        of("?match[version]=all&limit=2"),
        ["2020-01-01", "2020-01-02"]
    );
    assert_eq!(
        of("?match[version]=2020-01-02T00:00:00.000Z,last"),
        ["2020-01-02", "2020-01-03"]
    );
    // What an endpoint does not know is passed over.
    assert_eq!(
        of("?match[type]=malware&match[colour]=red&x=y"),
        ["2020-01-03"]
    );
    let of = |query: &str| {
        server
            .get(&objects(&format!("{OLD}/versions/{query}")))
            .ok()
    };
    assert_eq!(of("")["versions"], json!(["2020-01-02T00:00:00.000Z"]));
    assert_eq!(
        of("?match[spec_version]=2.0")["versions"],
        json!(["2020-01-09T00:00:00.000Z"])
    );
    assert_eq!(
        of("?match[spec_version]=2.0,2.1")["versions"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1&limit=1",
        "added_after=x",
        "added_after=2020-02-02",
        "added_after=2020-02-02T00:00:00Z&added_after=2020-02-02T00:00:00Z",
        "match[version]=all,first",
        "match[version]=x",
        "match[spec_version]=x",
        "next=x",
        "match[type]=a&match[type]=b",
    ] {
        for path in [objects(""), format!("{BOTH}manifest/")] {
            server.get(&format!("{path}?{query}")).refused(400);
        }
    }
    for query in [
        "limit=0",
        "added_after=x",
        "next=x",
        "match[spec_version]=x",
    ] {
        server
            .get(&objects(&format!("{TOOL}/?{query}")))
            .refused(400);
        server
            .get(&objects(&format!("{TOOL}/versions/?{query}")))
            .refused(400);
    }
}

#[test]
fn a_manifest_says_of_each_version_when_it_was_added() {
    let server = server();
    let said = server.get(&format!(
        "{BOTH}manifest/?match[version]=all&match[type]=tool"
    ));
    let manifest = said.ok();
    let record = |day: &str, added: &str| {
        json!({
            "id": TOOL, "date_added": added, "version": format!("2020-01-0{day}T00:00:00.000Z"),
            "media_type": "application/stix+json;version=2.1",
        })
    };
    let expected = json!([
        record("1", "2020-02-01T00:00:00.000000Z"),
        record("2", "2020-02-01T00:00:00.000001Z"),
        record("3", "2020-02-04T00:00:00.000000Z"),
    ]);
    assert_eq!(manifest["objects"], expected);
    assert_eq!(
        said.dates(),
        Some(("2020-02-01T00:00:00.000000Z", "2020-02-04T00:00:00.000000Z"))
    );
    // Objects, one object and versions bear the same dates.
    for path in [
        objects("?match[version]=all&match[type]=tool"),
        objects(&format!("{TOOL}/?match[version]=all")),
        objects(&format!("{TOOL}/versions/")),
    ] {
        assert_eq!(server.get(&path).dates(), said.dates(), "{path}");
    }
    let first = server.get(&objects(&format!("{TOOL}/versions/?limit=1")));
    assert_eq!(first.ok()["more"], true);
    assert_eq!(
        first.dates(),
        Some(("2020-02-01T00:00:00.000000Z", "2020-02-01T00:00:00.000000Z"))
    );
}

#[test]
fn what_is_added_is_there_byte_for_byte_and_its_status_says_so() {
    let clock = Arc::new(ManualClock::new(
        "2026-01-15T09:30:00Z".parse().expect("a time"),
    ));
    let server = Server::of(&lab(), Arc::clone(&clock) as Arc<dyn Clock>, 20);
    let text = r#"{"objects": [{"type":"note" , "spec_version":"2.1","id":"note--00000000-0000-4000-8000-00000000000a",
        "created":"2026-01-01T00:00:00.123456Z","modified":"2026-01-01T00:00:00.123456Z", "zebra":1.50, "content":"\u00e9 é"},
        {"type":"ipv4-addr","spec_version":"2.1","id":"ipv4-addr--00000000-0000-5000-8000-00000000000b","value":"192.0.2.1"}],
        "x_other": true}"#;
    let said = server.post(&objects(""), text.as_bytes());
    assert_eq!(said.status, 202);
    assert_eq!(said.header("content-type"), Some(TAXII));
    let status = said.json();
    assert_eq!(status["status"], "complete");
    assert_eq!(status["request_timestamp"], "2026-01-15T09:30:00.000000Z");
    assert_eq!(
        (&status["total_count"], &status["success_count"]),
        (&json!(2), &json!(2))
    );
    assert!(
        status.get("failures").is_none() && status.get("pendings").is_none(),
        "no empty lists"
    );
    let id = status["id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("{LAB}status/{id}/")).ok(), status);
    server.get(&format!("/empty/status/{id}/")).refused(404);
    let got = server.get(&objects("note--00000000-0000-4000-8000-00000000000a/"));
    assert!(
        got.body.contains(r#""type":"note" , "spec_version""#),
        "{got:?}"
    );
    assert!(
        got.body.contains(r#""zebra":1.50, "content":"\u00e9 é""#),
        "{got:?}"
    );
    // Each has a moment of its own, though they came at once, and the clock stands still.
    let manifest = server
        .get(&format!("{BOTH}manifest/?added_after=2026-01-01T00:00:00Z"))
        .ok();
    let dates: Vec<&str> = manifest["objects"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["date_added"].as_str().expect("a date"))
        .collect();
    assert_eq!(
        dates,
        ["2026-01-15T09:30:00.000000Z", "2026-01-15T09:30:00.000001Z"]
    );
    // What has no version has one all the same.
    assert_eq!(
        manifest["objects"][1]["version"],
        "2026-01-15T09:30:00.000001Z"
    );
    // The same again is no error, and nothing new.
    let again = server.post(&objects(""), text.as_bytes()).json();
    assert_eq!(
        (&again["success_count"], &again["failure_count"]),
        (&json!(2), &json!(0))
    );
    assert_ne!(again["id"], status["id"]);
    assert_eq!(
        server
            .get(&objects("?added_after=2026-01-01T00:00:00Z"))
            .ids()
            .len(),
        2
    );
}

#[test]
fn what_cannot_be_taken_is_refused_as_the_specification_says() {
    let server = server();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"objects": []}"#,
        r#"{"objects": {}}"#,
        r#"{"objects": [1]}"#,
        r#"{"objects": [{"type": "tool"}]}"#,
        r#"{"objects": [{"id": "tool--1"}]}"#,
        &tool("2021-01-01T00:00:00Z").to_string(),
    ] {
        let error = server.post(&objects(""), body.as_bytes()).refused(422);
        let description = error["description"].as_str().expect("a text");
        assert!(
            description.starts_with("While processing supplied content, an error occurred"),
            "{description}"
        );
    }
    server
        .post(&objects(""), b"{\"objects\": [\"\xff\"]}")
        .refused(422);
    let mut body = posted(&[tool("2021-01-01T00:00:00Z")]);
    body.resize(4096, b' ');
    assert_eq!(
        server.post(&objects(""), &body).status,
        202,
        "as large as may be"
    );
    for length in [4097, 5000, 16_384] {
        body.resize(length, b' ');
        server.post(&objects(""), &body).refused(413);
    }
}

#[test]
fn what_is_deleted_is_gone_everywhere() {
    let server = server();
    let left = |path: &str| {
        server.get(&objects(&format!("{TOOL}/versions/"))).json()["versions"]
            .as_array()
            .map_or(0, |all| {
                assert!(!all.iter().any(|one| one == path), "{path}");
                all.len()
            })
    };
    server
        .delete(&objects(&format!(
            "{TOOL}/?match[version]=2019-01-01T00:00:00Z"
        )))
        .refused(404);
    server
        .delete(&objects(&format!("{TOOL}/?match[version]=x")))
        .refused(400);
    let said = server.delete(&objects(&format!(
        "{TOOL}/?match[version]=2020-01-02T00:00:00.000Z"
    )));
    assert_eq!(
        (said.status, said.header("content-type")),
        (200, Some(TAXII))
    );
    assert_eq!(left("2020-01-02T00:00:00.000Z"), 2);
    assert_eq!(
        server
            .delete(&objects(&format!("{TOOL}/?match[version]=first")))
            .status,
        200
    );
    assert_eq!(left("2020-01-01T00:00:00.000Z"), 1);
    assert_eq!(server.delete(&objects(&format!("{TOOL}/"))).status, 200);
    for rest in ["", "versions/"] {
        server.get(&objects(&format!("{TOOL}/{rest}"))).refused(404);
    }
    server.delete(&objects(&format!("{TOOL}/"))).refused(404);
    assert_eq!(
        server
            .get(&format!(
                "{BOTH}manifest/?match[version]=all&match[type]=tool"
            ))
            .ok(),
        json!({})
    );
    // One specification after the other.
    assert_eq!(
        server
            .delete(&objects(&format!("{OLD}/?match[spec_version]=2.0")))
            .status,
        200
    );
    assert_eq!(
        server
            .get(&objects(&format!(
                "{OLD}/versions/?match[spec_version]=2.0,2.1"
            )))
            .ok()["versions"],
        json!(["2020-01-02T00:00:00.000Z"])
    );
    assert_eq!(server.delete(&objects(&format!("{OLD}/"))).status, 200);
    server.get(&objects(&format!("{OLD}/"))).refused(404);
}

#[test]
fn a_page_leads_to_the_next_with_the_same_filters_only() {
    let server = server();
    let path = objects("?match[version]=all&limit=2");
    let first = server.get(&path).ok();
    assert_eq!(
        (&first["more"], first["objects"].as_array().map(Vec::len)),
        (&json!(true), Some(2))
    );
    let next = first["next"].as_str().expect("a page token").to_owned();
    for _ in 0..2 {
        // As often as one likes.
        assert_eq!(
            server.get(&format!("{path}&next={next}")).ok()["objects"]
                .as_array()
                .map(Vec::len),
            Some(2)
        );
    }
    let last = server
        .get(&objects(&format!(
            "?match[version]=all&limit=3&next={next}"
        )))
        .ok();
    assert_eq!((&last["more"], last.get("next")), (&json!(false), None));
    for other in [
        objects(&format!("?match[version]=first&limit=2&next={next}")),
        objects(&format!("?limit=2&next={next}")),
        format!("{BOTH}manifest/?match[version]=all&limit=2&next={next}"),
        format!("{READ}objects/?match[version]=all&limit=2&next={next}"),
    ] {
        server.get(&other).refused(400);
    }
}

/// A number below a bound.
fn below(entropy: &dyn Entropy, bound: u64) -> u64 {
    u64::from_be_bytes(random(entropy).expect("random")) % bound
}

/// One version in a random store.
#[derive(Clone, Debug)]
struct Added {
    micros: i64,
    id: String,
    kind: &'static str,
    version: i64,
    spec: &'static str,
}

const EPOCH: i64 = 1_600_000_000_000_000;

fn time(micros: i64) -> String {
    let at = Timestamp::from_micros(micros).expect("a time");
    entente::gateway::taxii::timestamp(at)
}

fn random_store(entropy: &dyn Entropy) -> Vec<Added> {
    let mut added: Vec<Added> = Vec::new();
    let mut micros = EPOCH;
    for _ in 0..below(entropy, 60) {
        // Often in the very next microsecond, as of one request.
        micros += if below(entropy, 3) == 0 {
            1 + i64::try_from(below(entropy, 5_000_000)).expect("small")
        } else {
            1
        };
        let which = below(entropy, 12);
        let kind = ["tool", "note", "malware"][usize::try_from(which % 3).expect("small")];
        let one = Added {
            micros,
            id: format!("{kind}--00000000-0000-4000-8000-{which:012}"),
            kind,
            version: EPOCH + i64::try_from(below(entropy, 6)).expect("small") * 1_000,
            spec: ["2.0", "2.1", "2.1"][usize::try_from(below(entropy, 3)).expect("small")],
        };
        // A version comes once.
        if !added
            .iter()
            .any(|other| other.id == one.id && other.version == one.version)
        {
            added.push(one);
        }
    }
    added
}

fn data(added: &[Added]) -> String {
    let object = |one: &Added| {
        let mut object = json!({
            "type": one.kind, "id": one.id, "created": time(EPOCH), "modified": time(one.version),
        });
        if one.spec == "2.1" {
            object["spec_version"] = "2.1".into();
        }
        object
    };
    let record = |one: &Added| {
        json!({
            "id": one.id, "date_added": time(one.micros), "version": time(one.version),
            "media_type": format!("application/stix+json;version={}", one.spec),
        })
    };
    json!({
        "/discovery": {"title": "random"},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 4096},
            "collections": [{
                "id": &BOTH[17..53], "title": "1", "can_read": true, "can_write": true,
                "objects": added.iter().map(object).collect::<Vec<_>>(),
                "manifest": added.iter().map(record).collect::<Vec<_>>(),
            }],
        },
    })
    .to_string()
}

/// A random filter as a query, and what it selects by the plainest reading of section 3.4.
fn random_filter(entropy: &dyn Entropy, added: &[Added]) -> (String, Vec<(String, String)>) {
    let mut query = Vec::new();
    let mut left: Vec<Added> = added.to_vec();
    if below(entropy, 3) == 0 {
        query.push("match[type]=tool,note".to_owned());
        left.retain(|one| one.kind != "malware");
    }
    if below(entropy, 4) == 0 && !added.is_empty() {
        let ids: BTreeSet<&str> = (0..3)
            .map(|_| {
                added[usize::try_from(below(entropy, added.len() as u64)).expect("small")]
                    .id
                    .as_str()
            })
            .collect();
        query.push(format!(
            "match[id]={}",
            ids.iter().copied().collect::<Vec<_>>().join(",")
        ));
        left.retain(|one| ids.contains(&*one.id));
    }
    let all = left.clone();
    match below(entropy, 3) {
        0 => left.retain(|one| {
            !all.iter()
                .any(|other| other.id == one.id && other.spec > one.spec)
        }),
        1 => {
            query.push("match[spec_version]=2.0,2.1".to_owned());
        }
        _ => {
            query.push("match[spec_version]=2.1".to_owned());
            left.retain(|one| one.spec == "2.1");
        }
    }
    let all = left.clone();
    let later = |one: &Added| {
        all.iter()
            .any(|other| other.id == one.id && other.version > one.version)
    };
    let earlier = |one: &Added| {
        all.iter()
            .any(|other| other.id == one.id && other.version < one.version)
    };
    match below(entropy, 5) {
        0 => left.retain(|one| !later(one)),
        1 => {
            query.push("match[version]=last,first".to_owned());
            left.retain(|one| !later(one) || !earlier(one));
        }
        2 => {
            query.push(format!("match[version]={},first", time(EPOCH + 2_000)));
            left.retain(|one| one.version == EPOCH + 2_000 || !earlier(one));
        }
        _ => query.push("match[version]=all".to_owned()),
    }
    let found = left.iter().map(|one| (one.id.clone(), time(one.version)));
    (query.join("&"), found.collect())
}

/// All records of a manifest, page by page: by `next`, or by `added_after`.
fn walk(server: &Server, query: &str, limit: u64, by_next: bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut place = String::new();
    loop {
        let said = server.get(&format!("{BOTH}manifest/?{query}&limit={limit}{place}"));
        let page = said.ok();
        let records = page["objects"].as_array().cloned().unwrap_or_default();
        assert!(records.len() as u64 <= limit, "{page}");
        let text = |record: &Value, name: &str| record[name].as_str().expect("a text").to_owned();
        found.extend(
            records
                .iter()
                .map(|record| (text(record, "id"), text(record, "version"))),
        );
        if page["more"] != true {
            return found;
        }
        assert!(!records.is_empty(), "{page}");
        place = if by_next {
            format!("&next={}", page["next"].as_str().expect("a page token"))
        } else {
            format!("&added_after={}", said.dates().expect("dates").1)
        };
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the seed, to repeat it")]
fn pages_lose_and_repeat_nothing() {
    let seed = std::env::var("ENTENTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        u64::from_be_bytes(random(&entente::clock::SystemEntropy::new()).expect("random"))
    });
    println!("ENTENTE_SEED={seed}");
    let entropy = SeededEntropy::new(seed);
    for _ in 0..12 {
        let added = random_store(&entropy);
        let server = Server::of(&data(&added), Arc::new(SystemClock), 7);
        for _ in 0..8 {
            let (query, expected) = random_filter(&entropy, &added);
            let limit = 1 + below(&entropy, 7);
            let found = walk(&server, &query, limit, true);
            assert_eq!(
                found, expected,
                "ENTENTE_SEED={seed} {query} limit {limit}\n{added:#?}"
            );
            // Without a choice of versions, the date alone leads on as well.
            if query.contains("match[version]=all") && query.contains("spec_version") {
                let found = walk(&server, &query, limit, false);
                assert_eq!(
                    found, expected,
                    "ENTENTE_SEED={seed} added_after {query} limit {limit}\n{added:#?}"
                );
            }
        }
    }
}

/// medallion's data as it is given, where the corpus is.
#[test]
fn the_data_of_medallion_is_served_as_given() {
    let Some(corpus) = corpus::corpus() else {
        return;
    };
    let path = corpus.join("taxii/medallion-default-data/default_data.json");
    let text = std::fs::read_to_string(path).expect("the data");
    let given: Value = serde_json::from_str(&text).expect("JSON");
    let server = Server::of(&text, Arc::new(SystemClock), 20);
    assert_eq!(server.get("/taxii2/").ok(), given["/discovery"]);
    for root in ["api1", "api2", "trustgroup1"] {
        assert_eq!(
            server.get(&format!("/{root}/")).ok(),
            given[root]["information"]
        );
        for status in given[root]["status"].as_array().expect("a list") {
            let path = format!("/{root}/status/{}/", status["id"].as_str().expect("an id"));
            assert_eq!(server.get(&path).ok(), *status);
        }
        let listed = server.get(&format!("/{root}/collections/")).ok();
        let listed = listed["collections"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let collections = given[root]["collections"].as_array().expect("a list");
        assert_eq!(listed.len(), collections.len());
        for (listed, mut given) in listed.into_iter().zip(collections.iter().cloned()) {
            let given = given.as_object_mut().expect("an object");
            let (objects, manifest) = (given.remove("objects"), given.remove("manifest"));
            assert_eq!(listed.as_object(), Some(&*given));
            let path = format!(
                "/{root}/collections/{}/",
                listed["id"].as_str().expect("an id")
            );
            if listed["can_read"] == false {
                server.get(&format!("{path}objects/")).refused(403);
                continue;
            }
            let all = "?match[version]=all&match[spec_version]=2.0,2.1";
            let served = server.get(&format!("{path}manifest/{all}")).ok();
            let given = manifest.filter(|all| *all != json!([]));
            assert_eq!(served.get("objects"), given.as_ref());
            let served = server.get(&format!("{path}objects/{all}")).ok();
            for object in objects.expect("objects").as_array().expect("a list") {
                assert!(
                    served["objects"]
                        .as_array()
                        .expect("a list")
                        .contains(object),
                    "{object}"
                );
            }
        }
    }
    let path = "/trustgroup1/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116/objects/";
    let said = server.get(path);
    assert_eq!(said.ids().len(), 5);
    assert_eq!(
        said.dates(),
        Some(("2014-05-08T09:00:00.000000Z", "2017-12-31T13:49:53.935000Z"))
    );
}

/// A store in memory that counts how often it is asked for an object's versions, and whose `entries` find
/// no end where that is said.
struct Watched {
    inner: MemoryStore,
    endless: bool,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    versions: AtomicUsize,
    /// Walks that go on now, and the most at once.
    walks: AtomicUsize,
    most: AtomicUsize,
}

impl Store for Watched {
    fn discovery(&self, client: &Client) -> Result<Discovery, Fault> {
        self.inner.discovery(client)
    }

    fn api_root(&self, client: &Client, root: &str) -> Result<Option<ApiRoot>, Fault> {
        self.inner.api_root(client, root)
    }

    fn collections(
        &self,
        client: &Client,
        root: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Collection>, Fault> {
        self.inner.collections(client, root, waiting)
    }

    fn entries(
        &self,
        client: &Client,
        at: &Place,
        after: Position,
        limit: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        if self.endless {
            let now = self.seen.walks.fetch_add(1, Ordering::SeqCst) + 1;
            self.seen.most.fetch_max(now, Ordering::SeqCst);
            while waiting.check().is_ok() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            self.seen.walks.fetch_sub(1, Ordering::SeqCst);
        }
        self.inner.entries(client, at, after, limit, waiting)
    }

    fn versions(
        &self,
        client: &Client,
        at: &Place,
        object: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        self.seen.versions.fetch_add(1, Ordering::SeqCst);
        self.inner.versions(client, at, object, waiting)
    }

    fn content(
        &self,
        client: &Client,
        at: &Place,
        entry: &Entry,
        waiting: &Waiting,
    ) -> Result<Option<Box<RawValue>>, Fault> {
        self.inner.content(client, at, entry, waiting)
    }

    fn add(
        &self,
        client: &Client,
        at: &Place,
        objects: &[&RawValue],
        waiting: &Waiting,
    ) -> Result<Status, AddError> {
        if self.endless {
            self.seen.walks.fetch_add(1, Ordering::SeqCst);
            while waiting.check().is_ok() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            self.seen.walks.fetch_sub(1, Ordering::SeqCst);
            waiting.check()?;
        }
        self.inner.add(client, at, objects, waiting)
    }

    fn status(&self, client: &Client, root: &str, id: &str) -> Result<Option<Value>, Fault> {
        self.inner.status(client, root, id)
    }

    fn delete(&self, client: &Client, at: &Place, entries: &[Entry]) -> Result<(), Fault> {
        self.inner.delete(client, at, entries)
    }
}

fn watched(data: &str, endless: bool) -> (Watched, Arc<Seen>) {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
    let inner = MemoryStore::read(data, Arc::new(SystemClock), entropy).expect("data");
    let seen = Arc::new(Seen::default());
    let store = Watched {
        inner,
        endless,
        seen: Arc::clone(&seen),
    };
    (store, seen)
}

/// One collection of these objects, each added a microsecond after the other.
fn collection(objects: &[Value]) -> String {
    let record = |(at, object): (usize, &Value)| {
        json!({
            "id": object["id"], "version": object["modified"],
            "media_type": "application/stix+json;version=2.1",
            "date_added": format!("2026-01-15T10:00:00.{at:06}Z"),
        })
    };
    let manifest: Vec<Value> = objects.iter().enumerate().map(record).collect();
    json!({
        "/discovery": {"title": "lab"},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 100_000},
            "collections": [{
                "id": "1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a01", "title": "1", "can_read": true,
                "can_write": true, "objects": objects, "manifest": manifest,
            }],
        },
    })
    .to_string()
}

#[test]
fn work_that_nobody_waits_for_ends_and_there_is_never_more_than_a_few_threads_of_it() {
    let (store, seen) = watched(&lab(), true);
    let server = Server::within(store, 5, 1);
    // More than that are turned away.
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    let said = server.get(&format!("{READ}objects/"));
                    assert_eq!(said.status, 408, "{said:?}");
                });
            }
            // Adding, too, looks for what it is about.
            scope.spawn(|| {
                let body = json!({"objects": [tool("2020-01-01T00:00:00.000Z")]}).to_string();
                let said = server.post(&format!("{BOTH}objects/"), body.as_bytes());
                assert_eq!(said.status, 408, "{said:?}");
            });
        });
    }
    let most = seen.most.load(Ordering::SeqCst);
    assert!((1..=8).contains(&most), "{most} at once");
    let patience = Instant::now() + Duration::from_mins(1);
    while seen.walks.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < patience, "it goes on for nobody");
        std::thread::yield_now();
    }
    assert_eq!(server.get("/taxii2/").status, 200);
}

#[test]
fn an_object_of_many_versions_is_looked_at_once_in_a_request() {
    let day = |day: usize| tool(&format!("2020-01-{day:02}T00:00:00.000Z"));
    let objects: Vec<Value> = (1..=28).map(day).collect();
    let (store, seen) = watched(&collection(&objects), false);
    let server = Server::start(store, 100);
    let said = server.get(&format!("{BOTH}objects/?match[version]=all"));
    assert_eq!(said.ids().len(), 28);
    assert_eq!(seen.versions.load(Ordering::SeqCst), 1);
}

#[test]
fn a_page_ends_where_it_is_large_and_the_next_one_goes_on() {
    let large = |number: usize| {
        json!({
            "type": "tool", "spec_version": "2.1", "created": "2020-01-01T00:00:00.000Z",
            "modified": "2020-01-01T00:00:00.000Z",
            "id": format!("tool--00000000-0000-4000-8000-{number:012}"),
            // One is larger than a page by itself.
            "name": "x".repeat(if number == 3 { 9 } else { 3 } * 1024 * 1024),
        })
    };
    let objects: Vec<Value> = (0..6).map(large).collect();
    let server = Server::of(&collection(&objects), Arc::new(SystemClock), 100);
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let said = server.get(&format!("{BOTH}objects/{next}"));
        pages.push(said.ids());
        let value = said.json();
        let last = said.dates().expect("dates").1.to_owned();
        assert_eq!(
            last,
            format!("2026-01-15T10:00:00.{:06}Z", pages.concat().len() - 1)
        );
        if value["more"] == false {
            break;
        }
        next = format!("?next={}", value["next"].as_str().expect("a token"));
    }
    let counts: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(counts, [2, 1, 1, 2]);
    let ids: Vec<Value> = pages.concat().into_iter().map(Value::from).collect();
    let expected: Vec<Value> = objects.iter().map(|object| object["id"].clone()).collect();
    assert_eq!(ids, expected);
}
