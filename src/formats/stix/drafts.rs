//! Valid objects into bulletins.

use std::collections::BTreeMap;

use super::bundle::{Bundle, Object};
use crate::bulletin::content::Stix;
use crate::bulletin::{Content, Draft, DraftPart, Kind, Marking, Precedence, Region, Tlp, Topic};
use crate::partner::PartnerId;

/// Objects and bytes of one bulletin: well within the limits of a bulletin, and of what one
/// request to the node may carry.
const MAX_OBJECTS: usize = 1_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The labels of bulletins made from a bundle: the publisher's business, since STIX has no room
/// for them.
#[derive(Clone, Debug)]
pub struct Labels {
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// About what exactly.
    pub topics: Vec<Topic>,
    /// Where.
    pub regions: Vec<Region>,
    /// The least TLP; what is marked stricter keeps its own.
    pub tlp: Tlp,
    /// How urgent.
    pub precedence: Precedence,
    /// To whom it is releasable; none: no restriction beyond the agreements.
    pub releasable_to: Vec<PartnerId>,
    /// Nothing of it is real.
    pub exercise: bool,
}

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
                drafts.push(draft(labels, tlp, std::mem::take(&mut parts)));
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
        drafts.push(draft(labels, tlp, parts));
    }
    drafts
}

fn draft(labels: &Labels, tlp: Tlp, parts: Vec<DraftPart>) -> Draft {
    Draft {
        pseudonym: None,
        as_of: None,
        id: None,
        kinds: labels.kinds.clone(),
        topics: labels.topics.clone(),
        regions: labels.regions.clone(),
        tlp,
        classification: None,
        releasable_to: labels.releasable_to.clone(),
        hide_audience: false,
        caveats: Vec::new(),
        precedence: labels.precedence,
        exercise: labels.exercise,
        reliability: None,
        credibility: None,
        valid_from: None,
        valid_until: None,
        supersedes: Vec::new(),
        retracts: Vec::new(),
        parts,
    }
}
