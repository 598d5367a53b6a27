//! `entente publish --misp` knows what it made of an event before: what changed takes its place, what was deleted
//! is taken back, what is as it was is not published again, and of a feed only what is new. Real processes.

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::path::Path;

use alliance::{PATIENCE, entente, partner, plan, prepared, settled, start};
use entente::bulletin::{Content, Relation};
use entente::deployment::until;
use entente::node::{Command, ItemView, Response};
use entente::testing::{Cluster, Scratch};
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
    let config = cluster.layout().node_config(&partner("norland"));
    let (path, config) = (path.display().to_string(), config.display().to_string());
    let (code, said) = entente(&["publish", "--misp", &path, "-c", &config, "--json"]);
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
