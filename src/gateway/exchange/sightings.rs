//! Sightings that are added of what was received: each goes back to the originator, and to nobody else.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::earlier::Earlier;
use super::publish::other_content;
use super::rows::{self, Became, Carried, Indexed};
use crate::bulletin::content::SightingMark;
use crate::bulletin::{BulletinId, Draft, Precedence, Relation};
use crate::clock::{Timestamp, random};
use crate::decision::Rulebook;
use crate::formats::sighting::{self, Observation, Target};
use crate::formats::stix::{Bundle, Object, ObjectVersion};
use crate::gateway::feedback;
use crate::gateway::taxii::Fault;
use crate::node::{Applications, ItemView, NoticeDraft};
use crate::partner::Standing;

/// Collections that are looked through for one object.
const MAX_COLLECTIONS: usize = 10_000;
/// Bulletins that are remembered while sightings of a request are looked at.
const MAX_FOUND: usize = 32;
/// Places of one object in a collection.
const MAX_PLACES: usize = 256;

/// Looks for the bulletin of the inbox in which an object came.
pub(in crate::gateway) type Find<'a> = dyn Fn(&str) -> Result<Option<ItemView>, Fault> + 'a;

/// Looks for each object once in a request: many sightings are of the same few.
struct Found<'a> {
    find: &'a Find<'a>,
    /// The last so many; whole bulletins are large.
    items: HashMap<String, Rc<ItemView>>,
    nowhere: HashSet<String>,
}

impl<'a> Found<'a> {
    fn new(find: &'a Find<'a>) -> Self {
        Self {
            find,
            items: HashMap::new(),
            nowhere: HashSet::new(),
        }
    }

    fn find(&mut self, object: &str) -> Result<Option<Rc<ItemView>>, Fault> {
        if let Some(item) = self.items.get(object) {
            return Ok(Some(Rc::clone(item)));
        }
        if self.nowhere.contains(object) {
            return Ok(None);
        }
        let Some(item) = (self.find)(object)? else {
            self.nowhere.insert(object.to_owned());
            return Ok(None);
        };
        let item = Rc::new(item);
        if self.items.len() >= MAX_FOUND {
            self.items.clear();
        }
        self.items.insert(object.to_owned(), Rc::clone(&item));
        Ok(Some(item))
    }
}

/// What becomes of the sightings of a request.
#[derive(Default)]
pub(super) struct Back {
    /// The bulletins to publish.
    pub(super) drafts: Vec<(BulletinId, Draft, Carried)>,
    /// What became of each, by id and version.
    pub(super) became: Vec<(String, ObjectVersion, Became)>,
    /// What of earlier ones is taken back.
    pub(super) recalls: Vec<NoticeDraft>,
}

/// Takes the sightings of received objects out of a bundle. Others stay, and are published as any object.
pub(super) fn take(
    node: &Applications,
    bundle: &mut Bundle,
    before: &Earlier,
    find: &Find<'_>,
) -> Result<Back, Fault> {
    let mut back = Back::default();
    let mut kept = Vec::new();
    let mut rulebook = None;
    let mut found = Found::new(find);
    for object in std::mem::take(&mut bundle.objects) {
        let fields: Map<String, Value> = serde_json::from_str(&object.json).unwrap_or_default();
        let of = fields.get("sighting_of_ref").and_then(Value::as_str);
        let item = match of.filter(|_| object.kind == "sighting") {
            Some(of) => found.find(of)?.map(|item| (of, item)),
            None => None,
        };
        let Some((of, item)) = item else {
            kept.push(object);
            continue;
        };
        let rulebook = rulebook.get_or_insert_with(|| self::rulebook(node));
        match back.settle(&object, &fields, before) {
            Settled::Known => {}
            Settled::Became(became) => {
                back.became
                    .push((object.id.clone(), ObjectVersion::of(&object.json), became));
            }
            Settled::New => back.send(node, rulebook, &object, &fields, before, of, &item)?,
        }
    }
    bundle.objects = kept;
    Ok(back)
}

/// Whether a sighting needs a bulletin.
enum Settled {
    /// It is in one.
    Known,
    /// It needs none.
    Became(Became),
    /// It does.
    New,
}

impl Back {
    fn settle(
        &mut self,
        object: &Object,
        fields: &Map<String, Value>,
        before: &Earlier,
    ) -> Settled {
        let version = ObjectVersion::of(&object.json);
        let earlier: Vec<_> = before.published.carriers(&object.id).collect();
        if earlier.iter().any(|(old, _)| *old == version) {
            return Settled::Known;
        }
        if earlier.iter().any(|(old, _)| version.contradicts(old)) {
            return Settled::Became(other_content());
        }
        let holding = earlier
            .iter()
            .filter(|(_, id)| !before.replaced.contains(id));
        let holding: Vec<BulletinId> = holding.map(|(_, id)| *id).collect();
        if fields.get("revoked") == Some(&Value::Bool(true)) {
            let recall = |about: &BulletinId| NoticeDraft {
                id: None,
                about: *about,
                relation: Relation::Retracts,
                reason: "the sighting was revoked".to_owned(),
                precedence: None,
                tlp: None,
                classification: None,
            };
            self.recalls.extend(holding.iter().map(recall));
            let became = match holding.last() {
                Some(id) => Became::Bulletin(id.to_string()),
                None => Became::Failed("it is revoked, and was never published here".to_owned()),
            };
            return Settled::Became(became);
        }
        let newest = earlier.iter().find(|(old, _)| old.is_newer(&version));
        newest.map_or(Settled::New, |(_, id)| {
            Settled::Became(Became::Bulletin(id.to_string()))
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one object, and all that it is judged by"
    )]
    fn send(
        &mut self,
        node: &Applications,
        rulebook: &Rulebook,
        object: &Object,
        fields: &Map<String, Value>,
        before: &Earlier,
        of: &str,
        item: &ItemView,
    ) -> Result<(), Fault> {
        let version = ObjectVersion::of(&object.json);
        let made = feedback::sightable(item).and_then(|(about, to)| {
            let targets = sighting::targets(&about);
            let named = |target: &&Target| {
                let id = target.object.as_ref();
                id.is_some_and(|id| id.as_str() == of)
            };
            let target = targets.iter().find(named);
            let one = [(target, observation(fields))];
            let draft = sighting::draft(&about, &to, &one, Precedence::Routine)?;
            let (now, entropy) = (node.clock().now(), node.entropy());
            let own = node.partner();
            feedback::flows(rulebook, &draft, &own, &to, now, entropy.as_ref())?;
            Ok(draft)
        });
        let became = match made {
            Ok(mut draft) => {
                let entropy = node.entropy();
                let drawn = random(entropy.as_ref()).map_err(Fault::new)?;
                let id = BulletinId::from_random(drawn);
                draft.id = Some(id);
                let earlier = before.published.carriers(&object.id).map(|(_, id)| *id);
                draft
                    .supersedes
                    .extend(earlier.filter(|id| !before.replaced.contains(id)));
                let carried = Carried {
                    objects: vec![(object.id.clone(), version.clone())],
                    replaces: draft.supersedes.clone(),
                    refused: false,
                };
                self.drafts.push((id, draft, carried));
                Became::Bulletin(id.to_string())
            }
            Err(error) => Became::Failed(error.to_string()),
        };
        self.became.push((object.id.clone(), version, became));
        Ok(())
    }
}

/// What a sighting says. A negative one is what `OpenCTI` has for a false positive.
fn observation(fields: &Map<String, Value>) -> Observation {
    let negative = fields.get("x_opencti_negative") == Some(&Value::Bool(true));
    let time = |name: &str| -> Option<Timestamp> { fields.get(name)?.as_str()?.parse().ok() };
    Observation {
        mark: negative.then_some(SightingMark::FalsePositive),
        count: if negative {
            0
        } else {
            fields.get("count").and_then(Value::as_u64).unwrap_or(1)
        },
        first: time("first_seen"),
        last: time("last_seen"),
        place: None,
    }
}

fn rulebook(node: &Applications) -> Rulebook {
    let mut rulebook = Rulebook::new();
    for ratified in node.agreements() {
        for party in &ratified.agreement().parties {
            // Of the others' standing a node knows nothing.
            rulebook.set_standing(party.partner.clone(), Standing::Active);
        }
        rulebook.insert(&ratified);
    }
    rulebook
}

/// The bulletin in which an object came, whoever asks.
pub(in crate::gateway) fn anywhere(
    node: &Applications,
    object: &str,
) -> Result<Option<ItemView>, Fault> {
    for (_, collection) in node.rows(rows::NAMES, &[], MAX_COLLECTIONS)? {
        let collection = String::from_utf8_lossy(&collection);
        let places = node.rows(&rows::of_object(&collection, object), &[], MAX_PLACES)?;
        for (key, _) in places.iter().rev() {
            let at = rows::date_of(key).map(|at| rows::at(&collection, at));
            let row = at.map(|at| node.row(&at)).transpose()?.flatten();
            let row = row.and_then(|row| serde_json::from_slice::<Indexed>(&row).ok());
            let row = row.filter(|row| row.id == object && row.shared.is_none());
            let item = row.map(|row| node.item(row.number)).transpose()?.flatten();
            if item.is_some() {
                return Ok(item);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_object_is_looked_for_once_in_a_request() {
        let asked = Cell::new(0);
        let find = |_: &str| {
            asked.set(asked.get() + 1);
            Ok(None)
        };
        let mut found = Found::new(&find);
        for number in 0..10_000 {
            let object = format!("indicator--{}", number % 3);
            assert!(found.find(&object).unwrap().is_none());
        }
        assert_eq!(asked.get(), 3);
        let failing = |_: &str| Err(Fault::new("nobody waits for the answer any more"));
        assert!(Found::new(&failing).find("indicator--1").is_err());
    }
}
