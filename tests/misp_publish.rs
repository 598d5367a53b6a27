//! `entente publish --misp` knows what it made of an event before: what changed takes its place, what was deleted
//! is taken back, what is as it was is not published again, and of a feed only what is new. Real processes.

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alliance::{PATIENCE, entente, given, partner, plan, prepared, rotate_at_once, settled, start};
use entente::bulletin::{Content, Relation};
use entente::deployment::until;
use entente::node::{Command, ItemView, Response};
use entente::testing::{Cluster, Scratch};
use entente::transport::{LocalListener, Trouble, ask};
use serde_json::{Value, json};

fn event(number: u8, timestamp: u64, attributes: &[(&str, bool)]) -> Value {
    let attribute = |(value, deleted): &(&str, bool)| {
        json!({"type": "domain", "category": "Network activity", "value": value, "to_ids": true,
               "deleted": deleted})
    };
    let attributes: Vec<Value> = attributes.iter().map(attribute).collect();
    json!({"Event": {
        "uuid": format!("b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a{number:02}"), "info": format!("Campaign {number}"),
        "date": "2026-01-15", "timestamp": timestamp.to_string(), "threat_level_id": "2", "analysis": "2",
        "distribution": "3", "Tag": [{"name": "tlp:green"}], "Attribute": attributes,
    }})
}

/// Publishes with the program, and says what it said.
fn publish(cluster: &Cluster, path: &Path) -> (i32, Value) {
    publish_at(
        &cluster.layout().node_config(&partner("norland")),
        path,
        &[],
    )
}

fn publish_at(config: &Path, path: &Path, more: &[&str]) -> (i32, Value) {
    let (path, config) = (path.display().to_string(), config.display().to_string());
    let all = ["publish", "--misp", &path, "-c", &config, "--json"];
    let (code, said) = entente(&[&all[..], more].concat());
    // An error stands after it.
    let mut values = serde_json::Deserializer::from_str(&said).into_iter();
    let value = values.next().and_then(Result::ok);
    (code, value.unwrap_or_else(|| panic!("{said}")))
}

fn counts(said: &Value) -> [u64; 3] {
    let refused = said["refused"].as_array().map_or(0, |all| all.len() as u64);
    let count = |name: &str| said[name].as_u64().expect("a number");
    [count("published"), count("unchanged"), refused]
}

async fn received(cluster: &Cluster) -> Vec<ItemView> {
    let asked = Command::Inbox {
        after: 0,
        limit: 200,
    };
    match cluster.ask_node(&partner("estmark"), &asked).await {
        Ok(Response::Items(items)) => items,
        other => panic!("no inbox: {other:?}"),
    }
}

/// The domains of bulletins that hold: neither superseded nor taken back.
fn holding(items: &[ItemView]) -> Vec<String> {
    let ended = |item: &&ItemView| {
        let relation = item.mark.as_ref().map(|mark| mark.relation);
        matches!(relation, Some(Relation::Supersedes | Relation::Retracts))
    };
    let parts = items
        .iter()
        .filter(|item| !ended(item))
        .flat_map(|item| &item.parts);
    let mut found: Vec<String> = parts
        .filter_map(|part| match &part.content {
            Some(Content::Domain(one)) => Some(one.value.to_string()),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

async fn hold(cluster: &Cluster, expected: &[&str]) {
    let there = until("what holds", PATIENCE, || async {
        (holding(&received(cluster).await) == expected).then_some(())
    });
    let there = there.await;
    assert!(
        there.is_ok(),
        "{:?} instead of {expected:?}",
        holding(&received(cluster).await)
    );
}

async fn alliance(scratch: &Scratch) -> Cluster {
    let mut cluster = prepared(scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_state_of_an_event_takes_the_place_of_what_was_published() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = alliance(&scratch).await;
    let path = scratch.path().join("event.json");
    let publish_state = |timestamp, attributes: &[(&str, bool)]| {
        fs::write(&path, event(1, timestamp, attributes).to_string()).expect("written");
        let (_, said) = publish(&cluster, &path);
        counts(&said)
    };
    let two = [("a.example", false), ("b.example", false)];
    assert_eq!(publish_state(100, &two), [1, 0, 0]);
    hold(&cluster, &["a.example", "b.example"]).await;
    assert_eq!(publish_state(100, &two), [0, 1, 0], "as it was");
    assert_eq!(publish_state(101, &two), [0, 1, 0], "only its time changed");

    let one_deleted = [
        ("a.example", true),
        ("b.example", false),
        ("c.example", false),
    ];
    assert_eq!(publish_state(102, &one_deleted), [1, 0, 0]);
    hold(&cluster, &["b.example", "c.example"]).await;
    assert_eq!(
        publish_state(100, &two),
        [0, 0, 1],
        "an older state is left out"
    );
    hold(&cluster, &["b.example", "c.example"]).await;

    // The node was killed meanwhile: it knows what it published.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    let publish_state = |timestamp, attributes: &[(&str, bool)]| {
        fs::write(&path, event(1, timestamp, attributes).to_string()).expect("written");
        let (_, said) = publish(&cluster, &path);
        counts(&said)
    };
    assert_eq!(publish_state(102, &one_deleted), [0, 1, 0]);
    let all_deleted = [
        ("a.example", true),
        ("b.example", true),
        ("c.example", true),
    ];
    assert_eq!(publish_state(103, &all_deleted), [1, 0, 0]);
    hold(&cluster, &[]).await;
    let items = received(&cluster).await;
    let relations: Vec<_> = items
        .iter()
        .filter_map(|item| item.mark.as_ref().map(|mark| mark.relation))
        .collect();
    assert_eq!(relations, [Relation::Supersedes, Relation::Retracts]);
    assert_eq!(publish_state(103, &all_deleted), [0, 1, 0]);
    cluster.stop().await.expect("stopped");
}

/// A socket before the node's own that answers the first notice as a store would that fails, and passes
/// everything else on; the configuration of a node behind it.
fn failing_once(cluster: &Cluster, scratch: &Scratch) -> PathBuf {
    let control = cluster.layout().node_control(&partner("norland"));
    let before = scratch.path().join("failing.sock");
    let listener = LocalListener::bind(&before).expect("a socket");
    let (failed, node) = (Arc::new(AtomicBool::new(false)), control.clone());
    tokio::spawn(listener.serve(move |asked: Value| {
        let (failed, node) = (Arc::clone(&failed), node.clone());
        async move {
            if asked["command"] == "notice" && !failed.swap(true, Ordering::Relaxed) {
                let trouble = Trouble::new("store", "the disk did not answer");
                return serde_json::to_value(Response::Error(trouble)).expect("JSON");
            }
            ask::<_, Value>(&node, &asked).await.expect("an answer")
        }
    }));
    let config = cluster.layout().node_config(&partner("norland"));
    let text = fs::read_to_string(&config).expect("a configuration");
    let line = |line: &str| {
        let control = line.starts_with("control");
        if control {
            format!("control = \"{}\"\n", before.display())
        } else {
            format!("{line}\n")
        }
    };
    let text: String = text.lines().map(line).collect();
    assert!(text.contains("failing.sock"), "{text}");
    let path = config.with_file_name("failing.toml");
    fs::write(&path, text).expect("written");
    path
}

async fn noted(cluster: &Cluster, name: &str) -> Value {
    let names = vec![name.to_owned()];
    let asked = cluster
        .ask_node(&partner("norland"), &Command::Noted { names })
        .await;
    let Ok(Response::Noted(notes)) = asked else {
        panic!("{asked:?}");
    };
    serde_json::from_str(notes[0].as_deref().expect("a note")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_could_not_be_given_is_given_later_and_once() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = alliance(&scratch).await;
    let path = scratch.path().join("event.json");
    let state = |timestamp, attributes: &[(&str, bool)]| {
        fs::write(&path, event(1, timestamp, attributes).to_string()).expect("written");
    };
    state(100, &[("a.example", false)]);
    assert_eq!(counts(&publish(&cluster, &path).1), [1, 0, 0]);
    hold(&cluster, &["a.example"]).await;
    // The node cannot give the notice just now: that is said, and done by the next run.
    state(101, &[("b.example", false)]);
    let config = failing_once(&cluster, &scratch);
    let (code, said) = publish_at(&config, &path, &[]);
    assert_eq!((code, &said["owing"]), (1, &json!(1)), "{said}");
    assert_eq!(given(&cluster, "norland").await, 0);
    let name = "misp/b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a01";
    let owing = noted(&cluster, name).await;
    let (code, said) = publish_at(&config, &path, &[]);
    assert_eq!((code, counts(&said)), (0, [0, 1, 0]), "{said}");
    hold(&cluster, &["b.example"]).await;
    assert_eq!(given(&cluster, "norland").await, 1);
    // It was killed after the notice, before it noted that it was given.
    let notes = vec![(name.to_owned(), owing.to_string())];
    let restored = cluster
        .ask_node(&partner("norland"), &Command::Note { notes })
        .await;
    restored.expect("noted");
    assert_eq!(counts(&publish(&cluster, &path).1), [0, 1, 0]);
    assert_eq!(
        given(&cluster, "norland").await,
        1,
        "it is the same bulletin"
    );
    let after = noted(&cluster, name).await;
    assert_eq!(after["owed"], Value::Null, "{after}");
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refused_is_published_again_when_something_changed() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = alliance(&scratch).await;
    rotate_at_once(&cluster, "norland");
    let feed = scratch.path().join("feed");
    let first = event(1, 100, &[("a.example", false)]);
    write_feed(&feed, std::slice::from_ref(&first));
    let (code, said) = publish(&cluster, &feed);
    assert_eq!((code, counts(&said)), (1, [1, 0, 0]), "{said}");
    assert_eq!(said["bulletins"][0]["state"], "rejected", "{said}");

    // Nothing changed: it is said, with the reason, and nothing goes.
    let config = cluster.layout().node_config(&partner("norland"));
    let file = feed.join("b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a01.json");
    for path in [&feed, &file] {
        let (_, said) = publish(&cluster, path);
        assert_eq!(counts(&said), [0, 0, 1], "{said}");
        let reason = said["refused"][0]["reason"].as_str().expect("a reason");
        assert!(reason.contains("unknown_key"), "{reason}");
    }
    // It has the new key now: on request, it goes.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    assert_eq!(counts(&publish(&cluster, &feed).1), [0, 0, 1]);
    let (code, said) = publish_at(&config, &feed, &["--again"]);
    assert_eq!((code, counts(&said)), (0, [1, 0, 0]), "{said}");
    hold(&cluster, &["a.example"]).await;
    assert_eq!(
        counts(&publish_at(&config, &feed, &["--again"]).1),
        [0, 1, 0]
    );
    cluster.stop().await.expect("stopped");
}

fn write_feed(directory: &Path, events: &[Value]) {
    fs::create_dir_all(directory).expect("a directory");
    let mut manifest = serde_json::Map::new();
    for event in events {
        let inner = &event["Event"];
        let uuid = inner["uuid"].as_str().expect("a UUID");
        let line = json!({"info": inner["info"], "timestamp": inner["timestamp"]});
        manifest.insert(uuid.to_owned(), line);
        fs::write(directory.join(format!("{uuid}.json")), event.to_string()).expect("written");
    }
    let manifest = Value::Object(manifest).to_string();
    fs::write(directory.join("manifest.json"), manifest).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_feed_only_what_is_new_is_published() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = alliance(&scratch).await;
    let feed = scratch.path().join("feed");
    let first = [
        event(1, 100, &[("a.example", false)]),
        event(2, 100, &[("b.example", false)]),
        event(3, 100, &[("c.example", false)]),
    ];
    write_feed(&feed, &first);
    // What is named and is not there is said, and keeps nothing from going.
    let missing = feed.join("b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a03.json");
    fs::remove_file(&missing).expect("removed");
    let (code, said) = publish(&cluster, &feed);
    assert_eq!((code, counts(&said)), (0, [2, 0, 1]), "{said}");
    let refused = said["refused"][0]["file"].as_str().expect("a file");
    assert_eq!(Path::new(refused), missing);
    hold(&cluster, &["a.example", "b.example"]).await;

    write_feed(&feed, &first);
    assert_eq!(counts(&publish(&cluster, &feed).1), [1, 2, 0]);
    assert_eq!(counts(&publish(&cluster, &feed).1), [0, 3, 0]);
    let second = [
        first[0].clone(),
        event(2, 200, &[("b.example", true), ("d.example", false)]),
        first[2].clone(),
        event(4, 200, &[("e.example", false)]),
    ];
    write_feed(&feed, &second);
    assert_eq!(counts(&publish(&cluster, &feed).1), [2, 2, 0]);
    hold(
        &cluster,
        &["a.example", "c.example", "d.example", "e.example"],
    )
    .await;
    settled(&cluster, "norland", |status| status.rejected == 0).await;

    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    let (code, said) = entente(&[
        "publish",
        "--misp",
        &empty.display().to_string(),
        "-c",
        &cluster
            .layout()
            .node_config(&partner("norland"))
            .display()
            .to_string(),
    ]);
    assert_eq!(code, 1);
    assert!(said.contains("manifest.json"), "{said}");
    cluster.stop().await.expect("stopped");
}
