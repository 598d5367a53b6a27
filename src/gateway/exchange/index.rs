//! Follows the inbox: the objects of each bulletin get their places in its collections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::objects::{Own, bundle, named, seen, steps, stix};
use super::rows::{self, Indexed};
use super::supersession;
use crate::bulletin::Tlp;
use crate::clock::{Timestamp, random};
use crate::formats::stix::{export, is_standard_marking, read_bundle};
use crate::gateway::taxii::{SpecVersion, Version, identifier, timestamp};
use crate::node::{Applications, ItemView};
use crate::transport::Trouble;

/// Bulletins that are read at once.
const PAGE: usize = 8;
/// After the store failed.
const BREATH: Duration = Duration::from_secs(5);
/// Objects are up to so many microseconds apart that come together; how many is drawn, so that nobody counts
/// by the gaps what it is not shown.
const GAP: u8 = 64;
/// Places that are looked at for one object that many bulletins are written with.
const MAX_SHARED: usize = 64;

/// Indexes what is in the inbox and what comes, until the node stops.
pub(super) async fn run(node: Applications) {
    let (stop, mut arrivals) = (node.stop(), node.arrivals());
    loop {
        arrivals.borrow_and_update();
        let one = node.clone();
        let indexed = tokio::task::spawn_blocking(move || catch_up(&one)).await;
        let failed = !matches!(indexed, Ok(Ok(())));
        if let Ok(Err(trouble)) = indexed {
            let reason = trouble.message;
            tracing::error!(
                reason,
                "what was received cannot be put into TAXII collections"
            );
        }
        let wait = async {
            if failed {
                tokio::time::sleep(BREATH).await;
            } else {
                let _ = arrivals.changed().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
        }
    }
}

fn catch_up(node: &Applications) -> Result<(), Trouble> {
    loop {
        let up_to = node.row(rows::UP_TO)?;
        let up_to = up_to.and_then(|value| Some(u64::from_be_bytes(*value.first_chunk()?)));
        let items = node.items(up_to.unwrap_or(0), PAGE)?;
        let Some(last) = items.last().map(|item| item.number) else {
            return Ok(());
        };
        let mut put = Put::new(node)?;
        for item in &items {
            // What could not be verified names nothing here, not even what it refers to.
            if item.quarantined.is_none() {
                put.item(item)?;
                put.notice(item)?;
            }
        }
        put.supersessions()?;
        put.rows
            .push((rows::UP_TO.to_vec(), last.to_be_bytes().to_vec()));
        let date = put.last.micros().to_be_bytes().to_vec();
        put.rows.push((rows::LAST.to_vec(), date));
        node.keep(&put.rows, &[])?;
    }
}

/// Ids of collections, made where there are none.
pub(super) fn collection(
    node: &Applications,
    made: &mut BTreeMap<String, String>,
    name: &str,
) -> Result<String, Trouble> {
    if let Some(id) = made.get(name) {
        return Ok(id.clone());
    }
    let known = node.row(&rows::name(name))?;
    if let Some(id) = known.and_then(|id| String::from_utf8(id.into()).ok()) {
        return Ok(id);
    }
    let id = identifier(node.entropy().as_ref());
    let id = id.map_err(|error| Trouble::new("internal", error))?;
    made.insert(name.to_owned(), id.clone());
    Ok(id)
}

/// The collections of a bulletin: its agreements', and its originator's where that is shown.
fn names(item: &ItemView) -> Vec<String> {
    let clauses = item
        .clauses
        .iter()
        .filter_map(|clause| clause.split_once('@'));
    let mut names: Vec<String> = clauses
        .map(|(name, _)| format!("agreement:{name}"))
        .collect();
    names.sort();
    names.dedup();
    let originator = item
        .header
        .as_ref()
        .and_then(|header| header.originator.as_ref());
    names.extend(originator.map(|partner| format!("originator:{partner}")));
    names
}

/// Rows of one write.
struct Put<'a> {
    node: &'a Applications,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    made: BTreeMap<String, String>,
    /// When what many bulletins are written with was added, by collection, id and what they have in common.
    shared: BTreeMap<(String, String, String), Timestamp>,
    /// Whose an object is, by collection and id in lower case.
    owners: BTreeMap<(String, String), Option<String>>,
    /// What notices of this write say.
    superseded: supersession::Notices,
    last: Timestamp,
}

impl<'a> Put<'a> {
    fn new(node: &'a Applications) -> Result<Self, Trouble> {
        let last = node.row(rows::LAST)?;
        let last = last
            .and_then(|value| Timestamp::from_micros(i64::from_be_bytes(*value.first_chunk()?)));
        Ok(Self {
            node,
            rows: Vec::new(),
            made: BTreeMap::new(),
            shared: BTreeMap::new(),
            owners: BTreeMap::new(),
            superseded: supersession::Notices::new(),
            last: last.unwrap_or(Timestamp::MIN),
        })
    }

    fn item(&mut self, item: &ItemView) -> Result<(), Trouble> {
        if item.parts.iter().all(|part| part.content.is_none()) {
            return Ok(());
        }
        let collections = self.collections(item)?;
        let own = own(self.node, item, collections.last())?;
        if !own.is_empty() {
            self.rows.push((rows::own(item.number), json(&own)?));
        }
        self.objects(item, &own, &collections, None, item.received)?;
        // The notice overtook it.
        let superseded = supersession::at(self.node, &self.superseded, item)?;
        if superseded.is_some() {
            self.objects(item, &own, &collections, superseded, item.received)?;
        }
        Ok(())
    }

    /// What a notice says of a bulletin that is here: its objects get their last versions.
    fn notice(&mut self, notice: &ItemView) -> Result<(), Trouble> {
        for about in supersession::about(notice) {
            let target = self.node.received(&about)?;
            let target = target.filter(|item| {
                item.quarantined.is_none()
                    && item.number < notice.number
                    && item.parts.iter().any(|part| part.content.is_some())
            });
            let before = match &target {
                Some(item) => supersession::at(self.node, &self.superseded, item)?,
                None => None,
            };
            supersession::note(self.node, &mut self.superseded, about, notice)?;
            let Some(item) = target.filter(|_| before.is_none()) else {
                continue;
            };
            let superseded = supersession::at(self.node, &self.superseded, &item)?;
            if superseded.is_some() {
                let collections = self.collections(&item)?;
                let own = own(self.node, &item, collections.last())?;
                self.objects(&item, &own, &collections, superseded, notice.received)?;
            }
        }
        Ok(())
    }

    fn supersessions(&mut self) -> Result<(), Trouble> {
        for (about, all) in &self.superseded {
            self.rows.push((rows::superseded(about), json(all)?));
        }
        Ok(())
    }

    /// The ids of a bulletin's collections, which are made where there are none.
    fn collections(&mut self, item: &ItemView) -> Result<Vec<String>, Trouble> {
        let mut collections = Vec::new();
        for name in names(item) {
            let id = collection(self.node, &mut self.made, &name)?;
            let key = (rows::name(&name), id.clone().into_bytes());
            if !self.rows.contains(&key) && self.node.row(&key.0)?.is_none() {
                self.rows.push(key);
            }
            collections.push(id);
        }
        Ok(collections)
    }

    /// Indexes a bulletin's objects; where it was superseded, those versions only that say so.
    fn objects(
        &mut self,
        item: &ItemView,
        own: &Own,
        collections: &[String],
        superseded: Option<Timestamp>,
        received: Timestamp,
    ) -> Result<(), Trouble> {
        // What there is depends on how much a client may see: of each object its first place is kept.
        let mut known = BTreeSet::new();
        for step in steps(item, own) {
            let Some(mut seen) = seen(item, own, step) else {
                continue;
            };
            if superseded.is_some() {
                for object in export::objects(&seen) {
                    let version = version_of(&object.json);
                    known.insert((object.id, version));
                }
            }
            seen.superseded = superseded;
            let shared = export::shared_ids(&seen);
            for object in export::objects(&seen) {
                let value: Map<String, Value> =
                    serde_json::from_str(&object.json).unwrap_or_default();
                let version = Version::of(&value);
                if known.insert((object.id.clone(), version.clone())) {
                    let row = Indexed {
                        number: item.number,
                        shared: shared.contains(&object.id).then(|| class(item, step)),
                        by: Some(seen.originator.clone().unwrap_or_default()),
                        id: object.id,
                        kind: object.kind,
                        spec_version: SpecVersion::of(&value).to_string(),
                        version: String::new(),
                    };
                    self.object(row, collections, version.as_ref(), received)?;
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        mut row: Indexed,
        collections: &[String],
        version: Option<&Version>,
        received: Timestamp,
    ) -> Result<(), Trouble> {
        let added = self.next(received)?;
        for collection in collections {
            if !self.owns(collection, &row)? {
                continue;
            }
            let before = self.added_before(collection, &row)?;
            let at = before.unwrap_or(added);
            let said = version.map(|one| one.as_str().to_owned());
            row.version = said.unwrap_or_else(|| timestamp(at));
            self.rows.push((rows::at(collection, at), json(&row)?));
            if before.is_none() {
                self.rows
                    .push((rows::of(collection, &row.id, at), Vec::new()));
            }
            if let Some(class) = &row.shared {
                let key = (collection.clone(), row.id.clone(), class.clone());
                self.shared.insert(key, at);
            }
        }
        Ok(())
    }

    /// Whether an object is of the one who published it first in this collection: another's versions under
    /// its id are not versions of it. What everybody writes is nobody's.
    fn owns(&mut self, collection: &str, row: &Indexed) -> Result<bool, Trouble> {
        if row.shared.is_some() || is_standard_marking(&row.id) {
            return Ok(true);
        }
        let key = (collection.to_owned(), row.id.to_ascii_lowercase());
        if let Some(owner) = self.owners.get(&key) {
            return Ok(row.is_by(owner.as_deref()));
        }
        let first = self
            .node
            .rows(&rows::of_object(collection, &row.id), &[], 1)?;
        let first = first.first().and_then(|(key, _)| rows::date_of(key));
        let first = first.map(|at| self.node.row(&rows::at(collection, at)));
        let first = first.transpose()?.flatten();
        let first = first.and_then(|row| serde_json::from_slice::<Indexed>(&row).ok());
        let owner = first.map_or_else(|| row.by.clone(), |first| first.by);
        let owns = row.is_by(owner.as_deref());
        self.owners.insert(key, owner);
        Ok(owns)
    }

    /// When the same was added with another bulletin of which a client sees neither more nor less.
    fn added_before(&self, collection: &str, row: &Indexed) -> Result<Option<Timestamp>, Trouble> {
        let Some(class) = &row.shared else {
            return Ok(None);
        };
        let key = (collection.to_owned(), row.id.clone(), class.clone());
        if let Some(at) = self.shared.get(&key) {
            return Ok(Some(*at));
        }
        let places = rows::of_object(collection, &row.id);
        for (key, _) in self.node.rows(&places, &[], MAX_SHARED)? {
            let Some(at) = rows::date_of(&key) else {
                continue;
            };
            let there = self.node.row(&rows::at(collection, at))?;
            let there = there.and_then(|row| serde_json::from_slice::<Indexed>(&row).ok());
            if there.is_some_and(|there| there.shared.as_ref() == Some(class)) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// When an object is added: after all others.
    fn next(&mut self, received: Timestamp) -> Result<Timestamp, Trouble> {
        let drawn = random::<1>(self.node.entropy().as_ref());
        let [drawn] = drawn.map_err(|error| Trouble::new("internal", error))?;
        let gap = Duration::from_micros(u64::from(drawn % GAP) + 1);
        self.last = self.last.saturating_add(gap).max(received);
        Ok(self.last)
    }
}

fn version_of(json: &str) -> Option<Version> {
    let value: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    Version::of(&value)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Trouble> {
    serde_json::to_vec(value).map_err(|error| Trouble::new("internal", error))
}

/// Everything by which it is decided who sees a bulletin's objects from this level on.
fn class(item: &ItemView, step: Tlp) -> String {
    let exercise = item.header.as_ref().is_some_and(|header| header.exercise);
    let purposes = item.obligations.purposes.as_ref();
    format!("{step} {exercise} {purposes:?}")
}

/// How far the parts that are valid STIX objects let themselves go.
fn own(node: &Applications, item: &ItemView, collection: Option<&String>) -> Result<Own, Trouble> {
    let parts: Vec<(usize, &str)> = stix(item).collect();
    if parts.is_empty() {
        return Ok(Own::new());
    }
    // Markings that another bulletin of the same originator defined.
    let defined = definitions(node, item, &parts, collection)?;
    let texts = parts.iter().map(|(_, json)| *json);
    let texts = bundle(texts.chain(defined.iter().map(String::as_str)));
    let Ok(read) = read_bundle(texts.as_bytes()) else {
        return Ok(Own::new());
    };
    let mut valid = read.objects.into_iter().peekable();
    // In the order of the parts; what breaks a rule of STIX is not among them.
    let own = parts.into_iter().filter_map(|(at, json)| {
        let object = valid.next_if(|object| object.json == json)?;
        Some((at, object.tlp.unwrap_or(Tlp::Clear)))
    });
    Ok(own.collect())
}

/// The marking definitions that these objects name and that are not among them, where the originator's
/// collection has them.
fn definitions(
    node: &Applications,
    item: &ItemView,
    parts: &[(usize, &str)],
    collection: Option<&String>,
) -> Result<Vec<String>, Trouble> {
    let shown = item
        .header
        .as_ref()
        .is_some_and(|header| header.originator.is_some());
    let Some(collection) = collection.filter(|_| shown) else {
        return Ok(Vec::new());
    };
    let values = parts
        .iter()
        .filter_map(|(_, json)| serde_json::from_str::<Value>(json).ok());
    let mut wanted: Vec<String> = values.flat_map(|value| named(&value)).collect();
    wanted.retain(|id| id.starts_with("marking-definition--"));
    wanted.sort();
    wanted.dedup();
    let mut found = Vec::new();
    for id in wanted {
        for (key, _) in node.rows(&rows::of_object(collection, &id), &[], 1)? {
            let row = rows::date_of(&key).map(|date| node.row(&rows::at(collection, date)));
            let row = row.transpose()?.flatten();
            let row = row.and_then(|row| serde_json::from_slice::<Indexed>(&row).ok());
            let Some(row) = row else { continue };
            let there = node.item(row.number)?;
            let texts = there.as_ref().into_iter().flat_map(stix);
            let same = texts.map(|(_, json)| json).find(|json| has_id(json, &id));
            found.extend(same.map(str::to_owned));
        }
    }
    Ok(found)
}

fn has_id(json: &str, id: &str) -> bool {
    let object: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    object.get("id").and_then(Value::as_str) == Some(id)
}
