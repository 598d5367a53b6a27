//! The STIX objects of a bulletin: parts that came as STIX as those, the rest as `formats` writes it.
//!
//! Which there are depends on who asks, since a report names all the others and counts them: they are written
//! from the parts that a client of a level may see, and from nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::bulletin::{Content, OpenPart, Part, Tlp, mentions};
use crate::clock::Timestamp;
use crate::formats::Disclosed;
use crate::formats::stix::export;
use crate::gateway::disclosed;
use crate::gateway::taxii::Version;
use crate::node::ItemView;

/// The longest type of an object (STIX 2.1, section 3.1), before the dashes of an id.
const MAX_TYPE: usize = 250;
/// A UUID as text.
const UUID: usize = 36;

/// How far the parts that came as STIX let themselves go, by their own markings; those that break a rule of
/// STIX are not among them.
pub(super) type Own = BTreeMap<usize, Tlp>;

/// The parts that came as STIX, each with its number.
pub(super) fn stix(item: &ItemView) -> impl Iterator<Item = (usize, &str)> {
    let parts = item.parts.iter().enumerate();
    parts.filter_map(|(at, part)| match &part.content {
        Some(Content::Stix(stix)) => Some((at, stix.json.as_str())),
        _ => None,
    })
}

/// For each part, the least level of a client that may see it; `None` where nobody may.
fn levels(item: &ItemView, own: &Own) -> Vec<Option<Tlp>> {
    let header = item.header.as_ref();
    let downgraded = item.mark.as_ref().and_then(|mark| mark.tlp);
    let bulletin = downgraded.or_else(|| header.map(|header| header.tlp));
    let parts = item.parts.iter().enumerate();
    let level = parts.map(|(at, part)| {
        let marked = part.tlp.max(bulletin)?;
        match part.content.as_ref()? {
            Content::Stix(_) => own.get(&at).map(|own| marked.max(*own)),
            _ => Some(marked),
        }
    });
    level.collect()
}

/// The levels at which a client sees more of it than below.
pub(super) fn steps(item: &ItemView, own: &Own) -> BTreeSet<Tlp> {
    levels(item, own).into_iter().flatten().collect()
}

/// What a client of this level may have of a bulletin. A part of another type than STIX that names one which
/// is hidden from it is hidden, too; STIX objects are judged by the ids that they name.
pub(super) fn seen(item: &ItemView, own: &Own, most: Tlp) -> Option<Disclosed> {
    let levels = levels(item, own);
    let mut shows: Vec<bool> = levels
        .iter()
        .map(|level| level.is_some_and(|level| level <= most))
        .collect();
    let open = item.parts.iter().map(|part| part.content.is_some());
    if open.zip(&shows).any(|(open, shown)| open && !shown) {
        hide_what_names(item, &mut shows)?;
    }
    let mut seen = disclosed(item, None, |at| shows.get(at).copied().unwrap_or(false))?;
    // Bulletins that it may not see, perhaps.
    seen.references.clear();
    Some(seen)
}

/// `None` where that cannot be found out.
fn hide_what_names(item: &ItemView, shows: &mut [bool]) -> Option<()> {
    let parts = item.parts.iter().map(|part| {
        let content = part.content.as_ref();
        let body = content.and_then(|content| content.encode().ok());
        // Contents that are not here name nothing.
        Part::Open(OpenPart {
            salt: [0; 32],
            class: part.class.clone().unwrap_or_default(),
            marking: crate::bulletin::Marking::default(),
            body: body.unwrap_or_default(),
        })
    });
    let named = mentions(&parts.collect::<Vec<_>>()).ok()?;
    loop {
        let falls = |(at, names): (usize, &Vec<u32>)| {
            let typed = !matches!(item.parts.get(at)?.content, Some(Content::Stix(_)));
            let hidden = names.iter().any(|name| {
                let name = usize::try_from(*name).ok();
                name.and_then(|name| shows.get(name)) == Some(&false)
            });
            (typed && hidden && *shows.get(at)?).then_some(at)
        };
        let fallen: Vec<usize> = named.iter().enumerate().filter_map(falls).collect();
        if fallen.is_empty() {
            return Some(());
        }
        for at in fallen {
            shows[at] = false;
        }
    }
}

/// An object as a client sees it.
pub(super) struct ShownObject {
    pub(super) json: String,
    /// Every id that it names: with the level of the client, an object of ours names others.
    pub(super) named: Vec<String>,
    /// `None` of what has no versions.
    version: Option<Version>,
    /// It came as STIX, and is not ours.
    pub(super) came: bool,
}

/// The objects that a client of one level sees of a bulletin, found by their ids and versions.
pub(super) struct Shown {
    objects: HashMap<String, Vec<ShownObject>>,
    /// Its originator put another in its place.
    pub(super) superseded: bool,
}

impl Shown {
    pub(super) fn of(item: &ItemView, own: &Own, most: Tlp, superseded: Option<Timestamp>) -> Self {
        let mut objects: HashMap<String, Vec<ShownObject>> = HashMap::new();
        let texts: HashSet<&str> = stix(item).map(|(_, json)| json).collect();
        let seen = seen(item, own, most);
        let last = seen.clone().filter(|_| superseded.is_some());
        let last = last.map(|seen| Disclosed { superseded, ..seen });
        for object in seen.iter().chain(&last).flat_map(export::objects) {
            let value: Map<String, Value> = serde_json::from_str(&object.json).unwrap_or_default();
            let version = Version::of(&value);
            let versions = objects.entry(object.id).or_default();
            if versions.iter().any(|one| one.version == version) {
                continue;
            }
            versions.push(ShownObject {
                version,
                came: texts.contains(object.json.as_str()),
                json: object.json,
                named: named(&Value::Object(value)).into_iter().collect(),
            });
        }
        Self {
            objects,
            superseded: superseded.is_some(),
        }
    }

    /// An object in this version; of one that has no versions, whatever is said for it.
    pub(super) fn find(&self, id: &str, version: &str) -> Option<&ShownObject> {
        let mut versions = self.objects.get(id)?.iter();
        versions.find(|one| {
            let said = one.version.as_ref();
            said.is_none_or(|said| said.as_str() == version)
        })
    }
}

/// A bundle of objects as they stand.
pub(super) fn bundle<'a>(objects: impl Iterator<Item = &'a str>) -> String {
    let objects: Vec<&str> = objects.collect();
    format!(
        "{{\"type\":\"bundle\",\"objects\":[{}]}}",
        objects.join(",")
    )
}

/// Every id that an object names anywhere, in references or in text, but its own.
pub(super) fn named(object: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let own = object.get("id").and_then(Value::as_str);
    walk(object, &mut found);
    if let Some(own) = own {
        found.remove(own);
    }
    found
}

fn walk(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => ids(text, found),
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(map) => {
            for (name, value) in map {
                ids(name, found);
                walk(value, found);
            }
        }
        _ => {}
    }
}

fn ids(text: &str, found: &mut BTreeSet<String>) {
    for (at, dashes) in text.match_indices("--") {
        let rest = text.get(at + dashes.len()..at + dashes.len() + UUID);
        let Some(uuid) = rest.filter(|rest| Uuid::try_parse(rest).is_ok()) else {
            continue;
        };
        let before = text[..at].bytes().rev();
        let letters =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        let kind = before.take(MAX_TYPE).take_while(letters).count();
        if kind > 0 {
            let kind = &text[at - kind..at];
            found.insert(format!("{kind}--{uuid}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let uuid = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02x}");
        let id = |n: u8| format!("x-tool--{}", uuid(n));
        let object = json!({
            "id": id(0), "source_ref": id(1), "object_refs": [id(2), id(0)],
            "description": format!("see {} and (malware--{})", id(3), uuid(4)),
            "nested": {"deep": [{"at": id(5)}], id(6): true},
            "other": "a--b -- indicator--1234", "short": format!("--{}", uuid(7)),
        });
        let mut expected: BTreeSet<String> = [1, 2, 3, 5, 6].map(id).into();
        expected.insert(format!("malware--{}", uuid(4)));
        assert_eq!(named(&object), expected);
    }
}
