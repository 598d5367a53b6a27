//! What was published through a collection before of the objects that come now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rows::{self, Carried};
use crate::bulletin::BulletinId;
use crate::formats::stix::{Bundle, Object, ObjectVersion, Published};
use crate::gateway::taxii::Fault;
use crate::node::{Applications, Outcome};

/// Bulletins that are looked at for one object.
const MAX_CARRIERS: usize = 4_096;

/// Bulletins that were published and not refused.
pub(super) struct Earlier {
    /// All that they carry.
    pub(super) published: Published,
    /// For the objects that come now, in which bulletin they are already.
    pub(super) carriers: Vec<((String, ObjectVersion), BulletinId)>,
    /// Those that others of them took the place of.
    pub(super) replaced: BTreeSet<BulletinId>,
    /// Versions that were refused, by their ids.
    refused: HashMap<String, Vec<ObjectVersion>>,
}

impl Earlier {
    /// Whether this was refused, as it is.
    pub(super) fn refused(&self, object: &Object) -> bool {
        let versions = self.refused.get(&object.id);
        versions.is_some_and(|all| all.contains(&ObjectVersion::of(&object.json)))
    }
}

/// What became of a bulletin that was noted.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Holds,
    /// By the broker, or by this node.
    Refused,
    /// The node was killed before it was in the outbox.
    Lost,
}

fn fate(outcome: Option<&Outcome>, carried: &Carried) -> Fate {
    match outcome {
        Some(Outcome::Rejected(_)) => Fate::Refused,
        Some(_) => Fate::Holds,
        None if carried.refused => Fate::Refused,
        None => Fate::Lost,
    }
}

/// Looks for every bulletin that carries an object of these, in whatever version.
pub(super) fn look(
    node: &Applications,
    collection: &str,
    bundle: &Bundle,
) -> Result<Earlier, Fault> {
    let mut found = Earlier {
        published: Published::default(),
        carriers: Vec::new(),
        replaced: BTreeSet::new(),
        refused: HashMap::new(),
    };
    let mut wanted: HashMap<&str, Vec<ObjectVersion>> = HashMap::new();
    for object in &bundle.objects {
        let versions = wanted.entry(&object.id).or_default();
        versions.push(ObjectVersion::of(&object.json));
    }
    let mut carriers: BTreeMap<BulletinId, Carried> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for id in wanted.keys() {
        let prefix = rows::posted_in(collection, id);
        for (key, _) in node.rows(&prefix, &[], MAX_CARRIERS)? {
            let Some(bulletin) = rows::posted_of(&key) else {
                continue;
            };
            if carriers.contains_key(&bulletin) || gone.contains(&bulletin) {
                continue;
            }
            let row = node.row(&rows::carried(collection, &bulletin))?;
            let carried = row.map(|row| serde_json::from_slice::<Carried>(&row));
            let Some(carried) = carried.transpose().map_err(Fault::new)? else {
                gone.insert(bulletin);
                continue;
            };
            // What was refused, or never reached the outbox, is not published: nobody has it.
            match fate(node.outcome(&bulletin)?.as_ref(), &carried) {
                Fate::Holds => {
                    carriers.insert(bulletin, carried);
                    continue;
                }
                Fate::Refused => {
                    for (id, version) in carried.objects {
                        found.refused.entry(id).or_default().push(version);
                    }
                }
                Fate::Lost => {}
            }
            gone.insert(bulletin);
        }
    }
    for (bulletin, carried) in carriers {
        found.replaced.extend(carried.replaces);
        for (id, version) in carried.objects {
            let same = wanted.get(&*id);
            if same.is_some_and(|versions| versions.contains(&version)) {
                let key = (id.clone(), version.clone());
                found.carriers.push((key, bulletin));
            }
            found.published.note_version(bulletin, &id, version);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::stix::read_bundle;

    #[test]
    fn what_was_refused_is_known_by_its_content_and_what_was_lost_is_not() {
        let carried = |refused| Carried {
            objects: Vec::new(),
            replaces: Vec::new(),
            refused,
        };
        let rejected = Outcome::Rejected("no".into());
        assert_eq!(fate(Some(&rejected), &carried(false)), Fate::Refused);
        assert_eq!(fate(None, &carried(true)), Fate::Refused);
        assert_eq!(fate(None, &carried(false)), Fate::Lost);
        for outcome in [Outcome::Pending, Outcome::Promised, Outcome::Proved] {
            assert_eq!(fate(Some(&outcome), &carried(false)), Fate::Holds);
        }
        let tool = |name: &str| {
            let text = format!(
                "{{\"type\":\"bundle\",\"objects\":[{{\"type\":\"tool\",\"spec_version\":\"2.1\",\"id\":\
                 \"tool--00000000-0000-4000-8000-000000000001\",\"created\":\"2026-01-15T09:30:00.000Z\",\
                 \"modified\":\"2026-01-15T09:30:00.000Z\",\"name\":\"{name}\"}}]}}"
            );
            read_bundle(text.as_bytes()).unwrap().objects.remove(0)
        };
        let one = tool("a");
        let found = Earlier {
            published: Published::default(),
            carriers: Vec::new(),
            replaced: BTreeSet::new(),
            refused: [(one.id.clone(), vec![ObjectVersion::of(&one.json)])].into(),
        };
        assert!(found.refused(&one));
        assert!(!found.refused(&tool("b")));
    }
}
