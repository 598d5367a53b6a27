//! A node polls another TAXII server and publishes what is new there: all of it, and nothing twice, whatever
//! is killed. Real processes, real disk; the other server is in this process.

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/taxii.rs"]
mod taxii;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use alliance::{PATIENCE, configure, entente, partner, plan, prepared, start};
use entente::bulletin::Content;
use entente::clock::SystemClock;
use entente::deployment::until;
use entente::testing::{Cluster, Scratch};
use serde_json::{Value, json};
use taxii::{Server, TAXII};

const COLLECTION: &str = "1b4f1f39-1b3a-4b6e-9f0e-3d5f1f7b1a01";

fn domain(number: usize) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1",
        "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created": "2026-01-15T09:30:00.000Z", "modified": "2026-01-15T09:30:00.000Z",
        "pattern": format!("[domain-name:value = 'n{number}.example']"), "pattern_type": "stix",
        "valid_from": "2026-01-15T09:30:00Z",
    })
}

/// Twelve objects, of which each three were added at the same moment: pages of five end between such.
fn data() -> String {
    let objects: Vec<Value> = (0..12).map(domain).collect();
    let record = |(at, object): (usize, &Value)| {
        json!({
            "id": object["id"], "version": object["modified"], "media_type": "application/stix+json;version=2.1",
            "date_added": format!("2026-01-15T10:00:{:02}.000000Z", at / 3),
        })
    };
    let manifest: Vec<Value> = objects.iter().enumerate().map(record).collect();
    json!({
        "/discovery": {"title": "lab"},
        "lab": {
            "information": {"title": "Lab", "versions": [TAXII], "max_content_length": 100_000},
            "collections": [{
                "id": COLLECTION, "title": "1", "can_read": true, "can_write": true,
                "objects": objects, "manifest": manifest,
            }],
        },
    })
    .to_string()
}

/// The objects that a partner received, each as often as it did.
async fn received(cluster: &Cluster, of: &str) -> Vec<Value> {
    let inbox = cluster.inbox(&partner(of)).await.expect("an inbox");
    let parts = inbox.into_iter().flat_map(|item| item.parts);
    let json = parts.filter_map(|part| match part.content {
        Some(Content::Stix(stix)) => Some(serde_json::from_str(&stix.json).expect("JSON")),
        _ => None,
    });
    json.collect()
}

async fn receives(cluster: &Cluster, expected: &[Value]) {
    let found = until("what was polled", PATIENCE, || async {
        let found = received(cluster, "estmark").await;
        (found.len() >= expected.len()).then_some(found)
    });
    let found = found.await.expect("it arrives");
    let texts = |all: &[Value]| -> BTreeSet<String> { all.iter().map(Value::to_string).collect() };
    assert_eq!(texts(&found), texts(expected));
    assert_eq!(found.len(), expected.len(), "nothing came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_at_a_polled_server_is_published_once_whatever_is_killed() {
    let server = tokio::task::spawn_blocking(|| Server::of(&data(), Arc::new(SystemClock), 5));
    let server = server.await.expect("a server");
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let secret = scratch.path().join("lab.secret");
    fs::write(&secret, "basic admin:Password0\n").expect("written");
    let config = cluster.layout().node_config(&partner("norland"));
    let poll = format!(
        "\n[[poll]]\nname = \"lab\"\nurl = \"http://{}/lab/collections/{COLLECTION}/\"\nevery = 1\nsecret = \
         \"{}\"\n[poll.labels]\nkinds = [\"cyber\"]\ntopics = [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n",
        server.address,
        secret.display()
    );
    let plain = fs::read_to_string(&config).expect("a configuration");
    configure(&config, "", &poll);

    // A secret that others can read is none, and a password never goes out without TLS.
    let run = || entente(&["node", "run", "--config", &config.display().to_string()]);
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).expect("set");
    let (code, said) = run();
    assert_eq!((code, said.contains("chmod 600")), (1, true), "{said}");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("set");
    let elsewhere = poll.replace(&server.address.to_string(), "taxii.example");
    fs::write(&config, format!("{plain}{elsewhere}")).expect("written");
    let (code, said) = run();
    assert_eq!((code, said.contains("https")), (1, true), "{said}");
    fs::write(&config, format!("{plain}{poll}")).expect("written");

    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let mut expected: Vec<Value> = (0..12).map(domain).collect();
    receives(&cluster, &expected).await;

    // What is added later, with a new version of what was there, and the same again.
    let mut renewed = domain(3);
    renewed["modified"] = "2026-01-16T09:30:00.000Z".into();
    let add = |objects: &[Value]| {
        let path = format!("/lab/collections/{COLLECTION}/objects/");
        let body = json!({ "objects": objects }).to_string();
        assert_eq!(server.post(&path, body.as_bytes()).status, 202);
    };
    add(&[domain(12), renewed.clone(), domain(0)]);
    expected.extend([domain(12), renewed]);
    receives(&cluster, &expected).await;

    // Killed and started again, it goes on where it was.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    add(&[domain(13)]);
    start(&mut cluster, &["norland"]).await;
    expected.push(domain(13));
    receives(&cluster, &expected).await;
    add(&[domain(14)]);
    expected.push(domain(14));
    receives(&cluster, &expected).await;

    // What is invalid is said once, though the last that was added is shown again by every look, and by the
    // first one after a restart.
    let invalid = |number: usize| {
        let mut invalid = domain(number);
        invalid
            .as_object_mut()
            .expect("an object")
            .remove("pattern");
        invalid
    };
    for number in [15, 17, 19] {
        add(&[domain(number), invalid(number + 1)]);
        expected.push(domain(number));
        receives(&cluster, &expected).await;
    }
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    add(&[domain(21)]);
    expected.push(domain(21));
    receives(&cluster, &expected).await;
    let log = config.with_file_name("node.log");
    let log = fs::read_to_string(&log).expect("a log");
    for number in [16, 18, 20] {
        let id = invalid(number)["id"].as_str().expect("an id").to_owned();
        let said = log.lines().filter(|line| line.contains(&id)).count();
        assert_eq!(said, 1, "{id} in {log}");
    }
    cluster.stop().await.expect("stopped");
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .expect("stopped");
}

/// Objects that this partner published, in both ways, or that were made of its bulletins: at a server that has them
/// from somewhere else.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_of_its_own_is_not_published_again() {
    let server = tokio::task::spawn_blocking(|| Server::of(&data(), Arc::new(SystemClock), 50));
    let server = server.await.expect("a server");
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let config = cluster.layout().node_config(&partner("norland"));
    let publish = |more: &[&str]| {
        let (code, said) =
            entente(&[&["publish", "-c", &config.display().to_string()], more].concat());
        assert_eq!(code, 0, "{said}");
    };
    // One by the command, as STIX; one of typed parts, which become objects elsewhere.
    let bundle = scratch.path().join("bundle.json");
    let text = json!({"type": "bundle", "id": "bundle--1f2cb4d8-06cb-4a2b-8f6a-2d4a0b4a1c11",
                      "objects": [domain(30), domain(31)]});
    fs::write(&bundle, text.to_string()).expect("written");
    publish(&["--stix", &bundle.display().to_string()]);
    let typed = scratch.path().join("typed.toml");
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \"domain\"\nvalue = \
                \"typed.example\"\ncontext = { first_seen = \"2026-11-01T00:00:00Z\" }\n";
    fs::write(&typed, text).expect("written");
    publish(&[&typed.display().to_string()]);
    let estmark = cluster
        .layout()
        .node_config(&partner("estmark"))
        .display()
        .to_string();
    let exported = scratch.path().join("exported.json");
    let back = until("what was published", PATIENCE, || async {
        let out = exported.display().to_string();
        let (code, said) = entente(&["export", "stix", "--out", &out, "-c", &estmark]);
        assert_eq!(code, 0, "{said}");
        let bundle = fs::read_to_string(&exported).expect("a bundle");
        let bundle: Value = serde_json::from_str(&bundle).expect("JSON");
        let objects = bundle["objects"].as_array().cloned().unwrap_or_default();
        let has = |what: &str| objects.iter().any(|one| one["type"] == what);
        (has("report") && objects.len() > 6).then_some(objects)
    });
    let back = back.await.expect("it arrives");
    assert!(
        back.iter().any(|one| one["type"] == "domain-name"),
        "{back:?}"
    );
    let before = received(&cluster, "estmark").await;
    assert_eq!(before.len(), 2);

    let path = format!("/lab/collections/{COLLECTION}/objects/");
    // As another server writes them: their texts are not the same any more.
    let mut changed = domain(30);
    changed["labels"] = json!(["seen-elsewhere"]);
    let mut objects = back.clone();
    objects.retain(|one| one["id"] != changed["id"]);
    objects.push(changed);
    // And one that is somebody else's, the last.
    objects.push(domain(32));
    let body = json!({ "objects": objects }).to_string();
    assert_eq!(server.post(&path, body.as_bytes()).status, 202);
    let poll = format!(
        "\n[[poll]]\nname = \"lab\"\nurl = \"http://{}{}\"\nevery = 1\n[poll.labels]\nkinds = [\"cyber\"]\ntopics = \
         [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n",
        server.address,
        path.trim_end_matches("objects/")
    );
    let secret = scratch.path().join("lab.secret");
    fs::write(&secret, "basic admin:Password0\n").expect("written");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("set");
    let poll = poll.replace(
        "every = 1",
        &format!("every = 1\nsecret = \"{}\"", secret.display()),
    );
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    configure(&config, "", &poll);
    start(&mut cluster, &["norland"]).await;
    let mut expected: Vec<Value> = (0..12).map(domain).collect();
    expected.extend([domain(30), domain(31), domain(32)]);
    receives(&cluster, &expected).await;
    cluster.stop().await.expect("stopped");
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .expect("stopped");
}
