//! Bulletins as STIX 2.1 objects.
//!
//! In scope: what came as STIX, byte for byte; the other parts as the objects that say the same; a
//! report that holds them together under the bulletin's labels. The same parts of a bulletin give the
//! same ids and the same bytes, on every machine. A part that the reader has not got leaves nothing:
//! no reference, no count, no id that depends on it. Out of scope: bundles, envelopes and who may ask.

mod ids;
mod markings;
mod observables;
mod parts;
mod report;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

pub use ids::observable_id;
pub use report::{identity_id, is_place, place_id};

use super::bundle::Object;
use super::marking::standard_tlp;
use crate::bulletin::{Content, PartClass, Tlp};
use crate::clock::Timestamp;
use crate::formats::{Disclosed, DisclosedPart};
use markings::marking_refs;

/// When the objects of ours begin that never change: identities, places, markings.
const FIXED: &str = "2026-01-01T00:00:00.000Z";

/// The objects that a reader of a bulletin is given: markings first, then the parts in their order,
/// then the report. None at all where no part is there.
pub fn objects(bulletin: &Disclosed) -> Vec<Object> {
    let mut export = Export::new(bulletin);
    for part in &bulletin.parts {
        if let Some(id) = parts::referred(&export, part) {
            for name in part.content.names() {
                export.named.entry(name).or_insert_with(|| id.clone());
            }
        }
    }
    for part in &bulletin.parts {
        parts::write(&mut export, part);
    }
    if export.needs_report {
        report::write(&mut export);
    }
    export.finish()
}

/// The ids by which the objects of parts are named, by the parts' leaves: of what came as STIX its own, of others
/// the object that others may refer to, where there is one.
pub fn object_ids(bulletin: &Disclosed) -> HashMap<String, String> {
    let export = Export::new(bulletin);
    let id = |part: &DisclosedPart| match &part.content {
        Content::Stix(stix) => {
            let object: Map<String, Value> = serde_json::from_str(&stix.json).ok()?;
            Some(text(&object, "id").to_owned())
        }
        _ => parts::referred(&export, part),
    };
    let parts = bulletin.parts.iter();
    parts
        .filter_map(|part| Some((part.leaf.clone(), id(part)?)))
        .collect()
}

/// The ids of what other bulletins are written with, too, and what says nothing of its own: its originator,
/// the places that it is about, its markings.
pub fn shared_ids(bulletin: &Disclosed) -> BTreeSet<String> {
    let mut shared = BTreeSet::new();
    shared.extend(bulletin.originator.as_deref().map(identity_id));
    shared.extend(bulletin.regions.iter().map(|region| place_id(*region)));
    let parts = bulletin.parts.iter().map(Some);
    for part in parts.chain([None]) {
        shared.extend(marking_refs(bulletin, part).0);
    }
    shared
}

/// The id of a bundle: the same for the same objects, which are told one after another.
#[derive(Clone)]
pub struct BundleId(ring::digest::Context);

impl Default for BundleId {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl BundleId {
    /// Adds an object's text.
    pub fn add(&mut self, json: &str) {
        self.0.update(json.as_bytes());
        self.0.update(b"\n");
    }

    /// The id of all of them.
    pub fn finish(self) -> String {
        let digest = data_encoding::HEXLOWER.encode(self.0.finish().as_ref());
        ids::own_id("bundle", &[&digest])
    }
}

/// What is written so far.
struct Export<'a> {
    bulletin: &'a Disclosed,
    /// The report's id, which depends on which parts are here: with fewer it is another object.
    report: String,
    /// Markings and who said it.
    before: Written,
    /// The parts' objects.
    objects: Written,
    /// The parts that others may refer to: the id of each by the texts by which it is shown.
    named: HashMap<String, String>,
    /// Something is not said by the objects alone: what was no STIX, or the bulletin's labels.
    needs_report: bool,
}

impl<'a> Export<'a> {
    fn new(bulletin: &'a Disclosed) -> Self {
        let id = bulletin.id.to_string();
        let mut leaves: Vec<&str> = bulletin.parts.iter().map(|part| &*part.leaf).collect();
        leaves.sort_unstable();
        let words: Vec<&str> = std::iter::once(&*id).chain(leaves).collect();
        Self {
            bulletin,
            report: ids::own_id("report", &words),
            before: Written::default(),
            objects: Written::default(),
            named: HashMap::new(),
            needs_report: false,
        }
    }

    /// The id of an object that a part becomes; `role` tells several of one part apart.
    fn id(&self, kind: &str, part: &DisclosedPart, role: &str) -> String {
        ids::own_id(kind, &[&self.bulletin.id.to_string(), &part.leaf, role])
    }

    /// What every versioned object of ours has.
    fn versioned(&self, kind: &str, id: String) -> Map<String, Value> {
        let created = stix_time(self.bulletin.created);
        let mut object = head(kind, id);
        object.insert("created".into(), created.clone().into());
        let modified = match self.bulletin.ended() {
            Some(at) => {
                object.insert("revoked".into(), true.into());
                stix_time(at.max(self.bulletin.created))
            }
            None => created,
        };
        object.insert("modified".into(), modified.into());
        if let Some(name) = &self.bulletin.originator {
            object.insert("created_by_ref".into(), identity_id(name).into());
        }
        object
    }

    /// Writes an object of ours, marked as its part is; returns its id.
    fn add(&mut self, part: &DisclosedPart, mut object: Map<String, Value>) -> String {
        let (refs, definitions) = marking_refs(self.bulletin, Some(part));
        object.insert("object_marking_refs".into(), json!(refs));
        let tlp = self.bulletin.tlp_of(part);
        for definition in definitions {
            self.before.put(definition);
        }
        let object = written(object, part.content.class(), Some(tlp));
        let id = object.id.clone();
        self.needs_report = true;
        self.objects.put(object);
        id
    }

    /// Writes an object that came as STIX, as it came.
    fn add_as_it_came(&mut self, part: &DisclosedPart, json: &str) {
        let Ok(Value::Object(object)) = serde_json::from_str(json) else {
            return;
        };
        let (id, kind) = (text(&object, "id"), text(&object, "type"));
        if id.is_empty() || kind.is_empty() {
            return;
        }
        let version = text(&object, "modified").to_owned();
        let marked = standard_tlp(&object);
        let tlp = self.bulletin.tlp_of(part);
        // Its bytes are not ours to mark: where they say less than the bulletin, the report does.
        let says_less = kind != "marking-definition" && marked < Some(tlp);
        self.needs_report |= says_less || self.labels_say_more();
        let object = Object {
            id: id.to_owned(),
            kind: kind.to_owned(),
            json: json.to_owned(),
            class: part.content.class(),
            tlp: Some(marked.map_or(tlp, |marked| marked.max(tlp))),
        };
        self.objects.put_version(version, object);
    }

    /// The bulletin is more than a vehicle for STIX objects.
    fn labels_say_more(&self) -> bool {
        let bulletin = self.bulletin;
        bulletin.exercise
            || bulletin.classification.is_some()
            || !bulletin.caveats.is_empty()
            || !bulletin.releasable_to.is_empty()
    }

    fn finish(self) -> Vec<Object> {
        let mut all = self.before;
        for (version, object) in self.objects.all {
            all.put_version(version, object);
        }
        all.all.into_iter().map(|(_, object)| object).collect()
    }
}

/// Objects in their order, each version once.
#[derive(Default)]
struct Written {
    /// Each with what tells its version: when it was modified; empty for what has no versions, and
    /// for ours.
    all: Vec<(String, Object)>,
    at: HashMap<(String, String), usize>,
}

impl Written {
    /// Adds an object of ours.
    fn put(&mut self, object: Object) {
        self.put_version(String::new(), object);
    }

    /// Adds an object. Of the same one, what may go less far stays.
    fn put_version(&mut self, version: String, object: Object) {
        let key = (object.id.clone(), version.clone());
        match self.at.get(&key) {
            Some(at) if self.all[*at].1.tlp < object.tlp => self.all[*at].1 = object,
            Some(_) => {}
            None => {
                self.at.insert(key, self.all.len());
                self.all.push((version, object));
            }
        }
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.all.iter().map(|(_, object)| object)
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Type, version and id.
fn head(kind: &str, id: String) -> Map<String, Value> {
    Map::from_iter([
        ("type".to_owned(), kind.into()),
        ("spec_version".to_owned(), "2.1".into()),
        ("id".to_owned(), id.into()),
    ])
}

fn written(object: Map<String, Value>, class: PartClass, tlp: Option<Tlp>) -> Object {
    Object {
        id: text(&object, "id").to_owned(),
        kind: text(&object, "type").to_owned(),
        class,
        tlp,
        json: ids::canonical(&Value::Object(object)),
    }
}

/// A time as STIX writes it (section 3.2): three digits below the second, or six where it needs them.
fn stix_time(at: Timestamp) -> String {
    use time::macros::format_description;
    let moment = time::OffsetDateTime::from(at);
    let text = if at.micros() % 1_000 == 0 {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        moment.format(format)
    } else {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        moment.format(format)
    };
    // Cannot fail: every part of the format is in a date and a time.
    text.unwrap_or_else(|_| FIXED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{Draft, OpenPart, Part};
    use crate::clock::SeededEntropy;
    use crate::formats::stix::marking::standard_id;
    use crate::formats::stix::read_bundle;

    const PARTS: &str = r#"
kinds = ["cyber"]
topics = ["cyber/malware"]
regions = ["EE-37"]
tlp = "TLP:AMBER"
classification = { policy = "NATO", level = "RESTRICTED" }
precedence = "FLASH"
reliability = "B"
credibility = 2
part = [
    { type = "domain", value = "c2.example", context = { first_seen = "2026-11-01T00:00:00Z", comment = "beacons" } },
    { type = "file", name = "it's.exe", sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    { type = "ip", value = "198.51.100.7", tlp = "TLP:RED" },
    { type = "sighting", of = "c2.example", count = 3, last = "2026-11-02T00:00:00Z", place = "a utility" },
    { type = "sighting", of = "203.0.113.9", count = 2, first = "2026-11-02T00:00:00Z" },
    { type = "vulnerability", id = "CVE-2026-12345" },
    { type = "detection-rule", language = "sigma", rule = "title: x" },
    { type = "warning", text = "A lorry.", region = "EE", place = "market", latitude = 59.4, longitude = 24.7 },
    { type = "person", name = "Jo Doe", aliases = ["J"] },
    { type = "narrative", title = "What happened", text = "This.", language = "en" },
    { type = "telephone", number = "+37255512345" },
    { type = "source", description = "a friend" },
    { type = "action", text = "Block it." },
    { type = "attachment", name = "a.pdf", media_type = "application/pdf", data = "AAAA" },
    { type = "tls-fingerprint", method = "ja3", value = "abc" },
]
"#;

    /// What a reader has of a draft, without the parts of these classes.
    fn disclosed(toml: &str, without: &[PartClass]) -> Disclosed {
        let mut draft = Draft::from_toml(toml).unwrap();
        draft.id = Some("0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap());
        let originator = "norland.example".parse().unwrap();
        let now = "2026-11-23T12:00:00.123456Z".parse().unwrap();
        let unsealed = draft
            .into_unsealed(&originator, now, &SeededEntropy::new(1))
            .unwrap();
        let parts = (0..).zip(unsealed.parts).map(|(salt, part)| {
            let open = Part::Open(OpenPart {
                salt: [salt; 32],
                class: part.class.to_string(),
                marking: part.marking,
                body: part.body,
            });
            if without.contains(&part.class) {
                Part::Withheld(open.leaf())
            } else {
                open
            }
        });
        let parts: Vec<Part> = parts.collect();
        Disclosed::of(&unsealed.header, &parts, Some(originator.to_string()))
    }

    fn of_kind(objects: &[Object], kind: &str) -> Vec<Value> {
        let of_kind = objects.iter().filter(|one| one.kind == kind);
        of_kind
            .map(|one| serde_json::from_str(&one.json).unwrap())
            .collect()
    }

    #[test]
    fn every_part_becomes_objects_that_are_valid_and_know_only_one_another() {
        let objects = objects(&disclosed(PARTS, &[]));
        let texts: Vec<&str> = objects.iter().map(|one| one.json.as_str()).collect();
        let bundle = format!(
            r#"{{"type":"bundle","id":"bundle--{}","objects":[{}]}}"#,
            uuid::Uuid::nil(),
            texts.join(",")
        );
        let read = read_bundle(bundle.as_bytes()).unwrap();
        assert_eq!(read.refused, [], "{bundle}");
        let ids: Vec<&str> = objects.iter().map(|one| one.id.as_str()).collect();
        for object in &read.objects {
            // Marked by what is in the bundle as far as it may go.
            let own = objects.iter().find(|one| one.id == object.id).unwrap();
            assert!(own.tlp.is_none() || object.tlp == own.tlp, "{object:?}");
            for id in object.json.split('"').filter(|text| text.contains("--")) {
                let extension = id.starts_with("extension-definition--");
                assert!(extension || ids.contains(&id), "{id} is not there");
            }
        }
        let indicators = of_kind(&objects, "indicator");
        let patterns: Vec<&str> = indicators
            .iter()
            .map(|one| one["pattern"].as_str().unwrap())
            .collect();
        let sha256 = "a".repeat(64);
        let file = format!("[file:name = 'it\\'s.exe' AND file:hashes.'SHA-256' = '{sha256}']");
        assert_eq!(
            patterns,
            [
                "[domain-name:value = 'c2.example']",
                &file,
                "[ipv4-addr:value = '198.51.100.7']",
                "title: x",
                "[x-entente-tls-fingerprint:ja3 = 'abc']",
            ]
        );
        assert_eq!(indicators[0]["confidence"], 70, "from credibility 2");
        assert_eq!(indicators[0]["created"], "2026-11-23T12:00:00.123456Z");
        let sighting = &of_kind(&objects, "sighting")[0];
        assert_eq!(sighting["sighting_of_ref"], indicators[0]["id"]);
        assert_eq!(of_kind(&objects, "observed-data").len(), 2);
    }

    #[test]
    fn a_report_holds_them_under_the_bulletins_labels() {
        let objects = objects(&disclosed(PARTS, &[]));
        let report = &of_kind(&objects, "report")[0];
        assert_eq!(report["name"], "What happened");
        let labels = report["labels"].as_array().unwrap();
        assert!(labels.contains(&json!("precedence:flash")));
        assert!(labels.contains(&json!("admiralty-scale:source-reliability=\"b\"")));
        let held = report["object_refs"].as_array().unwrap().len();
        let others = ["marking-definition", "report"];
        let content = objects
            .iter()
            .filter(|one| !others.contains(&one.kind.as_str()));
        // All but its originator's identity.
        assert_eq!(held + 1, content.count());
    }

    #[test]
    fn the_same_parts_give_the_same_bytes() {
        let once = objects(&disclosed(PARTS, &[]));
        assert_eq!(once, objects(&disclosed(PARTS, &[])));
    }

    #[test]
    fn a_withheld_part_leaves_nothing() {
        let whole = objects(&disclosed(PARTS, &[]));
        // The decision withholds with a part what names it: the sightings.
        let withheld = [PartClass::Network, PartClass::Person, PartClass::Sighting];
        let left = objects(&disclosed(PARTS, &withheld));
        let texts: Vec<&str> = left.iter().map(|one| one.json.as_str()).collect();
        let text = texts.join("\n");
        for gone in ["198.51.100.7", "Jo Doe", "x-entente-tls"] {
            assert!(!text.contains(gone), "{gone}");
        }
        for object in whole.iter().filter(|one| withheld.contains(&one.class)) {
            assert!(!text.contains(&object.id), "{} is named", object.json);
        }
        let report = |objects: &[Object]| of_kind(objects, "report")[0]["id"].clone();
        assert_ne!(
            report(&whole),
            report(&left),
            "with fewer parts it is another object"
        );
        assert_eq!(objects(&disclosed(PARTS, PartClass::ALL)), []);
    }

    #[test]
    fn a_part_is_marked_with_its_own_level() {
        let objects = objects(&disclosed(PARTS, &[]));
        let red = standard_id(Tlp::Red);
        let marked = objects
            .iter()
            .filter(|one| one.id != red && one.json.contains(red));
        let marked: Vec<&str> = marked.map(|one| one.kind.as_str()).collect();
        assert_eq!(marked, ["indicator"]);
        let statement = objects
            .iter()
            .find(|one| one.json.contains("Classification: NATO RESTRICTED"));
        let id = &statement.unwrap().id;
        for indicator in of_kind(&objects, "indicator") {
            assert!(indicator.to_string().contains(id));
        }
    }

    #[test]
    fn what_was_taken_back_or_superseded_is_revoked() {
        let at = Some("2026-11-24T00:00:00Z".parse().unwrap());
        let (mut back, mut replaced) = (disclosed(PARTS, &[]), disclosed(PARTS, &[]));
        (back.taken_back, replaced.superseded) = (at, at);
        for bulletin in [back, replaced] {
            for indicator in of_kind(&objects(&bulletin), "indicator") {
                assert_eq!(indicator["revoked"], true);
                assert_eq!(indicator["modified"], "2026-11-24T00:00:00.000Z");
            }
        }
    }

    #[test]
    fn what_came_as_stix_goes_out_as_it_came() {
        let object = |tlp: Tlp| {
            format!(
                "{{ \"type\":\"tool\", \"spec_version\":\"2.1\",\"id\":\"tool--00000000-0000-4000-8000-000000000001\", \
                 \"created\":\"2026-01-01T00:00:00Z\",\"modified\":\"2026-01-01T00:00:00Z\",\
                 \"name\":\"t\\u0041\",\"object_marking_refs\":[\"{}\"]}}",
                standard_id(tlp)
            )
        };
        let bulletin = |json: &str| {
            let toml = format!(
                "kinds=[\"cyber\"]\ntopics=[\"cyber\"]\ntlp=\"TLP:AMBER\"\n[[part]]\n\
                 type=\"stix\"\nclass=\"context\"\njson='''{json}'''\n"
            );
            disclosed(&toml, &[])
        };
        let marked = object(Tlp::Amber);
        let alone = objects(&bulletin(&marked));
        assert_eq!(alone.len(), 1, "it says itself how far it may go");
        assert_eq!(alone[0].json, marked);
        let says_less = object(Tlp::Green);
        let held = objects(&bulletin(&says_less));
        assert!(held.iter().any(|one| one.json == says_less));
        let report = &of_kind(&held, "report")[0];
        assert_eq!(report["object_refs"], json!([alone[0].id]));
        let amber = json!([standard_id(Tlp::Amber)]);
        assert_eq!(report["object_marking_refs"], amber);
    }
}
