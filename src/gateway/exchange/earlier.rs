//! What was published through a collection before of the objects that come now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rows::{self, Carried};
use crate::bulletin::BulletinId;
use crate::formats::stix::{Bundle, ObjectVersion, Published};
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
            // What was refused, or never reached the outbox, is published anew: nobody has it.
            let row = match node.outcome(&bulletin)? {
                None | Some(Outcome::Rejected(_)) => None,
                Some(_) => node.row(&rows::carried(collection, &bulletin))?,
            };
            if let Some(row) = row {
                let carried = serde_json::from_slice(&row).map_err(Fault::new)?;
                carriers.insert(bulletin, carried);
            } else {
                gone.insert(bulletin);
            }
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
