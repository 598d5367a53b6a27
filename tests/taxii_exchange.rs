//! Nodes as TAXII servers: what is added at one is read at another, each client sees what its markings and
//! collections let it, and nothing of the rest. Real processes, real disk.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/taxii.rs"]
mod taxii;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use alliance::{PATIENCE, entente, given, partner, plan, prepared, rotate_at_once, start};
use entente::deployment::until;
use entente::node::{Command, Response};
use entente::testing::{Cluster, Scratch};
use exchange::{Caller, bulletin, complete, sees, serve, token};
use serde_json::{Value, json};

const GREEN: &str = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb";
const AMBER: &str = "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421";
const INDICATOR: &str = "indicator--00000000-0000-4000-8000-000000000001";
const MALWARE: &str = "malware--00000000-0000-4000-8000-000000000002";
const RELATIONSHIP: &str = "relationship--00000000-0000-4000-8000-000000000003";
const NOTE: &str = "note--00000000-0000-4000-8000-000000000004";
const REPORT: &str = "report--00000000-0000-4000-8000-000000000005";
const BAD: &str = "indicator--00000000-0000-4000-8000-000000000006";

fn object(id: &str, marking: &str, more: Value) -> Value {
    let (kind, _) = id.split_once("--").expect("an id");
    let mut object = json!({
        "type": kind, "spec_version": "2.1", "id": id, "created": "2026-01-15T09:30:00.000Z",
        "modified": "2026-01-15T09:30:00.000Z", "object_marking_refs": [marking],
    });
    for (name, value) in more.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

fn indicator() -> Value {
    let more = json!({
        "pattern": "[domain-name:value = 'update.grid-portal.example']", "pattern_type": "stix",
        "valid_from": "2026-01-15T09:30:00Z", "name": "é \u{2014}",
    });
    object(INDICATOR, GREEN, more)
}

fn envelope() -> Value {
    json!({"objects": [
        indicator(),
        object(MALWARE, AMBER, json!({"is_family": false, "name": "Gridfall"})),
        object(RELATIONSHIP, GREEN, json!({
            "relationship_type": "indicates", "source_ref": INDICATOR, "target_ref": MALWARE,
        })),
        object(NOTE, GREEN, json!({
            "content": format!("compare with {MALWARE}, please"), "object_refs": [INDICATOR],
        })),
        // It names the relationship, which names what is hidden.
        object(REPORT, GREEN, json!({
            "name": "r", "published": "2026-01-15T09:30:00Z", "object_refs": [RELATIONSHIP],
        })),
        object(BAD, GREEN, json!({"pattern_type": "stix", "valid_from": "2026-01-15T09:30:00Z"})),
    ]})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_at_one_node_is_read_at_another_within_each_clients_markings() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let publish = "[[taxii.publish]]\nname = \"cyber-out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
                   [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let writers = serve(
        &cluster,
        "norland",
        &[
            ("analyst", "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]"),
            ("other", "tlp = \"TLP:RED\"\nread = [\"*\"]"),
        ],
        publish,
    );
    let [analyst, other] = writers.as_slice() else {
        panic!("two")
    };
    let readers = serve(
        &cluster,
        "estmark",
        &[
            ("amber", "tlp = \"TLP:AMBER\"\nread = [\"*\"]"),
            ("green", "tlp = \"TLP:GREEN\"\nread = [\"agreement:cyber\"]"),
            (
                "origin",
                "tlp = \"TLP:AMBER\"\nread = [\"originator:norland.example\"]",
            ),
            ("nothing", "tlp = \"TLP:RED\""),
            ("clear", "tlp = \"TLP:CLEAR\"\nread = [\"*\"]"),
        ],
        "",
    );
    let [amber, green, origin, nothing, clear] = readers.as_slice() else {
        panic!("five")
    };
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;

    // A collection that is named is there before anything came.
    let listening = until("a TAXII server", PATIENCE, || async {
        std::net::TcpStream::connect(green.address).ok()
    });
    listening.await.expect("it listens");
    let described = green.get("/entente/collections/agreement-cyber/").ok();
    assert_eq!(
        described["x_entente_markings"],
        json!(["TLP:CLEAR", "TLP:GREEN"])
    );
    assert_eq!(
        green
            .get("/entente/collections/agreement-cyber/objects/")
            .ok(),
        json!({})
    );

    // Adding: a status that is complete with the receipts, and names what failed.
    let out = "/entente/collections/publish-cyber-out/objects/";
    let body = envelope().to_string();
    let said = analyst.send("POST", out, body.as_bytes());
    assert_eq!(said.status, 202, "{said:?}");
    let accepted = said.json();
    assert_eq!(
        (&accepted["total_count"], &accepted["failure_count"]),
        (&json!(6), &json!(1))
    );
    let status = complete(analyst, &accepted).await;
    assert_eq!(
        (&status["success_count"], &status["failure_count"]),
        (&json!(5), &json!(1)),
        "{status}"
    );
    assert_eq!(status["failures"][0]["id"], BAD);
    let reason = status["failures"][0]["message"].as_str().expect("a reason");
    assert!(reason.contains("pattern"), "{reason}");
    // Complete is what is proved: the receipts are here already.
    let successes = status["successes"].as_array().expect("a list");
    let bulletins: BTreeSet<&str> = successes.iter().map(bulletin).collect();
    assert_eq!(bulletins.len(), 2, "of two levels");
    for about in bulletins {
        let asked = Command::Receipts {
            about: about.to_owned(),
            wait: 0,
        };
        let receipts = cluster.ask_node(&partner("norland"), &asked).await;
        assert!(
            matches!(receipts, Ok(Response::Receipts(all)) if all.len() == 1),
            "{about}"
        );
    }
    // It is the client's own, and nobody reads where one only writes.
    let path = format!("/entente/status/{}/", status["id"].as_str().expect("an id"));
    other.get(&path).refused(404);
    analyst.get(out).refused(403);
    other.send("POST", out, body.as_bytes()).refused(404);
    analyst.send("POST", out, b"{").refused(422);

    // Amber sees all that is valid, byte for byte.
    let ids = sees(amber, "agreement-cyber", 5).await;
    assert!(!ids.contains(&BAD.to_owned()), "{ids:?}");
    assert_eq!(sees(origin, "originator-norland.example", 5).await.len(), 5);
    let got = amber.get(&format!(
        "/entente/collections/agreement-cyber/objects/{INDICATOR}/"
    ));
    assert!(got.body.contains(&indicator().to_string()), "{got:?}");

    // Green sees nothing of what is AMBER: no reference, no error, no count.
    assert_eq!(sees(green, "agreement-cyber", 1).await, [INDICATOR]);
    let at = "/entente/collections/agreement-cyber";
    let unknown = green.get(&format!(
        "{at}/objects/malware--00000000-0000-4000-8000-0000000000ff/"
    ));
    for hidden in [MALWARE, RELATIONSHIP, NOTE, REPORT] {
        for rest in ["", "versions/"] {
            let said = green.get(&format!("{at}/objects/{hidden}/{rest}"));
            said.refused(404);
            assert_eq!(said.body, unknown.body, "as one that never was");
        }
        let of = green.get(&format!(
            "{at}/manifest/?match[id]={hidden}&match[version]=all"
        ));
        assert_eq!(of.ok(), json!({}));
    }
    for path in [
        "objects/?match[version]=all",
        "objects/?limit=1",
        "manifest/",
        &format!("objects/{INDICATOR}/"),
    ] {
        let said = green.get(&format!("{at}/{path}"));
        assert_eq!(said.ok()["more"], false, "{path}");
        assert!(!said.body.contains("000000000002"), "{said:?}");
    }

    // Each has its own collections only.
    let listed = |caller: &Caller| -> Vec<String> {
        let all = caller.get("/entente/collections/").ok();
        let all = all["collections"].as_array().cloned().unwrap_or_default();
        all.iter()
            .map(|one| one["alias"].as_str().expect("an alias").to_owned())
            .collect()
    };
    assert_eq!(
        listed(amber),
        ["agreement-cyber", "originator-norland.example"]
    );
    assert_eq!(listed(green), ["agreement-cyber"]);
    assert_eq!(listed(origin), ["originator-norland.example"]);
    assert_eq!(listed(analyst), ["publish-cyber-out"]);
    assert_eq!(nothing.get("/entente/collections/").ok(), json!({}));
    // One of all collections is not told of those in which it sees nothing.
    assert_eq!(listed(clear), [""; 0]);
    clear
        .get("/entente/collections/originator-norland.example/")
        .refused(404);
    origin.get(&format!("{at}/objects/")).refused(404);
    nothing.get(&format!("{at}/objects/")).refused(404);
    amber
        .send("DELETE", &format!("{at}/objects/{INDICATOR}/"), b"")
        .refused(403);

    // The same again is published no second time; another content under the same version is refused.
    let again = analyst.send("POST", out, body.as_bytes()).json();
    let again = complete(analyst, &again).await;
    assert_eq!(again["success_count"], 5);
    let messages = |status: &Value| {
        let all = status["successes"].as_array().cloned().unwrap_or_default();
        let mut all: Vec<String> = all
            .iter()
            .map(|one| format!("{} {}", one["id"], one["message"]))
            .collect();
        all.sort();
        all
    };
    assert_eq!(messages(&again), messages(&status), "the same bulletins");
    let mut changed = indicator();
    changed["name"] = "other".into();
    let said = analyst.send(
        "POST",
        out,
        json!({"objects": [changed]}).to_string().as_bytes(),
    );
    assert_eq!(said.json()["failures"][0]["id"], INDICATOR, "{said:?}");

    // Places and statuses are kept when the nodes are killed.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    assert_eq!(complete(analyst, &accepted).await, status);
    let manifest = amber.get(&format!("{at}/manifest/")).ok();
    cluster
        .kill_node(&partner("estmark"))
        .await
        .expect("killed");
    start(&mut cluster, &["estmark"]).await;
    assert_eq!(sees(amber, "agreement-cyber", 5).await.len(), 5);
    assert_eq!(amber.get(&format!("{at}/manifest/")).ok(), manifest);

    // What its originator takes back is gone from every collection.
    let malware = successes
        .iter()
        .find(|one| one["id"] == MALWARE)
        .map(bulletin);
    let norland = cluster
        .layout()
        .node_config(&partner("norland"))
        .display()
        .to_string();
    let recall = [
        "recall",
        malware.expect("a bulletin"),
        "--reason",
        "wrong",
        "--config",
        &norland,
    ];
    let (code, said) = entente(&recall);
    assert_eq!(code, 0, "{said}");
    let ids = sees(amber, "agreement-cyber", 1).await;
    assert_eq!(ids, [INDICATOR], "what names it is gone with it");
    amber.get(&format!("{at}/objects/{MALWARE}/")).refused(404);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_serve_others_than_this_machine_without_tls() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let config = cluster.layout().node_config(&partner("norland"));
    let plain = fs::read_to_string(&config).expect("a configuration");
    for (more, word) in [
        ("listen = \"0.0.0.0:0\"", "certificate"),
        (
            "listen = \"127.0.0.1:0\"\ncertificate = \"x.pem\"",
            "go together",
        ),
        (
            "listen = \"127.0.0.1:0\"\n[[taxii.client]]\nname = \"a\"\ntlp = \"TLP:GREEN\"",
            "needs a `secret`",
        ),
        (
            "listen = \"127.0.0.1:0\"\n[[taxii.client]]\nname = \"a\"\nsecret = \"s\"\ntlp = \"TLP:GREEN\"\nwrite = [\"x\"]",
            "no [[taxii.publish]]",
        ),
        (
            "listen = \"127.0.0.1:0\"\n[[taxii.client]]\nname = \"a\"\nsecret = \"s\"\ntlp = \"TLP:GREEN\"\nread = [\"cyber\"]",
            "nothing to read",
        ),
        (
            "listen = \"127.0.0.1:0\"\n[[taxii.client]]\nname = \"a\"\nsecret = \"none\"\ntlp = \"TLP:GREEN\"",
            "none",
        ),
    ] {
        fs::write(&config, format!("{plain}\n[taxii]\n{more}\n")).expect("written");
        let (code, said) = entente(&["node", "run", "--config", &config.display().to_string()]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(word), "{word}: {said}");
    }
    // A secret that others can read is none.
    let (_, file) = token(scratch.path(), "exposed");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&file, mode).expect("set");
    let client = format!(
        "listen = \"127.0.0.1:0\"\n[[taxii.client]]\nname = \"a\"\nsecret = \"{}\"\ntlp = \"TLP:GREEN\"",
        file.display()
    );
    fs::write(&config, format!("{plain}\n[taxii]\n{client}\n")).expect("written");
    let (code, said) = entente(&["node", "run", "--config", &config.display().to_string()]);
    assert_eq!((code, said.contains("chmod 600")), (1, true), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_many_times_at_once_is_published_once() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let publish = "[[taxii.publish]]\nname = \"cyber-out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
                   [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let writers = serve(
        &cluster,
        "norland",
        &[("analyst", "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]")],
        publish,
    );
    let [analyst] = writers.as_slice() else {
        panic!("one")
    };
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let listening = until("a TAXII server", PATIENCE, || async {
        std::net::TcpStream::connect(analyst.address).ok()
    });
    listening.await.expect("it listens");
    let body = json!({"objects": [indicator()]}).to_string();
    let out = "/entente/collections/publish-cyber-out/objects/";
    let statuses: Vec<Value> = std::thread::scope(|scope| {
        let add = || analyst.send("POST", out, body.as_bytes()).json();
        let all: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
        let all = all.into_iter().map(|one| one.join().expect("an answer"));
        all.collect()
    });
    let mut bulletins = BTreeSet::new();
    for status in &statuses {
        let status = complete(analyst, status).await;
        assert_eq!(status["success_count"], 1, "{status}");
        bulletins.insert(bulletin(&status["successes"][0]).to_owned());
    }
    assert_eq!(bulletins.len(), 1, "{bulletins:?}");
    cluster.stop().await.expect("stopped");
}

/// A collection through which a client publishes.
fn through(name: &str, tlp: &str) -> String {
    format!(
        "[[taxii.publish]]\nname = \"{name}\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
         [\"cyber/malware\"]\ntlp = \"{tlp}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hides_or_replaces_what_another_publishes() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut cluster = prepared(&scratch, plan(&all)).await;
    let ways = through("green", "TLP:GREEN") + &through("amber", "TLP:AMBER");
    let writes = "tlp = \"TLP:RED\"\nwrite = [\"green\", \"amber\"]";
    let norland = serve(&cluster, "norland", &[("n", writes)], &ways).remove(0);
    let ostland = serve(&cluster, "ostland", &[("o", writes)], &ways).remove(0);
    let reads = "read = [\"agreement:cyber\", \"originator:ostland.example\"]";
    let green = format!("tlp = \"TLP:GREEN\"\n{reads}");
    let amber = format!("tlp = \"TLP:AMBER\"\n{reads}");
    let mut readers = serve(&cluster, "estmark", &[("g", &green), ("a", &amber)], "");
    let (amber, green) = (readers.remove(1), readers.remove(0));
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    for caller in [&norland, &ostland, &green] {
        let listening = until("a TAXII server", PATIENCE, || async {
            std::net::TcpStream::connect(caller.address).ok()
        });
        listening.await.expect("it listens");
    }
    let add = |caller: &Caller, way: &str, object: &Value| {
        let path = format!("/entente/collections/publish-{way}/objects/");
        let body = json!({"objects": [object]}).to_string();
        let said = caller.send("POST", &path, body.as_bytes()).json();
        assert_eq!(said["failure_count"], 0, "{said}");
    };
    let here = async |caller: &Caller, collection: &str, id: &str| {
        let asked = until("an object", PATIENCE, || async {
            let ids = caller.objects(collection);
            ids.iter().any(|one| one == id).then_some(())
        });
        asked.await.unwrap_or_else(|_| panic!("{id} is not there"));
    };

    // The marking that all that is GREEN bears, in a bulletin that is AMBER.
    let marking = json!({
        "type": "marking-definition", "spec_version": "2.1", "id": GREEN, "name": "TLP:GREEN",
        "created": "2022-10-01T00:00:00.000Z",
        "extensions": {"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": {
            "extension_type": "property-extension", "tlp_2_0": "green",
        }},
    });
    add(&norland, "amber", &marking);
    // And, above GREEN, an object that another names.
    let malware = object(
        MALWARE,
        AMBER,
        json!({"is_family": false, "name": "Gridfall"}),
    );
    add(&ostland, "amber", &malware);
    here(&amber, "agreement-cyber", GREEN).await;
    here(&amber, "agreement-cyber", MALWARE).await;
    let relationship = object(
        RELATIONSHIP,
        GREEN,
        json!({
            "relationship_type": "indicates", "source_ref": INDICATOR, "target_ref": MALWARE,
        }),
    );
    add(&norland, "green", &indicator());
    add(&norland, "green", &relationship);
    here(&green, "agreement-cyber", INDICATOR).await;
    here(&green, "agreement-cyber", RELATIONSHIP).await;
    assert!(
        !green
            .objects("agreement-cyber")
            .contains(&MALWARE.to_owned())
    );

    // Another's later version of it is another's, and stands where only its own do.
    let mut revoked = indicator();
    revoked["modified"] = "2026-02-01T00:00:00.000Z".into();
    revoked["revoked"] = true.into();
    add(&ostland, "green", &revoked);
    here(&green, "originator-ostland.example", INDICATOR).await;
    let path = format!("/entente/collections/agreement-cyber/objects/{INDICATOR}/");
    let shown = green.get(&format!("{path}?match[version]=all")).ok();
    assert_eq!(shown["objects"], json!([indicator()]));
    cluster.stop().await.expect("stopped");
}

const TYPED: &str = r#"
kinds = ["cyber"]
topics = ["cyber/malware"]
regions = ["EE"]
tlp = "TLP:GREEN"
precedence = "PRIORITY"
part = [
    { type = "domain", value = "c2.grid-portal.example" },
    { type = "ip", value = "198.51.100.7", tlp = "TLP:AMBER" },
    { type = "sighting", of = "198.51.100.7", count = 3, last = "2026-11-02T00:00:00Z" },
    { type = "narrative", title = "Two utilities", text = "Implants report to it." },
]
"#;

/// Publishes a bulletin from a file with the program; its id.
fn publish_file(cluster: &Cluster, scratch: &Scratch, of: &str, text: &str) -> String {
    let file = scratch.path().join("bulletin.toml");
    fs::write(&file, text).expect("written");
    let config = cluster.layout().node_config(&partner(of));
    let (file, config) = (file.display().to_string(), config.display().to_string());
    let (code, said) = entente(&["publish", &file, "--config", &config, "--json"]);
    assert_eq!(code, 0, "{said}");
    let id = said.split('"').find(|word| word.len() == 36);
    id.expect("an id").to_owned()
}

/// The objects of a collection by their types.
fn of_type(caller: &Caller, kind: &str) -> Vec<Value> {
    let said = caller.get("/entente/collections/agreement-cyber/objects/?limit=200");
    // Nothing came yet.
    if said.status == 404 {
        return Vec::new();
    }
    let all = said.ok();
    let all = all["objects"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["type"] == kind).collect()
}

async fn reports(caller: &Caller, count: usize) -> Vec<Value> {
    let asked = until("reports", PATIENCE, || async {
        let reports = of_type(caller, "report");
        (reports.len() == count).then_some(reports)
    });
    let reports = asked.await;
    reports.unwrap_or_else(|_| {
        let all = caller
            .get("/entente/collections/agreement-cyber/manifest/?limit=200&match[version]=all");
        panic!("it sees {all:?}")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_parts_are_served_as_objects_within_each_clients_markings() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let readers = serve(
        &cluster,
        "estmark",
        &[
            ("amber", "tlp = \"TLP:AMBER\"\nread = [\"*\"]"),
            ("green", "tlp = \"TLP:GREEN\"\nread = [\"*\"]"),
        ],
        "",
    );
    let [amber, green] = readers.as_slice() else {
        panic!("two")
    };
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let listening = until("a TAXII server", PATIENCE, || async {
        std::net::TcpStream::connect(green.address).ok()
    });
    listening.await.expect("it listens");
    let first = publish_file(&cluster, &scratch, "norland", TYPED);
    let at = "/entente/collections/agreement-cyber";

    // Amber: both indicators, the sighting, and a report that holds exactly what is there.
    let held = reports(amber, 1).await.remove(0);
    assert_eq!(of_type(amber, "indicator").len(), 2);
    let sighting = of_type(amber, "sighting").remove(0);
    let indicators = of_type(amber, "indicator");
    assert!(
        indicators
            .iter()
            .any(|one| one["id"] == sighting["sighting_of_ref"])
    );
    let ids = amber.objects("agreement-cyber");
    for id in held["object_refs"].as_array().expect("a list") {
        assert!(ids.iter().any(|one| id == one), "{id} is not there");
    }
    assert_eq!(held["name"], "Two utilities");

    // Green: nothing of the address, of its level, of what names it, or of how much that is.
    let shown = reports(green, 1).await.remove(0);
    assert_ne!(shown["id"], held["id"], "another object");
    let everything = green.get(&format!("{at}/objects/?match[version]=all&limit=200"));
    let hidden = [indicators[1]["id"].as_str(), sighting["id"].as_str()];
    let hidden = hidden.into_iter().chain([held["id"].as_str(), Some(AMBER)]);
    for hidden in hidden.map(|id| id.expect("an id")) {
        assert!(!everything.body.contains(hidden), "{hidden}");
        green.get(&format!("{at}/objects/{hidden}/")).refused(404);
        let of = green.get(&format!("{at}/manifest/?match[id]={hidden}"));
        assert_eq!(of.ok(), json!({}));
    }
    assert!(!everything.body.contains("198.51.100.7"), "{everything:?}");
    assert!(of_type(green, "sighting").is_empty());
    let ids = green.objects("agreement-cyber");
    let refs = shown["object_refs"].as_array().expect("a list");
    for id in refs {
        assert!(ids.iter().any(|one| id == one), "{id} is not there");
    }
    assert_eq!(
        refs.len(),
        3,
        "the domain, the course of it, the place: {shown}"
    );

    // Who said it, and where, is one object for all bulletins.
    let second = TYPED.replace("c2.grid", "c3.grid");
    let second = publish_file(&cluster, &scratch, "norland", &second);
    assert_eq!(reports(green, 2).await.len(), 2);
    for kind in ["identity", "location"] {
        let versions = of_type(green, kind);
        assert_eq!(versions.len(), 1, "{versions:?}");
    }

    // A recall takes its objects, its report and nothing else.
    let config = cluster.layout().node_config(&partner("norland"));
    let config = config.display().to_string();
    let recall = ["recall", &second, "--reason", "wrong", "--config", &config];
    let (code, said) = entente(&recall);
    assert_eq!(code, 0, "{said}");
    let left = reports(green, 1).await;
    assert_eq!(left, [shown]);
    assert!(left[0].to_string().contains(&first));
    assert_eq!(of_type(green, "indicator").len(), 1);
    cluster.stop().await.expect("stopped");
}

const SECOND: &str = "indicator--00000000-0000-4000-8000-000000000007";
const RELATED: &str = "indicator--00000000-0000-4000-8000-000000000008";

/// An indicator in the version of this day of January.
fn version(id: &str, day: u8, more: &Value) -> Value {
    let mut object = indicator();
    object["id"] = id.into();
    object["modified"] = format!("2026-01-{day}T09:30:00.000Z").into();
    for (name, value) in more.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// Adds objects; the bulletins that they are in, when all are in the log.
async fn add(caller: &Caller, objects: &[Value]) -> BTreeSet<String> {
    let body = json!({"objects": objects}).to_string();
    let path = "/entente/collections/publish-cyber-out/objects/";
    let said = caller.send("POST", path, body.as_bytes());
    assert_eq!(said.status, 202, "{said:?}");
    let status = complete(caller, &said.json()).await;
    assert_eq!(status["failure_count"], 0, "{status}");
    let successes = status["successes"].as_array().expect("a list");
    assert_eq!(successes.len(), objects.len());
    successes
        .iter()
        .map(|one| bulletin(one).to_owned())
        .collect()
}

/// What became of a bulletin that estmark received.
async fn marked(cluster: &Cluster, id: &str, relation: &str) {
    let asked = until("a mark", PATIENCE, || async {
        let id = id.parse().expect("an id");
        let (estmark, asked) = (partner("estmark"), Command::Item { id });
        let Ok(Response::Item(item)) = cluster.ask_node(&estmark, &asked).await else {
            return None;
        };
        let mark = serde_json::to_value(item.mark?).expect("JSON");
        (mark["relation"] == relation).then_some(())
    });
    asked.await.expect(relation);
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_versions_supersede_what_they_replace_and_revoked_ones_take_it_back() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let publish = "[[taxii.publish]]\nname = \"cyber-out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
                   [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let analyst = ("analyst", "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]");
    let writers = serve(&cluster, "norland", &[analyst], publish);
    let reader = ("green", "tlp = \"TLP:GREEN\"\nread = [\"agreement:cyber\"]");
    let readers = serve(&cluster, "estmark", &[reader], "");
    let (analyst, green) = (&writers[0], &readers[0]);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let listening = until("TAXII servers", PATIENCE, || async {
        let open = |one: &Caller| std::net::TcpStream::connect(one.address).ok();
        open(green).and_then(|_| open(analyst))
    });
    listening.await.expect("they listen");
    let as_it_was = json!({});
    let both = [
        version(INDICATOR, 15, &as_it_was),
        version(SECOND, 15, &as_it_was),
    ];
    let first = add(analyst, &both).await;
    let [first] = first.iter().collect::<Vec<_>>()[..] else {
        panic!("one")
    };

    // The same again is in the same bulletin, also after the node was killed.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    let again = until("a TAXII server", PATIENCE, || async {
        std::net::TcpStream::connect(analyst.address).ok()
    });
    again.await.expect("it listens");
    assert_eq!(add(analyst, &both).await, BTreeSet::from([first.clone()]));

    // A newer version of one stands beside: the other object of the bulletin still holds.
    let alone = add(analyst, &[version(INDICATOR, 16, &as_it_was)]).await;
    assert!(!alone.contains(first));

    // Newer versions of all of it take its place, and what did not change goes along.
    let newer = [
        version(INDICATOR, 17, &as_it_was),
        version(SECOND, 15, &as_it_was),
    ];
    let second = add(analyst, &newer).await;
    assert_eq!(second.len(), 1);
    marked(&cluster, first, "supersedes").await;
    marked(&cluster, alone.first().expect("one"), "supersedes").await;
    assert_eq!(add(analyst, &newer).await, second, "the same again");
    assert_eq!(
        add(analyst, &both[..1]).await,
        BTreeSet::from([first.clone()]),
        "nor is what was replaced published again"
    );

    // All revoked: every bulletin with them is taken back, and only that they are revoked is left.
    let revoked = json!({"revoked": true});
    let last = [
        version(INDICATOR, 18, &revoked),
        version(SECOND, 18, &revoked),
    ];
    let third = add(analyst, &last).await;
    for id in [
        first,
        alone.first().expect("one"),
        second.first().expect("one"),
    ] {
        marked(&cluster, id, "retracts").await;
    }
    let at = "/entente/collections/agreement-cyber/objects";
    for id in [INDICATOR, SECOND] {
        let asked = until("revoked only", PATIENCE, || async {
            let said = green.get(&format!("{at}/{id}/?match[version]=all"));
            let all = (said.status == 200).then(|| said.ok())?;
            let all = all["objects"].as_array().cloned().unwrap_or_default();
            (all.len() == 1 && all[0]["revoked"] == true).then_some(())
        });
        asked.await.expect("it is revoked");
    }
    assert_eq!(third.len(), 1);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_notice_is_lost_while_others_add_elsewhere() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let publish = through("cyber-out", "TLP:GREEN") + &through("cyber-more", "TLP:GREEN");
    let writes = "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\", \"cyber-more\"]";
    let writers = serve(&cluster, "norland", &[("analyst", writes)], &publish);
    let analyst = &writers[0];
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let listening = until("a TAXII server", PATIENCE, || async {
        std::net::TcpStream::connect(analyst.address).ok()
    });
    listening.await.expect("it listens");
    let post = |collection: &str, object: Value| {
        let body = json!({"objects": [object]}).to_string();
        let path = format!("/entente/collections/publish-{collection}/objects/");
        let said = analyst.send("POST", &path, body.as_bytes());
        assert_eq!(said.status, 202, "{said:?}");
        said.json()
    };
    // One collection gets newer and newer versions of an object, another one new ones all the time.
    let ended = AtomicBool::new(false);
    let statuses: Vec<Value> = std::thread::scope(|scope| {
        for writer in 0..3_u32 {
            let (post, ended) = (&post, &ended);
            scope.spawn(move || {
                for number in 0_u32.. {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("indicator--0000000{writer}-0000-4000-8000-{number:012}");
                    post("cyber-more", version(&id, 15, &json!({})));
                }
            });
        }
        let versions = (15..27).map(|day| post("cyber-out", version(INDICATOR, day, &json!({}))));
        let statuses = versions.collect();
        ended.store(true, Ordering::Relaxed);
        statuses
    });
    let mut bulletins = Vec::new();
    for status in &statuses {
        let status = complete(analyst, status).await;
        bulletins.push(bulletin(&status["successes"][0]).to_owned());
    }
    for id in &bulletins[..bulletins.len() - 1] {
        marked(&cluster, id, "supersedes").await;
    }
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_takes_the_place_of_nothing() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let publish = "[[taxii.publish]]\nname = \"cyber-out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
                   [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let analyst = ("analyst", "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]");
    let writers = serve(&cluster, "norland", &[analyst], publish);
    let analyst = &writers[0];
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let listening = || async { std::net::TcpStream::connect(analyst.address).ok() };
    let listens = until("a TAXII server", PATIENCE, listening).await;
    listens.expect("it listens");
    let as_it_was = json!({});
    let first = add(analyst, &[version(INDICATOR, 15, &as_it_was)]).await;

    // The node signs with a key that is no longer its partner's.
    rotate_at_once(&cluster, "norland");
    let path = "/entente/collections/publish-cyber-out/objects/";
    let newer = json!({"objects": [version(INDICATOR, 16, &as_it_was)]});
    let said = analyst.send("POST", path, newer.to_string().as_bytes());
    let status = complete(analyst, &said.json()).await;
    assert_eq!(status["failure_count"], 1, "{status}");
    // Nor by the next request, nor by the node when it starts again, with its new key.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    let listens = until("a TAXII server", PATIENCE, listening).await;
    listens.expect("it listens");
    add(analyst, &[version(SECOND, 15, &as_it_was)]).await;
    assert_eq!(given(&cluster, "norland").await, 0);
    // Added again it goes, and takes the place of the first.
    add(analyst, &[version(INDICATOR, 16, &as_it_was)]).await;
    marked(&cluster, first.first().expect("one"), "supersedes").await;
    assert_eq!(given(&cluster, "norland").await, 1);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_superseded_is_shown_by_the_rules_of_versions() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let writes = "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]";
    let ways = through("cyber-out", "TLP:GREEN");
    let analyst = serve(&cluster, "norland", &[("analyst", writes)], &ways).remove(0);
    let reads = "tlp = \"TLP:GREEN\"\nread = [\"agreement:cyber\"]";
    let green = serve(&cluster, "estmark", &[("green", reads)], "").remove(0);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    exchange::listening(&[&analyst, &green]).await;

    // Ours: the last version says that it is revoked, and who asks for what is new is given that.
    let first = publish_file(&cluster, &scratch, "norland", TYPED);
    reports(&green, 1).await;
    let indicators = of_type(&green, "indicator");
    let [old] = &indicators[..] else {
        panic!("one: {indicators:?}")
    };
    let at = "/entente/collections/agreement-cyber";
    let all = green.get(&format!("{at}/manifest/?limit=200"));
    let until_then = all
        .header("x-taxii-date-added-last")
        .expect("a date")
        .to_owned();
    let newer = scratch.path().join("newer.toml");
    fs::write(&newer, TYPED.replace("c2.grid", "c3.grid")).expect("written");
    let config = cluster.layout().node_config(&partner("norland"));
    let (code, said) = entente(&[
        "supersede",
        &first,
        &newer.display().to_string(),
        "--reason",
        "it moved",
        "--config",
        &config.display().to_string(),
    ]);
    assert_eq!(code, 0, "{said}");
    let id = old["id"].as_str().expect("an id");
    let versions = until("a revoked version", PATIENCE, || async {
        let said = green
            .get(&format!("{at}/objects/{id}/?match[version]=all"))
            .ok();
        let all = said["objects"].as_array().cloned().unwrap_or_default();
        (all.len() == 2).then_some(all)
    });
    let versions = versions.await.expect("two versions");
    assert_eq!(&versions[0], old);
    assert_eq!(versions[1]["revoked"], true);
    assert!(versions[1]["modified"].as_str() > old["modified"].as_str());
    let last = green.get(&format!("{at}/objects/{id}/")).ok();
    assert_eq!(last["objects"], json!([versions[1]]));
    let since = green
        .get(&format!("{at}/objects/?added_after={until_then}&limit=200"))
        .ok();
    let since = since["objects"].as_array().expect("objects");
    assert!(since.contains(&versions[1]), "{since:?}");
    let holding = |kind: &str| {
        let all = of_type(&green, kind).into_iter();
        all.filter(|one| one["revoked"] != true).count()
    };
    assert_eq!((holding("indicator"), holding("report")), (1, 1));

    // As they came: an older version stands beside the newer one, and what has none is shown no more.
    let as_it_was = json!({});
    let both = [
        version(INDICATOR, 15, &as_it_was),
        version(SECOND, 15, &as_it_was),
    ];
    let old = add(&analyst, &both).await;
    let old = old.first().expect("one");
    let newer = [
        version(INDICATOR, 17, &as_it_was),
        version(SECOND, 15, &as_it_was),
    ];
    add(&analyst, &newer).await;
    marked(&cluster, old, "supersedes").await;
    let versions_of = |id: &str| {
        let said = green.get(&format!("{at}/objects/{id}/?match[version]=all"));
        let all = (said.status == 200).then(|| said.ok());
        all.and_then(|all| all["objects"].as_array().map(Vec::len))
    };
    let shown = until("both versions", PATIENCE, || async {
        (versions_of(INDICATOR) == Some(2) && versions_of(SECOND).is_some()).then_some(())
    });
    shown.await.expect("both versions");
    let config = config.display().to_string();
    let last = add(&analyst, &[version(RELATED, 15, &as_it_was)]).await;
    let there = until("an indicator", PATIENCE, || async {
        (versions_of(RELATED) == Some(1)).then_some(())
    });
    there.await.expect("it is there");
    let other = scratch.path().join("newer.toml").display().to_string();
    let id = last.first().expect("one");
    let supersede = [
        "supersede",
        id,
        &other,
        "--reason",
        "x",
        "--config",
        &config,
    ];
    assert_eq!(entente(&supersede).0, 0);
    let gone = until("nothing", PATIENCE, || async {
        versions_of(RELATED).is_none().then_some(())
    });
    gone.await.expect("it is shown no more");
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_object_of_very_many_versions_the_last_256_are_shown() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let writes = "tlp = \"TLP:RED\"\nwrite = [\"cyber-out\"]";
    let ways = through("cyber-out", "TLP:GREEN");
    let analyst = serve(&cluster, "norland", &[("analyst", writes)], &ways).remove(0);
    let reads = "tlp = \"TLP:GREEN\"\nread = [\"agreement:cyber\"]";
    let green = serve(&cluster, "estmark", &[("green", reads)], "").remove(0);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    exchange::listening(&[&analyst, &green]).await;
    let versions: Vec<Value> = (0..260)
        .map(|number| {
            let mut one = indicator();
            one["modified"] =
                format!("2026-02-01T09:{:02}:{:02}.000Z", number / 60, number % 60).into();
            one
        })
        .collect();
    // The parts of one bulletin come in no order: the first four come before.
    add(&analyst, &versions[..4]).await;
    add(&analyst, &versions[4..]).await;
    let shown = |number: usize| {
        let version = versions[number]["modified"].as_str().expect("a time");
        let at = "/entente/collections/agreement-cyber/objects";
        let said = green.get(&format!("{at}/{INDICATOR}/?match[version]={version}"));
        said.status == 200 && said.json()["objects"].is_array()
    };
    let last = until("all versions", PATIENCE, || async {
        shown(259).then_some(())
    });
    last.await.expect("the last one");
    assert!(
        !shown(0) && !shown(3),
        "those before are as if they had gone"
    );
    assert!(shown(4) && shown(100));
    cluster.stop().await.expect("stopped");
}
