//! What comes back: objects at another server that this partner published itself, or that were made of what it and its
//! partners published. A poll passes them over.
//!
//! They are known by what the node noted of its own publications, and by the identities under which Entente writes
//! objects, whose ids follow from the partner's name: nobody else writes under them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::rows::{self, Carried};
use crate::bulletin::BulletinId;
use crate::formats::stix::{ObjectVersion, export};
use crate::gateway::taxii::Fault;
use crate::node::{Applications, MAX_NOTE_NAME, Outcome};
use crate::proof::Digest;

/// Collections of this node that are looked through for one object.
const MAX_COLLECTIONS: usize = 1_000;
/// Bulletins that are looked at for one object.
const MAX_CARRIERS: usize = 256;

/// Under this name it is noted which bulletins carry a STIX object that a command published: their ids, in JSON. It
/// names the object, by a hash where its id is too long for a name.
pub fn note_of_object(id: &str) -> String {
    let name = format!("stix/{id}");
    if name.len() <= MAX_NOTE_NAME {
        return name;
    }
    // No id has this form: it has no type.
    format!("stix/--{}", Digest::of(id.as_bytes()))
}

/// Under this name it is noted what such a bulletin carries: a JSON object with `objects`.
pub fn note_of_bulletin(id: &BulletinId) -> String {
    format!("stix-bulletin/{id}")
}

#[derive(Deserialize)]
struct Noted {
    #[serde(default)]
    objects: Vec<(String, ObjectVersion)>,
}

/// Leaves out what comes back; how much that was. `polled` is the collection under which the poll publishes.
pub(in crate::gateway) fn pass_over<'a>(
    node: &Applications,
    polled: &str,
    objects: &[&'a RawValue],
) -> Result<(Vec<&'a RawValue>, usize), Fault> {
    let own = node.partner();
    let parties = node.agreements().into_iter().flat_map(|ratified| {
        let parties = ratified.agreement().parties.iter();
        parties.map(|one| one.partner.clone()).collect::<Vec<_>>()
    });
    let names: BTreeSet<_> = parties.chain([own]).collect();
    let identities: BTreeSet<String> = names
        .iter()
        .map(|name| export::identity_id(name.as_str()))
        .collect();
    let mut collections = None;
    let read: Vec<Map<String, Value>> = objects
        .iter()
        .map(|raw| serde_json::from_str(raw.get()).unwrap_or_default())
        .collect();
    let mut back = Vec::with_capacity(objects.len());
    for (raw, object) in objects.iter().zip(&read) {
        let id = text(object, "id");
        let by = text(object, "created_by_ref");
        let ours = identities.contains(by) || identities.contains(id);
        back.push(ours || is_published(node, &mut collections, polled, id, raw.get())?);
    }
    let back = with_what_they_name(&read, back);
    let kept = objects.iter().zip(&back).filter(|(_, back)| !**back);
    let kept: Vec<&RawValue> = kept.map(|(raw, _)| *raw).collect();
    let passed = objects.len() - kept.len();
    Ok((kept, passed))
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whether this object is in a bulletin that was published here, in this version or a newer one.
fn is_published(
    node: &Applications,
    collections: &mut Option<Vec<String>>,
    polled: &str,
    id: &str,
    json: &str,
) -> Result<bool, Fault> {
    let version = ObjectVersion::of(json);
    let same = |objects: &[(String, ObjectVersion)]| {
        let mut all = objects.iter();
        all.any(|(old, known)| old == id && !version.is_newer(known))
    };
    let holds = |bulletin: &BulletinId| {
        let outcome = node.outcome(bulletin)?;
        Ok::<_, Fault>(outcome.is_some_and(|one| !matches!(one, Outcome::Rejected(_))))
    };
    let noted = node.noted(&note_of_object(id))?;
    let noted = noted.and_then(|text| serde_json::from_str::<Vec<BulletinId>>(&text).ok());
    for bulletin in noted.unwrap_or_default() {
        let note = node.noted(&note_of_bulletin(&bulletin))?;
        let note = note.and_then(|text| serde_json::from_str::<Noted>(&text).ok());
        if note.is_some_and(|note| same(&note.objects)) && holds(&bulletin)? {
            return Ok(true);
        }
    }
    if collections.is_none() {
        let prefix = rows::name(&super::rights::publishes(""));
        let found = node.rows(&prefix, &[], MAX_COLLECTIONS)?;
        let ids = found
            .iter()
            .map(|(_, id)| String::from_utf8_lossy(id).into_owned());
        *collections = Some(ids.filter(|id| id != polled).collect());
    }
    for collection in collections.iter().flatten() {
        for (key, _) in node.rows(&rows::posted_in(collection, id), &[], MAX_CARRIERS)? {
            let Some(bulletin) = rows::posted_of(&key) else {
                continue;
            };
            let row = node.row(&rows::carried(collection, &bulletin))?;
            let carried = row.and_then(|row| serde_json::from_slice::<Carried>(&row).ok());
            if carried.is_some_and(|carried| same(&carried.objects)) && holds(&bulletin)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Observables, markings and the places that Entente writes have nobody who made them: they come back where what names
/// them does, and nothing that stays names them. Others' objects may leave out who made them, and stay.
fn with_what_they_name(objects: &[Map<String, Value>], mut back: Vec<bool>) -> Vec<bool> {
    let mut named: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for (object, back) in objects.iter().zip(&back) {
        for (name, value) in object {
            if name == "id" {
                continue;
            }
            names(value, &mut |id| {
                let (by_back, by_kept) = named.entry(id.to_owned()).or_default();
                *by_back |= back;
                // What has nobody who made it says nothing of what it names.
                *by_kept |= !back
                    && (object.contains_key("created_by_ref") || object.contains_key("created"));
            });
        }
    }
    for (object, back) in objects.iter().zip(&mut back) {
        let nobodys = !object.contains_key("created")
            || text(object, "type") == "marking-definition"
            || export::is_place(object);
        let anonymous = nobodys && !object.contains_key("created_by_ref");
        let about = named.get(text(object, "id"));
        *back |= anonymous && about.is_some_and(|(by_back, by_kept)| *by_back && !by_kept);
    }
    back
}

/// Every text in a value that may be the id of an object.
fn names(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if text.contains("--") => each(text),
        Value::Array(all) => all.iter().for_each(|one| names(one, each)),
        Value::Object(map) => map.values().for_each(|one| names(one, each)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_maker_comes_back_with_what_names_it_and_nothing_else() {
        let read = |text: &str| serde_json::from_str(text).unwrap();
        let objects = [
            read(r#"{"id":"indicator--1","created":"x","created_by_ref":"identity--own"}"#),
            read(
                r#"{"id":"observed-data--1","created":"x","created_by_ref":"identity--own","object_refs":["ipv4-addr--1","ipv4-addr--2"]}"#,
            ),
            read(r#"{"id":"ipv4-addr--1"}"#),
            read(r#"{"id":"ipv4-addr--2"}"#),
            read(r#"{"id":"ipv4-addr--3"}"#),
            read(
                r#"{"id":"observed-data--2","created":"x","object_refs":["ipv4-addr--2","ipv4-addr--3"]}"#,
            ),
        ];
        let back = vec![true, true, false, false, false, false];
        let found = with_what_they_name(&objects, back);
        assert_eq!(found, [true, true, true, false, false, false]);
    }

    #[test]
    fn what_others_made_stays_though_only_own_objects_name_it() {
        let read = |text: &str| serde_json::from_str(text).unwrap();
        let mut objects: Vec<Map<String, Value>> = vec![
            read(
                r#"{"id":"relationship--1","created":"x","source_ref":"malware--1","target_ref":"location--1",
                    "object_marking_refs":["marking-definition--1"]}"#,
            ),
            read(r#"{"type":"malware","id":"malware--1","created":"x"}"#),
            read(r#"{"type":"location","id":"location--1","created":"x","country":"DE"}"#),
            read(r#"{"type":"marking-definition","id":"marking-definition--1","created":"x"}"#),
        ];
        let back = vec![true, false, false, false];
        let found = with_what_they_name(&objects, back.clone());
        assert_eq!(found, [true, false, false, true]);
        // The place that Entente writes for a region.
        let place = export::place_id("DE".parse().unwrap());
        objects[2].insert("id".into(), place.clone().into());
        objects[0].insert("target_ref".into(), place.into());
        let found = with_what_they_name(&objects, back);
        assert_eq!(found, [true, false, true, true]);
    }

    #[test]
    fn a_note_has_a_name_however_long_the_id_of_an_object_is() {
        let short = "tool--00000000-0000-4000-8000-000000000001";
        assert_eq!(note_of_object(short), format!("stix/{short}"));
        let long = |kind: &str| format!("x-{}--{short}", kind.repeat(250));
        let names = [note_of_object(&long("a")), note_of_object(&long("b"))];
        assert!(names.iter().all(|name| name.len() <= MAX_NOTE_NAME));
        assert_ne!(names[0], names[1]);
    }
}
