//! New versions of objects that were published before.
//!
//! STIX versions objects, Entente bulletins. A bundle supersedes a bulletin where it has all of that
//! bulletin's objects, none older and one newer; and takes it back where all of them are revoked in it.
//! Otherwise a newer version stands beside the older one, as it does in STIX, since the bulletin's
//! other objects still hold. What is there already is not published again.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bundle::{Bundle, Object, RefusedObject};
use super::drafts::drafts;
use crate::bulletin::{BulletinId, Content, Draft};
use crate::clock::Timestamp;
use crate::formats::Labels;

/// Which bulletins carry which versions of which objects.
#[derive(Clone, Debug, Default)]
pub struct Published {
    bulletins: HashMap<BulletinId, Vec<(String, ObjectVersion)>>,
    carriers: HashMap<String, Vec<(ObjectVersion, BulletinId)>>,
}

/// A version of an object, as far as others are compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// `None`: of what has no versions.
    modified: Option<Timestamp>,
    revoked: bool,
    digest: [u8; 32],
}

impl ObjectVersion {
    /// Of an object's exact text.
    pub fn of(json: &str) -> Self {
        #[derive(serde::Deserialize, Default)]
        struct Fields {
            modified: Option<Timestamp>,
            #[serde(default)]
            revoked: bool,
        }
        let fields: Fields = serde_json::from_str(json).unwrap_or_default();
        let digest = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self {
            modified: fields.modified,
            revoked: fields.revoked,
            digest: bytes,
        }
    }
}

impl ObjectVersion {
    /// Whether both say to be the same version, and are not.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.modified.is_some() && self.modified == other.modified && self != other
    }

    /// SHA-256 of its exact text.
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether its creator revoked it.
    pub const fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Whether it was modified later.
    pub fn is_newer(&self, other: &Self) -> bool {
        self.modified > other.modified
    }
}

/// The objects of a bulletin, by id and version.
pub fn carried(draft: &Draft) -> Vec<(String, ObjectVersion)> {
    let objects = draft.parts.iter().filter_map(|part| {
        let Content::Stix(stix) = &part.content else {
            return None;
        };
        let object: Map<String, Value> = serde_json::from_str(&stix.json).ok()?;
        let id = object.get("id")?.as_str()?.to_owned();
        Some((id, ObjectVersion::of(&stix.json)))
    });
    objects.collect()
}

impl Published {
    /// Notes an object that a bulletin carries: its id and its exact text.
    pub fn note(&mut self, bulletin: BulletinId, id: &str, json: &str) {
        self.note_version(bulletin, id, ObjectVersion::of(json));
    }

    /// As [`Self::note`], by what was kept of the text.
    pub fn note_version(&mut self, bulletin: BulletinId, id: &str, version: ObjectVersion) {
        let carriers = self.carriers.entry(id.to_owned()).or_default();
        carriers.push((version.clone(), bulletin));
        let carried = self.bulletins.entry(bulletin).or_default();
        carried.push((id.to_owned(), version));
    }

    /// The bulletins that carry an object, each with the version that it carries.
    pub fn carriers(&self, id: &str) -> impl Iterator<Item = &(ObjectVersion, BulletinId)> {
        self.carriers.get(id).into_iter().flatten()
    }

    /// What becomes of a bulletin: `None` nothing; or whether all of it is revoked.
    fn replaced(
        &self,
        bulletin: &BulletinId,
        new: &HashMap<String, ObjectVersion>,
    ) -> Option<bool> {
        let carried = self.bulletins.get(bulletin)?;
        let (mut newer, mut revoked) = (false, true);
        for (id, old) in carried {
            let new = new.get(id)?;
            if new.modified < old.modified {
                return None;
            }
            newer |= new.modified > old.modified;
            // What has no versions is taken back with what has.
            revoked &= new.revoked || new.modified.is_none();
        }
        newer.then_some(revoked)
    }
}

/// What a bundle adds to what was published.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The bulletins to publish.
    pub drafts: Vec<Draft>,
    /// How many objects were published before, as they are.
    pub unchanged: usize,
    /// Objects that were published with other properties under the same id and time.
    pub contradicting: Vec<RefusedObject>,
}

/// Makes bulletins of what is new in a bundle.
pub fn renew(mut bundle: Bundle, labels: &Labels, published: &Published) -> Renewal {
    let mut contradicting = Vec::new();
    // Where the objects stood before those that are refused were taken out.
    let refused: HashSet<usize> = bundle.refused.iter().map(|one| one.index).collect();
    let mut places = (0..).filter(|place| !refused.contains(place));
    bundle.objects.retain(|object| {
        let index = places.next().unwrap_or_default();
        let version = ObjectVersion::of(&object.json);
        let mut carriers = published.carriers(&object.id);
        let other = carriers.any(|(old, _)| version.contradicts(old));
        if other {
            contradicting.push(RefusedObject {
                index,
                id: Some(object.id.clone()),
                property: "modified".into(),
                reason: "it was published with other properties under this id and time".into(),
            });
        }
        !other
    });
    let mut newest: HashMap<String, ObjectVersion> = HashMap::new();
    for object in &bundle.objects {
        let version = ObjectVersion::of(&object.json);
        let known = newest
            .entry(object.id.clone())
            .or_insert_with(|| version.clone());
        if known.modified < version.modified {
            *known = version;
        }
    }
    let touched: BTreeSet<BulletinId> = bundle
        .objects
        .iter()
        .flat_map(|object| published.carriers(&object.id))
        .map(|(_, bulletin)| *bulletin)
        .collect();
    let replaced: HashMap<BulletinId, bool> = touched
        .into_iter()
        .filter_map(|bulletin| Some((bulletin, published.replaced(&bulletin, &newest)?)))
        .collect();
    let before = bundle.objects.len();
    bundle.objects.retain(|object| {
        let version = ObjectVersion::of(&object.json);
        let mut same = published
            .carriers(&object.id)
            .filter(|(old, _)| *old == version);
        // It goes along where the bulletin that carried it goes.
        let stays = |(_, bulletin): &(ObjectVersion, BulletinId)| !replaced.contains_key(bulletin);
        !same.any(stays)
    });
    let unchanged = before - bundle.objects.len();
    let drafts = drafts_of(bundle, labels, published, &replaced);
    Renewal {
        drafts,
        unchanged,
        contradicting,
    }
}

fn drafts_of(
    bundle: Bundle,
    labels: &Labels,
    published: &Published,
    replaced: &HashMap<BulletinId, bool>,
) -> Vec<Draft> {
    let ids: HashMap<String, String> = bundle
        .objects
        .iter()
        .map(|Object { id, json, .. }| (json.clone(), id.clone()))
        .collect();
    let mut drafts = drafts(bundle, labels);
    for draft in &mut drafts {
        let mut earlier = BTreeSet::new();
        for part in &draft.parts {
            let Content::Stix(stix) = &part.content else {
                continue;
            };
            if let Some(id) = ids.get(&stix.json) {
                earlier.extend(published.carriers(id).map(|(_, bulletin)| *bulletin));
            }
        }
        for bulletin in earlier {
            match replaced.get(&bulletin) {
                Some(true) => draft.retracts.push(bulletin),
                Some(false) => draft.supersedes.push(bulletin),
                None => {}
            }
        }
    }
    drafts
}

#[cfg(test)]
mod tests {
    use super::super::read_bundle;
    use super::*;
    use crate::bulletin::{Precedence, Tlp};

    fn tool(number: u8, day: u8, more: &str) -> String {
        format!(
            "{{\"type\":\"tool\",\"spec_version\":\"2.1\",\
             \"id\":\"tool--00000000-0000-4000-8000-0000000000{number:02}\",\
             \"created\":\"2026-01-01T00:00:00Z\",\"modified\":\"2026-01-{day:02}T00:00:00Z\",\
             \"name\":\"t\"{more}}}"
        )
    }

    fn published(bulletins: &[(u8, &[String])]) -> Published {
        let mut published = Published::default();
        for (number, objects) in bulletins {
            for object in *objects {
                let id = object
                    .split('"')
                    .find(|text| text.starts_with("tool--"))
                    .unwrap();
                published.note(BulletinId([*number; 16]), id, object);
            }
        }
        published
    }

    fn renewed(objects: &[String], published: &Published) -> Renewal {
        let id = uuid::Uuid::nil();
        let objects = objects.join(",");
        let text =
            format!("{{\"type\":\"bundle\",\"id\":\"bundle--{id}\",\"objects\":[{objects}]}}");
        let labels = Labels {
            kinds: Vec::new(),
            topics: Vec::new(),
            regions: Vec::new(),
            tlp: Tlp::Green,
            precedence: Precedence::Routine,
            releasable_to: Vec::new(),
            exercise: false,
        };
        renew(read_bundle(text.as_bytes()).unwrap(), &labels, published)
    }

    /// Parts, what is superseded and what is retracted, in all drafts; what is unchanged and refused.
    fn outcome(objects: &[String], published: &Published) -> [usize; 5] {
        let made = renewed(objects, published);
        let sum = |of: fn(&Draft) -> usize| made.drafts.iter().map(of).sum();
        [
            sum(|draft| draft.parts.len()),
            sum(|draft| draft.supersedes.len()),
            sum(|draft| draft.retracts.len()),
            made.unchanged,
            made.contradicting.len(),
        ]
    }

    #[test]
    fn a_contradiction_is_named_by_its_place_in_the_bundle() {
        let known = published(&[(1, &[tool(2, 1, "")])]);
        let objects = [
            "{\"type\":\"tool\"}".to_owned(),
            tool(1, 1, ""),
            "{\"type\":\"tool\"}".to_owned(),
            tool(2, 1, ",\"description\":\"x\""),
        ];
        let made = renewed(&objects, &known);
        let places: Vec<usize> = made.contradicting.iter().map(|one| one.index).collect();
        assert_eq!(places, [3]);
    }

    #[test]
    fn newer_versions_replace_a_bulletin_only_where_all_of_it_is_there() {
        let old = published(&[(1, &[tool(1, 1, ""), tool(2, 1, "")])]);
        let revoked = ",\"revoked\":true";
        for (bundle, expected, why) in [
            (
                vec![tool(1, 1, ""), tool(2, 1, "")],
                [0, 0, 0, 2, 0],
                "the same again",
            ),
            (
                vec![tool(1, 2, ""), tool(2, 1, "")],
                [2, 1, 0, 0, 0],
                "one is newer",
            ),
            (
                vec![tool(1, 2, "")],
                [1, 0, 0, 0, 0],
                "the other still holds",
            ),
            (
                vec![tool(1, 2, revoked), tool(2, 2, revoked)],
                [2, 0, 1, 0, 0],
                "all are revoked",
            ),
            (
                vec![tool(1, 2, revoked), tool(2, 2, "")],
                [2, 1, 0, 0, 0],
                "one is revoked",
            ),
            (vec![tool(3, 1, "")], [1, 0, 0, 0, 0], "another object"),
            (
                vec![tool(1, 1, ",\"description\":\"x\""), tool(2, 1, "")],
                [0, 0, 0, 1, 1],
                "the same time and other properties",
            ),
        ] {
            assert_eq!(outcome(&bundle, &old), expected, "{why}");
        }
        let newer = published(&[(1, &[tool(1, 3, "")])]);
        assert_eq!(
            outcome(&[tool(1, 2, "")], &newer),
            [1, 0, 0, 0, 0],
            "an older one"
        );
    }
}
