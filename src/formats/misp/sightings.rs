//! Sightings in an event that was made of a bulletin received here: whoever published it is told.

use std::collections::HashMap;

use super::event::{Attribute, Event, seconds};
use super::export::attributes_of;
use crate::bulletin::content::SightingMark;
use crate::clock::Timestamp;
use crate::formats::Disclosed;
use crate::formats::sighting::{Observation, Target, targets};

/// What the sightings of an event say of the parts of the bulletin that it was made of; those of values that
/// were added to it since are of no part of it.
pub fn sightings(event: &Event, bulletin: &Disclosed) -> Vec<(Target, Observation)> {
    let leaves: HashMap<String, String> = attributes_of(bulletin).into_iter().collect();
    let targets: HashMap<String, Target> = targets(bulletin)
        .into_iter()
        .map(|target| (target.leaf.to_string(), target))
        .collect();
    let inner = event.objects.iter().flat_map(|object| &object.attributes);
    // Several attributes may be of one part, such as the hashes of a file: each in its first place.
    let mut found: Vec<(&Target, Vec<Observation>)> = Vec::new();
    for attribute in event.attributes.iter().chain(inner) {
        let said = observations(attribute);
        let leaf = leaves.get(attribute.uuid.as_str());
        let Some(target) = leaf.and_then(|leaf| targets.get(leaf)) else {
            continue;
        };
        match found.iter_mut().find(|(one, _)| one.leaf == target.leaf) {
            Some((_, all)) => {
                for one in said {
                    join(all, one);
                }
            }
            None => found.push((target, said)),
        }
    }
    let each = found.into_iter().flat_map(|(target, all)| {
        all.into_iter()
            .map(|one| (target.clone(), one))
            .collect::<Vec<_>>()
    });
    each.collect()
}

/// Of each kind one.
fn observations(attribute: &Attribute) -> Vec<Observation> {
    let mut all = Vec::new();
    for one in &attribute.sightings {
        let mark = match one.kind.unwrap_or(0) {
            0 => None,
            1 => Some(SightingMark::FalsePositive),
            2 => Some(SightingMark::Expired),
            // A kind that nobody knows says nothing.
            _ => continue,
        };
        let at: Option<Timestamp> = one.date_sighting.and_then(seconds);
        let seen = mark.is_none();
        join(
            &mut all,
            Observation {
                mark,
                count: u64::from(seen),
                first: at.filter(|_| seen),
                last: at,
                place: None,
            },
        );
    }
    all
}

fn join(all: &mut Vec<Observation>, one: Observation) {
    match all.iter_mut().find(|known| known.mark == one.mark) {
        Some(known) => {
            known.count += one.count;
            known.first = [known.first, one.first].into_iter().flatten().min();
            known.last = known.last.max(one.last);
        }
        None => all.push(one),
    }
}
