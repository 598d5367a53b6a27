//! Follows the inbox: the objects of each bulletin get their places in its collections.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::objects::{bundle, named, object, objects};
use super::rows::{self, Indexed};
use crate::bulletin::Tlp;
use crate::clock::{Timestamp, random};
use crate::formats::stix::read_bundle;
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
            }
        }
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
            last: last.unwrap_or(Timestamp::MIN),
        })
    }

    fn item(&mut self, item: &ItemView) -> Result<(), Trouble> {
        let parts: Vec<(usize, &str)> = objects(item).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let mut collections = Vec::new();
        for name in names(item) {
            let id = collection(self.node, &mut self.made, &name)?;
            let key = (rows::name(&name), id.clone().into_bytes());
            if !self.rows.contains(&key) && self.node.row(&key.0)?.is_none() {
                self.rows.push(key);
            }
            collections.push(id);
        }
        // Markings that another bulletin of the same originator defined.
        let defined = definitions(self.node, item, &parts, collections.last())?;
        let texts = parts.iter().map(|(_, json)| *json);
        let texts = bundle(texts.chain(defined.iter().map(String::as_str)));
        let Ok(read) = read_bundle(texts.as_bytes()) else {
            return Ok(());
        };
        let mut valid = read.objects.into_iter().peekable();
        for (part, json) in parts {
            // In the order of the parts; what breaks a rule of STIX is not among them.
            let Some(object) = valid.next_if(|object| object.json == json) else {
                continue;
            };
            let value: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
            let added = self.next(item.received)?;
            let version = Version::of(&value);
            let version = version.map_or_else(|| timestamp(added), |one| one.as_str().to_owned());
            let row = Indexed {
                number: item.number,
                part,
                id: object.id,
                kind: object.kind,
                spec_version: SpecVersion::of(&value).to_string(),
                version,
                tlp: object.tlp.unwrap_or(Tlp::Clear),
                named: named(&Value::Object(value)).into_iter().collect(),
            };
            let text = serde_json::to_vec(&row).map_err(|error| Trouble::new("internal", error))?;
            for collection in &collections {
                self.rows.push((rows::at(collection, added), text.clone()));
                self.rows
                    .push((rows::of(collection, &row.id, added), Vec::new()));
            }
        }
        Ok(())
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
            let json = there.as_ref().and_then(|item| object(item, row.part));
            found.extend(json.map(str::to_owned));
        }
    }
    Ok(found)
}
