//! Sightings flow back to whoever published a bulletin, and to nobody else, under agreements like any other
//! bulletin: by command, by TAXII and in MISP events. Real processes.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/taxii.rs"]
mod taxii;

use std::fs;

use alliance::{PATIENCE, entente, partner, plan, prepared, settled, start, written};
use entente::bulletin::Content;
use entente::bulletin::content::SightingMark;
use entente::deployment::until;
use entente::node::{Command, ItemView, Response};
use entente::testing::{Cluster, Scratch};
use exchange::{bulletin, complete, listening, serve};
use serde_json::{Value, json};

const BULLETIN: &str = r#"
kinds = ["cyber"]
topics = ["cyber/malware"]
tlp = "TLP:GREEN"
part = [
    { type = "domain", value = "c2.grid-portal.example" },
    { type = "ip", value = "198.51.100.7", tlp = "TLP:AMBER" },
    { type = "narrative", title = "Two utilities", text = "Implants report to it." },
]
"#;

fn config(cluster: &Cluster, of: &str) -> String {
    let config = cluster.layout().node_config(&partner(of));
    config.display().to_string()
}

/// Publishes a bulletin from a file with the program; its id.
fn publish(cluster: &Cluster, scratch: &Scratch, of: &str, text: &str) -> String {
    let file = written(scratch, "bulletin.toml", text);
    let (file, config) = (file.display().to_string(), config(cluster, of));
    let (code, said) = entente(&["publish", &file, "--config", &config, "--json"]);
    assert_eq!(code, 0, "{said}");
    let id = said.split('"').find(|word| word.len() == 36);
    id.expect("an id").to_owned()
}

async fn inbox(cluster: &Cluster, of: &str) -> Vec<ItemView> {
    let asked = Command::Inbox {
        after: 0,
        limit: 100,
    };
    match cluster.ask_node(&partner(of), &asked).await {
        Ok(Response::Items(items)) => items,
        other => panic!("no inbox: {other:?}"),
    }
}

/// Exports in a format at a node; the text of a file of it.
fn exported(cluster: &Cluster, scratch: &Scratch, of: &str, format: &str) -> String {
    let out = scratch.path().join(format!("{of}-{format}"));
    let (out, config) = (out.display().to_string(), config(cluster, of));
    let (code, said) = entente(&["export", format, "--out", &out, "-c", &config]);
    assert_eq!(code, 0, "{said}");
    out
}

fn objects(path: &str, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a bundle");
    let bundle: Value = serde_json::from_str(&text).expect("JSON");
    let all = bundle["objects"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["type"] == kind).collect()
}

/// The events of a feed, as values.
fn events(feed: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(feed).expect("a feed") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        if let Ok(event) = serde_json::from_str::<Value>(&text)
            && event["Event"].is_object()
        {
            found.push((path.display().to_string(), event));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_told_to_the_originator_alone() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut cluster = prepared(&scratch, plan(&all)).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    let id = publish(&cluster, &scratch, "norland", BULLETIN);
    for one in ["estmark", "ostland"] {
        settled(&cluster, one, |status| status.received == 1).await;
    }
    let estmark = config(&cluster, "estmark");
    let sighting = |more: &[&str]| {
        let args = [&["sighting", &id, "-c", &estmark], more].concat();
        entente(&args)
    };
    let seen = "2026-11-02T00:00:00Z";
    let domain = "c2.grid-portal.example";
    for more in [
        &[
            "--of",
            domain,
            "--count",
            "3",
            "--last",
            seen,
            "--place",
            "a utility",
        ][..],
        &["--of", "198.51.100.7", "--false-positive"],
        &["--expired"],
    ] {
        let (code, said) = sighting(more);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("to norland.example"), "{said}");
    }
    let (code, said) = sighting(&["--of", "198.51.100.8"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("no part of it is shown as `198.51.100.8`"),
        "{said}"
    );

    settled(&cluster, "norland", |status| status.received == 3).await;
    let items = inbox(&cluster, "norland").await;
    let received = inbox(&cluster, "estmark").await.remove(0);
    let mut said: Vec<(Option<SightingMark>, u64, bool)> = Vec::new();
    for item in &items {
        let header = item.header.as_ref().expect("a header");
        assert_eq!(header.originator, Some(partner("estmark")));
        let open: Vec<_> = item.parts.iter().filter(|part| !part.withheld).collect();
        let [part] = open[..] else {
            panic!("one part: {open:?}")
        };
        let Some(Content::Sighting(one)) = &part.content else {
            panic!("a sighting: {part:?}")
        };
        assert_eq!(one.bulletin.expect("a bulletin").to_string(), id);
        if let Some(leaf) = one.part {
            let leaf = leaf.to_string();
            assert!(received.parts.iter().any(|part| part.leaf == leaf));
        }
        said.push((one.mark, one.count, one.part.is_some()));
    }
    assert_eq!(
        said,
        [
            (None, 3, true),
            (Some(SightingMark::FalsePositive), 0, true),
            (Some(SightingMark::Expired), 0, false),
        ]
    );
    // As strict as the part that it is about.
    let tlp = |item: &ItemView| item.parts.iter().find_map(|part| part.tlp);
    assert_eq!(
        tlp(&items[1]).map(|tlp| tlp.to_string()),
        Some("TLP:AMBER".into())
    );
    let (_, shown) = entente(&["inbox", "-c", &config(&cluster, "norland")]);
    for line in [
        "c2.grid-portal.example seen 3 times, of",
        "198.51.100.7 is a false positive",
        "has expired",
        &id,
    ] {
        // A table breaks its lines anywhere.
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        assert!(bare(&shown).contains(&bare(line)), "{line}: {shown}");
    }
    // Nobody else is told.
    assert_eq!(inbox(&cluster, "ostland").await.len(), 1);

    // In STIX it is a sighting of the object that every recipient's export has.
    let of = objects(
        &exported(&cluster, &scratch, "estmark", "stix"),
        "indicator",
    );
    let told = exported(&cluster, &scratch, "norland", "stix");
    let sightings = objects(&told, "sighting");
    let [one] = &sightings[..] else {
        panic!("one: {sightings:?}")
    };
    // The parts of a bulletin come in no order.
    let named = |value: &str| {
        let shows = |one: &&Value| one["pattern"].as_str().is_some_and(|it| it.contains(value));
        &of.iter().find(shows).expect("an indicator")["id"]
    };
    assert_eq!(&one["sighting_of_ref"], named(domain));
    assert_eq!(
        (&one["count"], &one["last_seen"]),
        (&json!(3), &json!("2026-11-02T00:00:00.000Z"))
    );
    let opinions = objects(&told, "opinion");
    let [opinion] = &opinions[..] else {
        panic!("one: {opinions:?}")
    };
    assert_eq!(opinion["opinion"], "strongly-disagree");
    assert_eq!(opinion["object_refs"], json!([named("198.51.100.7")]));
    // And in MISP, of the value.
    let feed = exported(&cluster, &scratch, "norland", "misp");
    let mut told: Vec<(String, String)> = Vec::new();
    for (_, event) in events(&feed) {
        for one in event["Event"]["Attribute"].as_array().expect("attributes") {
            let kind = one["Sighting"][0]["type"].as_str().expect("a sighting");
            told.push((one["value"].as_str().expect("a value").into(), kind.into()));
            assert_eq!(one["to_ids"], false);
        }
    }
    told.sort();
    assert_eq!(
        told,
        [
            (id.clone(), "2".to_owned()),
            ("198.51.100.7".to_owned(), "1".to_owned()),
            (domain.to_owned(), "0".to_owned()),
        ]
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
    cluster.stop().await.expect("stopped");
}

/// Norland gives to Estmark under its name, and to Ostland without; nothing flows back.
const ONE_WAY: &str = r#"
[[clause]]
id = "named"
from = ["norland.example"]
to = ["estmark.example"]
kinds = ["cyber"]
topics = ["cyber"]
regions = ["*"]
tlp = "TLP:AMBER"

[[clause]]
id = "nameless"
from = ["norland.example"]
to = ["ostland.example"]
kinds = ["cyber"]
topics = ["cyber"]
regions = ["*"]
tlp = "TLP:AMBER"
originator = "alias"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_flows_back_it_is_said_why() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut plan = plan(&all);
    plan.agreements[0].clauses = ONE_WAY.into();
    let mut cluster = prepared(&scratch, plan).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    let named = publish(&cluster, &scratch, "norland", BULLETIN);
    let nameless = "pseudonym = { agreement = \"cyber\", as = \"alias\" }\n".to_owned() + BULLETIN;
    let nameless = publish(&cluster, &scratch, "norland", &nameless);
    for one in ["estmark", "ostland"] {
        settled(&cluster, one, |status| status.received == 1).await;
    }
    let (code, said) = entente(&[
        "sighting",
        &named,
        "-c",
        &config(&cluster, "estmark"),
        "--json",
    ]);
    assert_eq!(code, 1);
    assert!(
        said.contains("no clause lets a sighting of it flow to norland.example"),
        "{said}"
    );
    assert!(said.contains("\"no_clause\""), "{said}");
    let (code, said) = entente(&["sighting", &nameless, "-c", &config(&cluster, "ostland")]);
    assert_eq!(code, 1);
    assert!(
        said.contains("its originator is not shown (alias-"),
        "{said}"
    );
    assert!(inbox(&cluster, "norland").await.is_empty());
    cluster.stop().await.expect("stopped");
}

const INDICATOR: &str = "indicator--00000000-0000-4000-8000-000000000001";
const UNKNOWN: &str = "indicator--00000000-0000-4000-8000-000000000009";
const GREEN: &str = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb";

fn object(kind: &str, number: u8, more: &Value) -> Value {
    let mut object = json!({
        "type": kind, "spec_version": "2.1", "id": format!("{kind}--00000000-0000-4000-8000-0000000000{number:02}"),
        "created": "2026-01-15T09:30:00.000Z", "modified": "2026-01-15T09:30:00.000Z",
        "object_marking_refs": [GREEN],
    });
    for (name, value) in more.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stix_sighting_that_is_added_goes_to_the_originator_of_what_it_is_of() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut cluster = prepared(&scratch, plan(&all)).await;
    let out = "[[taxii.publish]]\nname = \"out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
               [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let client = "tlp = \"TLP:AMBER\"\nread = [\"*\"]\nwrite = [\"out\"]";
    let blind = "tlp = \"TLP:AMBER\"\nwrite = [\"out\"]";
    let norland = serve(&cluster, "norland", &[("n", client)], out).remove(0);
    let mut callers = serve(&cluster, "estmark", &[("e", client), ("b", blind)], out);
    let (blind, estmark) = (callers.remove(1), callers.remove(0));
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    listening(&[&norland, &estmark]).await;
    let path = "/entente/collections/publish-out/objects/";
    let add = async |caller: &exchange::Caller, objects: &[Value]| {
        let body = json!({"objects": objects}).to_string();
        let said = caller.send("POST", path, body.as_bytes());
        assert_eq!(said.status, 202, "{said:?}");
        complete(caller, &said.json()).await
    };
    let indicator = object(
        "indicator",
        1,
        &json!({"pattern": "[domain-name:value = 'c2.example']", "pattern_type": "stix",
                "valid_from": "2026-01-15T09:30:00Z"}),
    );
    add(&norland, &[indicator]).await;
    settled(&cluster, "estmark", |status| status.received == 1).await;
    settled(&cluster, "ostland", |status| status.received == 1).await;
    let there = until("the indicator", PATIENCE, || async {
        let said = estmark.get("/entente/collections/agreement-cyber/objects/");
        (said.status == 200 && said.ids().contains(&INDICATOR.to_owned())).then_some(())
    });
    there.await.expect("it is served");

    let seen =
        json!({"sighting_of_ref": INDICATOR, "count": 4, "last_seen": "2026-11-02T00:00:00Z"});
    let first = object("sighting", 2, &seen);
    let negative = object(
        "sighting",
        3,
        &json!({"sighting_of_ref": INDICATOR, "x_opencti_negative": true}),
    );
    let both = [first.clone(), negative];
    let status = add(&estmark, &both).await;
    assert_eq!(
        (&status["success_count"], &status["failure_count"]),
        (&json!(2), &json!(0)),
        "{status}"
    );
    settled(&cluster, "norland", |status| status.received == 2).await;
    let items = inbox(&cluster, "norland").await;
    let said: Vec<_> = items
        .iter()
        .flat_map(|item| &item.parts)
        .filter_map(|part| match &part.content {
            Some(Content::Sighting(one)) => Some((
                one.of.to_string(),
                one.count,
                one.mark,
                one.object.as_ref().map(ToString::to_string),
            )),
            _ => None,
        })
        .collect();
    let of = |count, mark| {
        (
            "c2.example".to_owned(),
            count,
            mark,
            Some(INDICATOR.to_owned()),
        )
    };
    assert_eq!(
        said,
        [of(4, None), of(0, Some(SightingMark::FalsePositive))]
    );
    // It is served there as what it is.
    let served = until("a sighting", PATIENCE, || async {
        let path = "/entente/collections/originator-estmark.example/objects/?match[type]=sighting";
        let said = norland.get(path);
        let said = (said.status == 200).then(|| said.json())?;
        said["objects"].as_array().cloned()
    });
    let served = served.await.expect("it is served");
    assert_eq!(served[0]["sighting_of_ref"], INDICATOR);
    assert_eq!(served[0]["count"], 4);

    // The same again is the same; a newer version takes its place; a revoked one takes it back.
    let ids = |status: &Value| -> Vec<String> {
        let all = status["successes"].as_array().expect("a list").iter();
        all.map(|one| bulletin(one).to_owned()).collect()
    };
    let again = add(&estmark, &both).await;
    assert_eq!(ids(&again), ids(&status));
    let mut newer = first.clone();
    newer["modified"] = "2026-01-16T09:30:00.000Z".into();
    newer["count"] = 5.into();
    let second = add(&estmark, &[newer.clone()]).await;
    assert_ne!(ids(&second)[0], ids(&status)[0]);
    let marked = async |id: &str, relation: &str| {
        let asked = until("a mark", PATIENCE, || async {
            let items = inbox(&cluster, "norland").await;
            let item = items.into_iter().find(|item| item.id.to_string() == id)?;
            let mark = serde_json::to_value(item.mark?).expect("JSON");
            (mark["relation"] == relation).then_some(())
        });
        asked.await.expect(relation);
    };
    marked(&ids(&status)[0], "supersedes").await;
    newer["modified"] = "2026-01-17T09:30:00.000Z".into();
    newer["revoked"] = true.into();
    add(&estmark, &[newer]).await;
    marked(&ids(&second)[0], "retracts").await;

    // To nobody else: but for what is of nothing that this client sees, which is an object like any other.
    assert_eq!(inbox(&cluster, "ostland").await.len(), 1);
    let unknown = object("sighting", 4, &json!({"sighting_of_ref": UNKNOWN}));
    add(&estmark, &[unknown]).await;
    settled(&cluster, "ostland", |status| status.received == 2).await;
    let unseen = object("sighting", 5, &json!({"sighting_of_ref": INDICATOR}));
    add(&blind, &[unseen]).await;
    settled(&cluster, "ostland", |status| status.received == 3).await;
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn sightings_in_an_event_that_was_received_go_back_and_the_event_does_not() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut cluster = prepared(&scratch, plan(&all)).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    let id = publish(&cluster, &scratch, "norland", BULLETIN);
    for one in ["estmark", "ostland"] {
        settled(&cluster, one, |status| status.received == 1).await;
    }
    let feed = exported(&cluster, &scratch, "estmark", "misp");
    let (path, mut event) = events(&feed).remove(0);
    let estmark = config(&cluster, "estmark");
    let publish = ["publish", "--misp", &path, "-c", &estmark];
    let (code, said) = entente(&publish);
    assert_eq!(code, 1, "nothing was published");
    assert!(
        said.contains(&format!("it was made of bulletin {id}, received here")),
        "{said}"
    );

    let attributes = event["Event"]["Attribute"]
        .as_array_mut()
        .expect("attributes");
    for attribute in attributes {
        if attribute["type"] == "domain" {
            attribute["Sighting"] = json!([
                {"type": "0", "date_sighting": "1793577600"}, {"type": "0", "date_sighting": "1793664000"},
                {"type": "1", "date_sighting": "1793664000"}, {"type": "7"},
            ]);
        } else if attribute["type"] == "ip-dst" {
            attribute["Sighting"] = json!([{"type": "2", "date_sighting": "1793664000"}]);
        }
    }
    fs::write(&path, event.to_string()).expect("written");
    let (code, said) = entente(&publish);
    assert_eq!(code, 0, "{said}");
    settled(&cluster, "norland", |status| status.received == 1).await;
    let item = inbox(&cluster, "norland").await.remove(0);
    let mut told: Vec<(String, u64, Option<SightingMark>)> = item
        .parts
        .iter()
        .filter_map(|part| match &part.content {
            Some(Content::Sighting(one)) => Some((one.of.to_string(), one.count, one.mark)),
            _ => None,
        })
        .collect();
    told.sort_by_key(|(of, count, _)| (of.clone(), std::cmp::Reverse(*count)));
    assert_eq!(
        told,
        [
            ("198.51.100.7".to_owned(), 0, Some(SightingMark::Expired)),
            ("c2.grid-portal.example".to_owned(), 2, None),
            (
                "c2.grid-portal.example".to_owned(),
                0,
                Some(SightingMark::FalsePositive)
            ),
        ]
    );
    let (code, said) = entente(&publish);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("One event or object is as it was published before"),
        "{said}"
    );
    assert_eq!(inbox(&cluster, "norland").await.len(), 1);
    assert_eq!(
        inbox(&cluster, "ostland").await.len(),
        1,
        "it goes to nobody else"
    );
    cluster.stop().await.expect("stopped");
}
