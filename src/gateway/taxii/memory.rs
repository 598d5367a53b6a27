//! A store in memory, from a file of the form that OASIS's TAXII server medallion reads: for tests of
//! clients, and of this server.
//!
//! ```text
//! { "/discovery": discovery, "ROOT": { "information": api-root, "status": [status...],
//!   "collections": [ collection and "objects": [...], "manifest": [manifest-record...] ] } ... }
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Builder;

use super::resource::{ApiRoot, Collection, Discovery, Status, StatusDetails};
use super::store::{AddError, Client, Entry, Fault, Place, Position, Store, Waiting};
use super::version::{SpecVersion, Version, read_timestamp, timestamp};
use crate::clock::{Clock, Entropy, NoEntropy, Timestamp, random};

/// Data that cannot be served.
#[derive(Debug, Error)]
pub enum InvalidData {
    /// Not of this form.
    #[error("the data is not of medallion's form: {0}")]
    Json(#[from] serde_json::Error),
    /// An object without what every object has.
    #[error("an object of collection {0} has no id or type")]
    Object(String),
    /// A manifest's time.
    #[error("a manifest of collection {collection} has the date_added `{date}`")]
    Date {
        /// Which.
        collection: String,
        /// As it stands there.
        date: String,
    },
}

#[derive(Deserialize)]
struct RawRoot {
    information: ApiRoot,
    #[serde(default)]
    status: Vec<Value>,
    #[serde(default)]
    collections: Vec<RawCollection>,
}

#[derive(Deserialize)]
struct RawCollection {
    #[serde(flatten)]
    described: Collection,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    manifest: Vec<RawRecord>,
}

#[derive(Deserialize)]
struct RawRecord {
    id: String,
    date_added: String,
    version: String,
    media_type: String,
}

#[derive(Default)]
struct Held {
    described: Option<Collection>,
    entries: BTreeMap<Position, (Entry, Box<RawValue>)>,
    /// Object -> where its entries stand.
    of_object: BTreeMap<String, Vec<Position>>,
}

struct Root {
    information: ApiRoot,
    statuses: Vec<Value>,
    collections: Vec<Held>,
}

/// Everything in memory. All clients see the same.
pub struct MemoryStore {
    discovery: Discovery,
    roots: Mutex<BTreeMap<String, Root>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Held {
    fn insert(&mut self, entry: Entry, object: Box<RawValue>) {
        let known = self.of_object.entry(entry.id.clone()).or_default();
        known.push(entry.position);
        self.entries.insert(entry.position, (entry, object));
    }

    fn last(&self) -> Option<Timestamp> {
        let last = self.entries.last_key_value();
        last.map(|(position, _)| position.date_added)
    }

    fn versions(&self, object: &str) -> impl Iterator<Item = &Entry> {
        let positions = self.of_object.get(object).into_iter().flatten();
        positions.filter_map(|position| Some(&self.entries.get(position)?.0))
    }
}

impl MemoryStore {
    /// From JSON. `clock` dates what is added, `entropy` names it.
    pub fn read(
        text: &str,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, InvalidData> {
        let mut all: Map<String, Value> = serde_json::from_str(text)?;
        let discovery = all.remove("/discovery").unwrap_or_default();
        let discovery: Discovery = serde_json::from_value(discovery)?;
        let mut roots = BTreeMap::new();
        for (name, root) in all {
            let raw: RawRoot = serde_json::from_value(root)?;
            let collections: Result<_, _> = raw.collections.into_iter().map(held).collect();
            let root = Root {
                information: raw.information,
                statuses: raw.status,
                collections: collections?,
            };
            roots.insert(name.trim_matches('/').to_owned(), root);
        }
        Ok(Self {
            discovery,
            roots: Mutex::new(roots),
            clock,
            entropy,
        })
    }

    fn roots(&self) -> Result<MutexGuard<'_, BTreeMap<String, Root>>, Fault> {
        self.roots
            .lock()
            .map_err(|_| Fault::new("a request failed while it held the data"))
    }

    fn within<T>(&self, at: &Place, act: impl FnOnce(&Held) -> T) -> Result<T, Fault> {
        let roots = self.roots()?;
        let root = roots.get(&at.root);
        let held = root.and_then(|root| root.collections.iter().find(|one| one.is(at)));
        held.map(act)
            .ok_or_else(|| Fault::new("the collection is gone"))
    }
}

impl Held {
    fn is(&self, at: &Place) -> bool {
        let described = self.described.as_ref();
        described.is_some_and(|described| described.id == at.collection)
    }
}

fn held(raw: RawCollection) -> Result<Held, InvalidData> {
    let collection = raw.described.id.clone();
    let mut held = Held {
        described: Some(raw.described),
        ..Held::default()
    };
    let mut read = Vec::with_capacity(raw.objects.len());
    for value in raw.objects {
        let nameless = || InvalidData::Object(collection.clone());
        let object = value.as_object().ok_or_else(nameless)?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let (id, kind) = text("id").zip(text("type")).ok_or_else(nameless)?;
        let (version, spec_version) = (Version::of(object), SpecVersion::of(object));
        let text = RawValue::from_string(value.to_string())?;
        read.push((id, kind, version, spec_version, text));
    }
    // What was added at one moment stands in the manifest's order.
    let mut ties: BTreeMap<Timestamp, u32> = BTreeMap::new();
    for record in raw.manifest {
        let named = Version::from(&*record.version);
        let found = read.iter().find(|(id, _, version, ..)| {
            *id == record.id && version.as_ref().is_none_or(|version| *version == named)
        });
        let Some((id, kind, _, spec_version, text)) = found else {
            continue;
        };
        let date_added = read_timestamp(&record.date_added).ok_or_else(|| InvalidData::Date {
            collection: collection.clone(),
            date: record.date_added.clone(),
        })?;
        let tie = ties.entry(date_added).or_default();
        let entry = Entry {
            position: Position {
                date_added,
                tie: *tie,
            },
            id: id.clone(),
            kind: kind.clone(),
            spec_version: SpecVersion::of_media_type(&record.media_type).unwrap_or(*spec_version),
            version: named,
        };
        *tie += 1;
        held.insert(entry, text.clone());
    }
    Ok(held)
}

/// A random UUID (RFC 9562, version 4).
pub(in crate::gateway) fn identifier(entropy: &dyn Entropy) -> Result<String, NoEntropy> {
    Ok(Builder::from_random_bytes(random(entropy)?)
        .into_uuid()
        .to_string())
}

impl Store for MemoryStore {
    fn discovery(&self, _client: &Client) -> Result<Discovery, Fault> {
        Ok(self.discovery.clone())
    }

    fn api_root(&self, _client: &Client, root: &str) -> Result<Option<ApiRoot>, Fault> {
        Ok(self.roots()?.get(root).map(|root| root.information.clone()))
    }

    fn collections(
        &self,
        _client: &Client,
        root: &str,
        _waiting: &Waiting,
    ) -> Result<Vec<Collection>, Fault> {
        let roots = self.roots()?;
        let collections = roots
            .get(root)
            .into_iter()
            .flat_map(|root| &root.collections);
        Ok(collections
            .filter_map(|held| held.described.clone())
            .collect())
    }

    fn entries(
        &self,
        _client: &Client,
        at: &Place,
        after: Position,
        limit: usize,
        _waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.within(at, |held| {
            let entries = held.entries.range((Excluded(after), Unbounded));
            let entries = entries.map(|(_, (entry, _))| entry.clone());
            entries.take(limit).collect()
        })
    }

    fn versions(
        &self,
        _client: &Client,
        at: &Place,
        object: &str,
        _waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        self.within(at, |held| held.versions(object).cloned().collect())
    }

    fn content(
        &self,
        _client: &Client,
        at: &Place,
        entry: &Entry,
        _waiting: &Waiting,
    ) -> Result<Option<Box<RawValue>>, Fault> {
        self.within(at, |held| {
            let found = held.entries.get(&entry.position);
            found.map(|(_, object)| object.clone())
        })
    }

    fn add(
        &self,
        _client: &Client,
        at: &Place,
        objects: &[&RawValue],
        _waiting: &Waiting,
    ) -> Result<Status, AddError> {
        let now = self.clock.now();
        let id = identifier(self.entropy.as_ref()).map_err(Fault::new)?;
        let mut read = Vec::with_capacity(objects.len());
        for (place, raw) in objects.iter().enumerate() {
            let nameless = || AddError::Unprocessable(format!("object {place} has no id or type"));
            let object: Map<String, Value> =
                serde_json::from_str(raw.get()).map_err(|_| nameless())?;
            let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
            let (name, kind) = text("id").zip(text("type")).ok_or_else(nameless)?;
            read.push((name, kind, object, (*raw).to_owned()));
        }
        let mut roots = self.roots()?;
        let gone = || Fault::new("the collection is gone");
        let root = roots.get_mut(&at.root).ok_or_else(gone)?;
        let held = root.collections.iter_mut().find(|one| one.is(at));
        let held = held.ok_or_else(gone)?;
        let mut successes = Vec::with_capacity(read.len());
        for (name, kind, object, raw) in read {
            let next = held
                .last()
                .map(|last| last.saturating_add(Duration::from_micros(1)));
            let date_added = next.map_or(now, |next| next.max(now));
            let known = Version::of(&object);
            let version = known
                .clone()
                .unwrap_or_else(|| Version::from(&*timestamp(date_added)));
            successes.push(StatusDetails {
                id: name.clone(),
                version: version.as_str().to_owned(),
                message: None,
            });
            // One that has no version of its own never changes.
            let there = |entry: &Entry| known.is_none() || entry.version == version;
            if held.versions(&name).any(there) {
                continue;
            }
            let spec_version = SpecVersion::of(&object);
            let media_type = spec_version.media_type();
            if let Some(described) = &mut held.described
                && !described.media_types.contains(&media_type)
            {
                described.media_types.push(media_type);
            }
            let entry = Entry {
                position: Position { date_added, tie: 0 },
                id: name,
                kind,
                spec_version,
                version,
            };
            held.insert(entry, raw);
        }
        let status = Status::new(id, timestamp(now), successes, Vec::new(), Vec::new());
        root.statuses
            .push(serde_json::to_value(&status).map_err(Fault::new)?);
        Ok(status)
    }

    fn status(&self, _client: &Client, root: &str, id: &str) -> Result<Option<Value>, Fault> {
        let roots = self.roots()?;
        let mut statuses = roots.get(root).into_iter().flat_map(|root| &root.statuses);
        let found = statuses.find(|status| status.get("id").and_then(Value::as_str) == Some(id));
        Ok(found.cloned())
    }

    fn delete(&self, _client: &Client, at: &Place, entries: &[Entry]) -> Result<(), Fault> {
        let mut roots = self.roots()?;
        let root = roots.get_mut(&at.root).into_iter();
        let mut held = root.flat_map(|root| &mut root.collections);
        let held = held.find(|one| one.is(at));
        let held = held.ok_or_else(|| Fault::new("the collection is gone"))?;
        for entry in entries {
            held.entries.remove(&entry.position);
            if let Some(known) = held.of_object.get_mut(&entry.id) {
                known.retain(|position| *position != entry.position);
            }
        }
        Ok(())
    }
}
