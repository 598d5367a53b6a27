//! Valid objects into bulletins.

use std::collections::BTreeMap;

use super::bundle::{Bundle, Object};
use crate::bulletin::content::Stix;
use crate::bulletin::{Content, Draft, DraftPart, Marking, Tlp};
use crate::formats::Labels;

/// Objects and bytes of one bulletin: well within the limits of a bulletin, and of what one
/// request to the node may carry.
const MAX_OBJECTS: usize = 1_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Makes bulletins of a bundle's objects: those of one TLP level together, in their order, so that
/// one object's marking does not hold back another.
pub fn drafts(bundle: Bundle, labels: &Labels) -> Vec<Draft> {
    let mut levels: BTreeMap<Tlp, Vec<Object>> = BTreeMap::new();
    for object in bundle.objects {
        let tlp = object.tlp.map_or(labels.tlp, |tlp| tlp.max(labels.tlp));
        levels.entry(tlp).or_default().push(object);
    }
    let mut drafts = Vec::new();
    for (tlp, objects) in levels {
        let mut parts = Vec::new();
        let mut bytes = 0;
        for object in objects {
            let full = parts.len() == MAX_OBJECTS || bytes + object.json.len() > MAX_BYTES;
            if full && !parts.is_empty() {
                drafts.push(labels.draft(tlp, std::mem::take(&mut parts)));
                bytes = 0;
            }
            bytes += object.json.len();
            let content = Content::Stix(Stix {
                class: object.class,
                json: object.json,
            });
            parts.push(DraftPart {
                content,
                marking: Marking::default(),
            });
        }
        drafts.push(labels.draft(tlp, parts));
    }
    drafts
}
