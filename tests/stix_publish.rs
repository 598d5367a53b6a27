//! `entente publish --stix` knows what it published of an object before: a newer version takes its place, what is
//! revoked is taken back, and what is as it was is not published again. Real processes.

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use alliance::{PATIENCE, entente, given, partner, plan, prepared, rotate_at_once, start};
use entente::bulletin::{Content, Relation, Tlp};
use entente::deployment::until;
use entente::node::{Command, ItemView, Response};
use entente::testing::{Cluster, Scratch};
use serde_json::{Value, json};

fn tool(number: u8, day: u8, name: &str, revoked: bool) -> Value {
    json!({
        "type": "tool", "spec_version": "2.1",
        "id": format!("tool--00000000-0000-4000-8000-0000000000{number:02}"),
        "created": "2026-01-01T00:00:00.000Z", "modified": format!("2026-01-{day:02}T00:00:00.000Z"),
        "name": name, "revoked": revoked,
    })
}

static BUNDLES: AtomicU64 = AtomicU64::new(1);

/// What was published, was there already, and was left out.
fn publish(cluster: &Cluster, scratch: &Scratch, objects: &[Value], more: &[&str]) -> [u64; 3] {
    let path = scratch.path().join("bundle.json");
    // Each time another bundle: what is in it counts.
    let number = BUNDLES.fetch_add(1, Ordering::Relaxed);
    let id = format!("bundle--00000000-0000-4000-8000-{number:012}");
    let bundle = json!({"type": "bundle", "id": id, "objects": objects});
    fs::write(&path, bundle.to_string()).expect("written");
    let config = cluster.layout().node_config(&partner("norland"));
    publish_file(&path, &config, more)
}

fn publish_file(path: &Path, config: &Path, more: &[&str]) -> [u64; 3] {
    let (path, config) = (path.display().to_string(), config.display().to_string());
    let all = ["publish", "--stix", &path, "-c", &config, "--json"];
    let (_, said) = entente(&[&all[..], more].concat());
    let mut values = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let value = values.next().and_then(Result::ok);
    let value = value.unwrap_or_else(|| panic!("{said}"));
    let refused = value["refused"]
        .as_array()
        .map_or(0, |all| all.len() as u64);
    let count = |name: &str| value[name].as_u64().expect("a number");
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

/// The names of tools in bulletins that hold, with the bulletins' TLP.
fn holding(items: &[ItemView]) -> Vec<(String, Tlp)> {
    let ended = |item: &&ItemView| {
        let relation = item.mark.as_ref().map(|mark| mark.relation);
        matches!(relation, Some(Relation::Supersedes | Relation::Retracts))
    };
    let mut found = Vec::new();
    for item in items.iter().filter(|item| !ended(item)) {
        let tlp = item.header.as_ref().map(|header| header.tlp);
        for part in &item.parts {
            let Some(Content::Stix(stix)) = &part.content else {
                continue;
            };
            let object: Value = serde_json::from_str(&stix.json).expect("JSON");
            let name = object["name"].as_str().expect("a name").to_owned();
            found.push((name, tlp.expect("a header")));
        }
    }
    found.sort();
    found
}

async fn hold(cluster: &Cluster, expected: &[&str], tlp: Tlp) {
    let expected: Vec<(String, Tlp)> = expected
        .iter()
        .map(|one| ((*one).to_owned(), tlp))
        .collect();
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

fn notices(items: &[ItemView]) -> usize {
    let headers = items.iter().filter_map(|item| item.header.as_ref());
    headers.filter(|header| header.notice).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_versions_take_the_place_of_what_was_published_and_the_same_is_not_published_again() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let (one, two) = (tool(1, 1, "one", false), tool(2, 1, "two", false));
    let both = [one.clone(), two.clone()];
    assert_eq!(publish(&cluster, &scratch, &both, &[]), [1, 0, 0]);
    hold(&cluster, &["one", "two"], Tlp::Amber).await;
    assert_eq!(publish(&cluster, &scratch, &both, &[]), [0, 2, 0]);
    // Another content under the same version is left out; with a third object, only that is new.
    let other = [
        tool(1, 1, "another", false),
        two.clone(),
        tool(3, 1, "three", false),
    ];
    assert_eq!(publish(&cluster, &scratch, &other, &[]), [1, 1, 1]);
    hold(&cluster, &["one", "three", "two"], Tlp::Amber).await;

    // A newer version of the first, and the second as it was: the bulletin of both is superseded, and the node
    // remembers over its death.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    let newer = [tool(1, 2, "one, newer", false), two.clone()];
    assert_eq!(publish(&cluster, &scratch, &newer, &[]), [1, 0, 0]);
    hold(&cluster, &["one, newer", "three", "two"], Tlp::Amber).await;
    for again in [&newer, &both] {
        assert_eq!(publish(&cluster, &scratch, again, &[]), [0, 2, 0]);
    }
    // Other labels are a change, and back again.
    for tlp in ["TLP:GREEN", "TLP:AMBER"] {
        let labels = ["--tlp", tlp];
        assert_eq!(
            publish(&cluster, &scratch, &newer, &labels),
            [1, 0, 0],
            "{tlp}"
        );
        assert_eq!(
            publish(&cluster, &scratch, &newer, &labels),
            [0, 2, 0],
            "{tlp}"
        );
    }
    hold(&cluster, &["one, newer", "three", "two"], Tlp::Amber).await;

    // All of it revoked: it is taken back, and what it had replaced gets no second notice of being replaced.
    let revoked = [tool(1, 3, "one", true), tool(2, 3, "two", true)];
    assert_eq!(publish(&cluster, &scratch, &revoked, &[]), [1, 0, 0]);
    assert_eq!(publish(&cluster, &scratch, &revoked, &[]), [0, 2, 0]);
    hold(&cluster, &["one", "three", "two"], Tlp::Amber).await;
    let items = received(&cluster).await;
    let retracted = items.iter().filter_map(|item| item.mark.as_ref());
    let retracted = retracted
        .filter(|mark| mark.relation == Relation::Retracts)
        .count();
    assert!(retracted >= 1, "{items:?}");
    let before = notices(&items);
    assert_eq!(publish(&cluster, &scratch, &revoked, &[]), [0, 2, 0]);
    assert_eq!(notices(&received(&cluster).await), before);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_replaces_nothing_and_goes_again_under_other_labels() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let first = [tool(1, 1, "one", false)];
    assert_eq!(publish(&cluster, &scratch, &first, &[]), [1, 0, 0]);
    hold(&cluster, &["one"], Tlp::Amber).await;

    // The node signs with a key that is no longer its partner's: what would replace it is refused.
    rotate_at_once(&cluster, "norland");
    let newer = [tool(1, 2, "one, newer", false)];
    assert_eq!(publish(&cluster, &scratch, &newer, &[]), [1, 0, 0]);
    assert_eq!(publish(&cluster, &scratch, &newer, &[]), [0, 0, 1]);
    assert_eq!(
        given(&cluster, "norland").await,
        0,
        "what was to be replaced holds"
    );

    // It has the new key now. Other labels are a change: it goes, and takes the place of the first.
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    start(&mut cluster, &["norland"]).await;
    assert_eq!(publish(&cluster, &scratch, &newer, &[]), [0, 0, 1]);
    let green = ["--tlp", "TLP:GREEN"];
    assert_eq!(publish(&cluster, &scratch, &newer, &green), [1, 0, 0]);
    hold(&cluster, &["one, newer"], Tlp::Green).await;
    assert_eq!(given(&cluster, "norland").await, 1);
    // On request it goes under the first labels, too, and is not refused any more then.
    assert_eq!(publish(&cluster, &scratch, &newer, &["--again"]), [1, 0, 0]);
    assert_eq!(publish(&cluster, &scratch, &newer, &[]), [0, 1, 0]);
    hold(&cluster, &["one, newer"], Tlp::Amber).await;
    assert_eq!(given(&cluster, "norland").await, 2);
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_bulletins_that_take_the_place_of_one_give_one_notice_of_it() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let green = ["--tlp", "TLP:GREEN"];
    let both = [tool(1, 1, "one", false), tool(2, 1, "two", false)];
    assert_eq!(publish(&cluster, &scratch, &both, &green), [1, 0, 0]);
    hold(&cluster, &["one", "two"], Tlp::Green).await;
    // One of them is TLP:AMBER by itself now: they are in two bulletins.
    let mut stricter = tool(1, 2, "one", false);
    let amber = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82";
    stricter["object_marking_refs"] = json!([amber]);
    // An object of a type whose name fills what a name may be long is one like others.
    let mut long = tool(3, 1, "three", false);
    let kind = format!("x-{}", "a".repeat(248));
    long["id"] = format!("{kind}--00000000-0000-4000-8000-000000000003").into();
    long["type"] = kind.into();
    let newer = [stricter, tool(2, 2, "two", false), long];
    assert_eq!(publish(&cluster, &scratch, &newer, &green), [2, 0, 0]);
    assert_eq!(publish(&cluster, &scratch, &newer, &green), [0, 3, 0]);
    assert_eq!(given(&cluster, "norland").await, 1);
    cluster.stop().await.expect("stopped");
}
