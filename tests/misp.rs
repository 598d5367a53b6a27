//! MISP events, real ones above all: in, and out again. The corpus lies beside the project; where it is
//! not, these tests say that they skip.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/disclosed.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use corpus::{corpus, misp_events};
use entente::bulletin::{Content, Draft, PartClass, Precedence, Tlp};
use entente::formats::misp::{
    Labels, LeftOut, MispError, drafts, event_of, feed, feed_event, is_of, read_event, tombstone,
};
use serde_json::{Value, json};
use support::disclosed;

fn labels() -> Labels {
    Labels {
        kinds: vec!["cyber".parse().expect("a kind")],
        topics: vec!["cyber".parse().expect("a topic")],
        regions: Vec::new(),
        tlp: Tlp::Green,
        precedence: Precedence::Routine,
        releasable_to: Vec::new(),
        exercise: false,
    }
}

/// What the attributes of an event say, one value each: composite types taken apart, and types that
/// mean the same for a recipient as one. What is deleted, or not to be
/// shared on, is not there.
fn said(event: &Value) -> BTreeSet<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let event = &event["Event"];
    let mut attributes = list(&event["Attribute"]);
    for object in list(&event["Object"]) {
        let kept = matches!(object["distribution"].as_str(), Some("0" | "4"));
        if object["deleted"] != true && !kept {
            attributes.extend(list(&object["Attribute"]));
        }
    }
    let mut said = BTreeSet::new();
    for attribute in attributes.iter().filter(|one| one["deleted"] != true) {
        let text = |name: &str| attribute[name].as_str().unwrap_or_default();
        let (kind, value) = (text("type"), text("value"));
        let of_file = ["filename", "md5", "sha1", "sha256", "sha512"];
        let composite = kind == "domain|ip" || kind.split('|').all(|one| of_file.contains(&one));
        let pairs: Vec<(&str, &str)> = if composite {
            kind.split('|').zip(value.split('|')).collect()
        } else {
            vec![(kind, value)]
        };
        for (kind, value) in pairs {
            let kind = match kind {
                "ip" | "ip-src" | "ip-src|port" | "ip-dst|port" => "ip-dst",
                "hostname" => "domain",
                "email-src" | "email-dst" => "email",
                "alias" => "text",
                other => other,
            };
            let value = match kind {
                "ip-dst" => value.split('|').next().unwrap_or_default(),
                "text" | "other" | "comment" | "link" => value.lines().next().unwrap_or_default(),
                _ => value,
            };
            let value = value.trim().to_lowercase();
            said.insert((kind.to_owned(), value.trim_start_matches("as").to_owned()));
        }
    }
    said
}

#[test]
fn real_events_come_back_with_what_they_said() {
    let (mut values, mut left_out) = (0, BTreeMap::new());
    let events = misp_events();
    for (name, event) in &events {
        let read = read_event(event.to_string().as_bytes());
        let read = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        let made = match drafts(&read, &labels(), &[]) {
            Ok(made) => made,
            Err(MispError::NotShared(_)) => {
                assert!(matches!(read.distribution, Some(0 | 4)), "{name}");
                *left_out
                    .entry("events not to be shared".to_owned())
                    .or_insert(0) += 1;
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        for one in &made.left_out {
            let reason = one.reason.split(" is not ").last().unwrap_or_default();
            *left_out.entry(reason.to_owned()).or_insert(0) += 1;
        }
        let out: Vec<Value> = (0..)
            .zip(made.drafts)
            .filter_map(|(number, draft)| event_of(&disclosed(draft, number)))
            .collect();
        let again: BTreeSet<_> = out.iter().flat_map(said).collect();
        // A data URI and attachments have their data beside the value; of malware, name and hash.
        let missing: Vec<_> = said(event)
            .into_iter()
            .filter(|one| !again.contains(one) && !one.0.starts_with("malware-sample"))
            .filter(|(_, value)| {
                // What was left out was named.
                let short: String = value.chars().take(80).collect();
                let named = |one: &LeftOut| one.what.to_lowercase().contains(&short);
                !made.left_out.iter().any(named)
            })
            .collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
        values += again.len();
    }
    println!(
        "{} events, {values} values; left out: {left_out:#?}",
        events.len()
    );
    assert!(corpus().is_none() || events.len() > 70);
}

fn event(more: Value) -> Value {
    let mut event = json!({
        "uuid": "b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a10", "info": "A campaign", "date": "2026-01-15",
        "threat_level_id": "2", "analysis": 2, "distribution": "1",
    });
    for (name, value) in more.as_object().expect("fields") {
        event[name] = value.clone();
    }
    json!({"Event": event})
}

fn import(more: Value) -> Result<entente::formats::misp::Imported, MispError> {
    let read = read_event(event(more).to_string().as_bytes()).expect("an event");
    drafts(&read, &labels(), &[])
}

#[test]
fn tags_become_labels_and_the_strictest_counts() {
    let tags = |names: &[&str]| {
        let tags: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let made = import(json!({"Tag": tags})).expect("shared");
        made.drafts[0].clone()
    };
    let draft = tags(&[
        "tlp:amber+strict",
        "tlp:green",
        "admiralty-scale:source-reliability=\"b\"",
        "admiralty-scale:information-credibility=\"2\"",
        "PAP:RED",
        "misp-galaxy:sector=\"Energy\"",
    ]);
    assert_eq!(draft.tlp, Tlp::AmberStrict);
    assert_eq!((draft.reliability, draft.credibility), (Some('B'), Some(2)));
    assert_eq!(
        tags(&["tlp:ex:chr"]).tlp,
        Tlp::Red,
        "what is not understood"
    );
    assert_eq!(
        tags(&["tlp:white"]).tlp,
        Tlp::Green,
        "never below the publisher's"
    );
    let out = event_of(&disclosed(draft, 1)).expect("an event");
    let names: Vec<&str> = out["Event"]["Tag"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| tag["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "tlp:amber+strict",
            "admiralty-scale:source-reliability=\"b\"",
            "admiralty-scale:information-credibility=\"2\"",
            "PAP:RED",
            "misp-galaxy:sector=\"Energy\"",
        ]
    );
}

#[test]
fn what_must_not_be_shared_is_not() {
    for distribution in ["0", "4", "9"] {
        let made = import(json!({"distribution": distribution}));
        assert!(
            matches!(made, Err(MispError::NotShared(_))),
            "{distribution}"
        );
    }
    let attribute = |distribution: u8, value: &str| {
        json!({"type": "domain", "category": "Network activity", "value": value, "to_ids": true,
               "distribution": distribution})
    };
    let list = json!({"Attribute": [attribute(0, "a.example"), attribute(5, "b.example")]});
    let made = import(list).expect("shared");
    assert_eq!(made.left_out.len(), 1);
    let text = serde_json::to_string(&made.drafts).expect("drafts");
    assert!(!text.contains("a.example") && text.contains("b.example"));
}

#[test]
fn a_stricter_attribute_keeps_its_mark_and_what_is_not_for_detection_stays_so() {
    let made = import(json!({"Attribute": [
        {"type": "ip-src", "category": "Network activity", "value": "198.51.100.7", "to_ids": false,
         "Tag": [{"name": "tlp:red"}]},
        {"type": "regkey", "category": "Persistence mechanism", "value": "HKLM\\x", "to_ids": true},
        {"type": "passport-number", "category": "Person", "value": "X1"},
        {"type": "first-name", "category": "Person", "value": "Jo"},
        {"type": "domain", "category": "Network activity", "value": "no domain", "to_ids": true},
    ]}))
    .expect("shared");
    let [draft] = made.drafts.as_slice() else {
        panic!("one bulletin")
    };
    let classes: Vec<PartClass> = draft
        .parts
        .iter()
        .map(|part| part.content.class())
        .collect();
    assert_eq!(
        classes,
        [
            PartClass::Narrative,
            PartClass::Network,
            PartClass::Detection,
            PartClass::Document,
            PartClass::Person,
        ]
    );
    assert_eq!(draft.parts[1].marking.tlp, Some(Tlp::Red));
    assert_eq!(made.left_out.len(), 1, "{:?}", made.left_out);
    let out = event_of(&disclosed(draft.clone(), 1)).expect("an event");
    let ip = &out["Event"]["Attribute"][1];
    assert_eq!(
        (&ip["type"], &ip["to_ids"]),
        (&json!("ip-dst"), &json!(false))
    );
    assert_eq!(ip["Tag"][0]["name"], "tlp:red");
}

#[test]
fn deleted_attributes_take_back_what_was_published() {
    let earlier = ["0190163d-8694-739b-aea5-966c26f8ad91"
        .parse()
        .expect("an id")];
    let attribute = |value: &str, deleted: bool| {
        json!({"type": "domain", "category": "Network activity", "value": value, "to_ids": true,
               "deleted": deleted})
    };
    let made = |list: Value| {
        let read = read_event(event(json!({"Attribute": list})).to_string().as_bytes());
        drafts(&read.expect("an event"), &labels(), &earlier)
            .expect("shared")
            .drafts
    };
    let some = made(json!([
        attribute("a.example", true),
        attribute("b.example", false)
    ]));
    assert_eq!((some[0].supersedes.len(), some[0].retracts.len()), (1, 0));
    assert!(
        !serde_json::to_string(&some)
            .expect("drafts")
            .contains("a.example")
    );
    let all = made(json!([attribute("a.example", true)]));
    assert_eq!((all[0].supersedes.len(), all[0].retracts.len()), (0, 1));
}

#[test]
fn sightings_are_counted_together() {
    let made = import(
        json!({"Attribute": [{"type": "domain", "value": "a.example", "to_ids": true,
        "Sighting": [
            {"type": "0", "date_sighting": "1768435200"},
            {"type": 0, "date_sighting": 1_768_435_100},
            {"type": "1", "date_sighting": "1768435300"},
        ]}]}),
    )
    .expect("shared");
    let sightings: Vec<_> = made.drafts[0]
        .parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::Sighting(one) => Some((one.count, one.first, one.last)),
            _ => None,
        })
        .collect();
    let at = |text: &str| Some(text.parse().expect("a time"));
    assert_eq!(
        sightings,
        [(2, at("2026-01-14T23:58:20Z"), at("2026-01-15T00:00:00Z"))]
    );
}

#[test]
fn a_feed_lists_every_value_of_every_event() {
    let made = import(json!({"Attribute": [
        {"type": "filename|md5", "value": format!("a.exe|{}", "a".repeat(32)), "to_ids": true},
        {"type": "domain", "value": "a.example", "to_ids": true},
    ]}))
    .expect("shared");
    let mut bulletin = disclosed(made.drafts[0].clone(), 1);
    let whole = feed([&bulletin]);
    let [(uuid, text)] = whole.events.as_slice() else {
        panic!("one event")
    };
    let manifest: Value = serde_json::from_str(&whole.manifest).expect("JSON");
    assert_eq!(manifest[uuid]["info"], "A campaign");
    // The MD5 of `a.example`, as md5sum says.
    assert!(whole.hashes.contains("af60befa758e782df5bdf9901187616d"));
    let lines: Vec<&str> = whole.hashes.lines().collect();
    assert_eq!(lines.len(), 4, "title, name, hash, domain: {lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.len() == 32 + 1 + 36 && line.ends_with(uuid))
    );
    assert!(text.contains("\"to_ids\":true"));
    // Taken back: still there, and deleted.
    bulletin.taken_back = Some("2026-11-24T00:00:00Z".parse().expect("a time"));
    let gone = feed([&bulletin]);
    assert_eq!(gone.events[0].0, *uuid);
    assert!(gone.events[0].1.contains("\"deleted\":true"));
    assert!(!gone.events[0].1.contains("\"to_ids\":true"));
    // With fewer parts it is another event, and does not overwrite the whole.
    bulletin.parts.pop();
    assert_ne!(feed([&bulletin]).events[0].0, *uuid);
    bulletin.parts.clear();
    assert!(feed([&bulletin]).events.is_empty());
}

const CLASSIFIED: &str = r#"
kinds = ["cyber"]
topics = ["cyber"]
tlp = "TLP:GREEN"
classification = { policy = "NATO", level = "RESTRICTED" }
part = [
    { type = "narrative", title = "Operation Q", text = "What is secret.", level = "SECRET" },
    { type = "narrative", title = "MISP tags", text = "operation:q", tlp = "TLP:RED" },
    { type = "narrative", title = "MISP tags", text = "circl:incident" },
    { type = "action", text = "PAP:RED", level = "SECRET" },
    { type = "action", text = "PAP:AMBER" },
    { type = "domain", value = "c2.example", level = "SECRET", tlp = "TLP:AMBER" },
    { type = "domain", value = "open.example" },
    { type = "file", name = "a.exe", size = 3, level = "CONFIDENTIAL" },
]
"#;

#[test]
fn a_stricter_part_carries_its_own_marks_and_is_not_in_what_is_shown_of_the_whole() {
    let bulletin = disclosed(Draft::from_toml(CLASSIFIED).expect("a draft"), 1);
    let event = event_of(&bulletin).expect("an event")["Event"].take();
    let tags = |of: &Value| -> Vec<String> {
        let tags = of["Tag"].as_array().into_iter().flatten();
        tags.map(|tag| tag["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let expected = [
        "tlp:green",
        "classification:NATO RESTRICTED",
        "circl:incident",
        "PAP:AMBER",
    ];
    assert_eq!(tags(&event), expected, "{event}");
    let info = event["info"].as_str().expect("a title");
    assert!(info.starts_with("Bulletin "), "{info}");

    let inner = event["Object"].as_array().expect("objects").iter();
    let inner = inner.flat_map(|one| one["Attribute"].as_array().expect("attributes"));
    let all: Vec<&Value> = event["Attribute"]
        .as_array()
        .expect("attributes")
        .iter()
        .chain(inner)
        .collect();
    for (value, expected) in [
        ("What is secret.", &["classification:NATO SECRET"][..]),
        ("operation:q", &["tlp:red"]),
        ("PAP:RED", &["classification:NATO SECRET"]),
        ("c2.example", &["tlp:amber", "classification:NATO SECRET"]),
        ("open.example", &[]),
        ("a.exe", &["classification:NATO CONFIDENTIAL"]),
    ] {
        let mut found = all.iter().filter(|one| {
            let text = one["value"].as_str().expect("a value");
            text.contains(value)
        });
        assert_eq!(tags(found.next().expect(value)), expected, "{value}");
    }
}

#[test]
fn what_was_superseded_is_deleted_and_not_for_detection() {
    let mut bulletin = disclosed(Draft::from_toml(CLASSIFIED).expect("a draft"), 1);
    let before = event_of(&bulletin).expect("an event")["Event"].take();
    let at = "2026-11-24T12:00:00Z".parse().expect("a time");
    bulletin.superseded = Some(at);
    let whole = event_of(&bulletin).expect("an event");
    let event = &whole["Event"];
    assert_eq!(event["uuid"], before["uuid"], "it is the same event");
    assert_ne!(event["timestamp"], before["timestamp"], "and a newer one");
    for attribute in event["Attribute"].as_array().expect("attributes") {
        assert_eq!(attribute["deleted"], true, "{attribute}");
        assert_eq!(attribute["to_ids"], false, "{attribute}");
    }
    let uuid = event["uuid"].as_str().expect("a UUID");
    assert!(is_of(&whole.to_string(), uuid));
    let other = json!({"Event": {"uuid": uuid, "Orgc": {"name": "CIRCL", "uuid": uuid}}});
    assert!(!is_of(&other.to_string(), uuid), "another's is not ours");
}

/// The UUIDs of an event's attributes, those in objects too.
fn uuids(event: &Value) -> Vec<String> {
    let objects = event["Object"].as_array().into_iter().flatten();
    let holders = std::iter::once(event).chain(objects);
    let all = holders.flat_map(|one| one["Attribute"].as_array().into_iter().flatten());
    all.map(|one| one["uuid"].as_str().expect("a UUID").to_owned())
        .collect()
}

#[test]
fn what_stands_in_the_place_of_an_event_says_nothing_of_its_values() {
    let mut bulletin = disclosed(Draft::from_toml(CLASSIFIED).expect("a draft"), 1);
    let event = event_of(&bulletin).expect("an event")["Event"].take();
    // The same leaf with another value: what is left of it is the same.
    let text = CLASSIFIED.replace("open.example", "quite-another.example");
    let other = disclosed(Draft::from_toml(&text).expect("a draft"), 1);
    for (part, other) in bulletin.parts.iter_mut().zip(other.parts) {
        part.content = other.content;
    }
    let changed = event_of(&bulletin).expect("an event")["Event"].take();
    assert!(changed.to_string().contains("quite-another.example"));
    assert_eq!(uuids(&event), uuids(&changed), "a value could be guessed");
    assert_eq!(
        uuids(&event).iter().collect::<BTreeSet<_>>().len(),
        uuids(&event).len()
    );
}

#[test]
fn a_title_alone_empties_no_event() {
    let bulletin = disclosed(Draft::from_toml(CLASSIFIED).expect("a draft"), 1);
    let event = feed_event(&bulletin).expect("an event").event;
    let now = "2026-11-26T00:00:00Z".parse().expect("a time");
    let empty = tombstone(&event, now).expect("an event").event;
    let later = "2026-11-27T00:00:00Z".parse().expect("a time");
    assert_eq!(
        tombstone(&empty, later).expect("an event").event,
        empty,
        "it stays as it is"
    );
    // An originator gives an event of contents the same title.
    let mut titled: Value = serde_json::from_str(&event).expect("JSON");
    let title = serde_json::from_str::<Value>(&empty).expect("JSON")["Event"]["info"].take();
    titled["Event"]["info"] = title;
    for tags in [titled["Event"]["Tag"].clone(), json!([])] {
        titled["Event"]["Tag"] = tags;
        let emptied = tombstone(&titled.to_string(), now).expect("an event").event;
        let emptied: Value = serde_json::from_str(&emptied).expect("JSON");
        assert_eq!(
            emptied,
            serde_json::from_str::<Value>(&empty).expect("JSON")
        );
    }
}
