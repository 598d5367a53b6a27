//! The node as a store of TAXII.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;

use super::rights::{self, Rights, publishes};
use super::rows::{self, Indexed};
use super::shown::{Sight, View};
use super::{ROOT, index, publish};
use crate::clock::Timestamp;
use crate::gateway::taxii::{
    AddError, ApiRoot, Client, Collection, Discovery, Entry, Fault, Place, Position, SpecVersion,
    Status, Store, Version, Waiting,
};
use crate::node::{Applications, ItemView, LabelsConfig, TaxiiConfig};
use crate::transport::Trouble;

/// The largest body of a request to add objects.
const MAX_CONTENT: u64 = 16 * 1024 * 1024;
const TAXII: &str = "application/taxii+json;version=2.1";
/// Collections at most.
const MAX_COLLECTIONS: usize = 10_000;
/// Rows of a collection that are looked at once for one that its client may see.
const LOOKED: usize = 64;
/// How long what was found is believed.
const BREATH: Duration = Duration::from_secs(1);

/// Everything that all requests share.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Shared>);

struct Shared {
    node: Applications,
    title: String,
    rights: BTreeMap<String, Rights>,
    /// By the names of their collections.
    labellings: BTreeMap<String, LabelsConfig>,
    sight: Sight,
    /// Id of a collection -> its name, which never changes.
    known: Mutex<BTreeMap<String, String>>,
    /// By client and collection.
    looked: Mutex<BTreeMap<(String, String), Looked>>,
}

/// Whether a client sees anything of a collection, and where that stands; else how far it was looked.
struct Looked {
    when: Timestamp,
    at: Timestamp,
    shows: bool,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.message)
    }
}

impl Shelf {
    pub(super) fn new(node: Applications, config: &TaxiiConfig) -> Self {
        let labellings = config.publish.iter();
        let labellings = labellings.map(|one| (publishes(&one.name), one.labels.clone()));
        Self(Arc::new(Shared {
            title: config.title.clone(),
            rights: rights::all(config),
            labellings: labellings.collect(),
            sight: Sight::new(node.clone()),
            known: Mutex::default(),
            looked: Mutex::default(),
            node,
        }))
    }

    /// Gives every collection that the configuration names its id.
    pub(super) fn make_collections(&self) -> Result<(), Trouble> {
        let shared = &self.0;
        let mut made = BTreeMap::new();
        let named = shared.rights.values().flat_map(Rights::named);
        for name in named.chain(shared.labellings.keys()) {
            index::collection(&shared.node, &mut made, name)?;
        }
        let put = made
            .into_iter()
            .map(|(name, id)| (rows::name(&name), id.into_bytes()));
        shared.node.keep(&put.collect::<Vec<_>>(), &[])
    }

    fn rights(&self, client: &Client) -> Option<&Rights> {
        self.0.rights.get(&client.0)
    }

    /// Names and ids of all collections.
    fn names(&self) -> Result<Vec<(String, String)>, Fault> {
        let rows = self.0.node.rows(rows::NAMES, &[], MAX_COLLECTIONS)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let named = rows
            .iter()
            .filter_map(|(key, id)| Some((text(key.strip_prefix(rows::NAMES)?), text(id))));
        Ok(named.collect())
    }

    /// The name of a collection.
    fn name(&self, at: &Place) -> Result<String, Fault> {
        let known = self.0.known.lock().ok();
        let known = known.and_then(|known| known.get(&at.collection).cloned());
        if let Some(name) = known {
            return Ok(name);
        }
        let mut names = self.names()?.into_iter();
        let found = names.find(|(_, id)| *id == at.collection);
        let (name, id) = found.ok_or_else(|| Fault::new("the collection is gone"))?;
        if let Ok(mut known) = self.0.known.lock() {
            known.insert(id, name.clone());
        }
        Ok(name)
    }

    /// The client at a collection that it may read.
    fn view<'a>(
        &'a self,
        client: &'a Client,
        at: &'a Place,
        waiting: &'a Waiting,
    ) -> Result<View<'a>, Fault> {
        let name = self.name(at)?;
        let rights = self.rights(client).filter(|rights| rights.reads(&name));
        Ok(View {
            sight: &self.0.sight,
            client: &client.0,
            rights: rights.ok_or_else(|| Fault::new("a client reads what it may not"))?,
            at,
            waiting,
        })
    }

    /// The collections that a client reads.
    fn readable(&self, rights: &Rights) -> Result<Vec<Place>, Fault> {
        let named = self.names()?.into_iter();
        let read = named.filter(|(name, _)| rights.reads(name));
        let place = |(_, collection)| Place {
            root: ROOT.to_owned(),
            collection,
        };
        Ok(read.map(place).collect())
    }

    /// The bulletin in which an object came, where the client sees it in one of these collections.
    fn received(
        &self,
        client: &Client,
        places: &[Place],
        object: &str,
        waiting: &Waiting,
    ) -> Result<Option<ItemView>, Fault> {
        for at in places {
            let view = self.view(client, at, waiting)?;
            for (_, row) in view.rows(object)?.iter().rev() {
                let own = row.id == object && row.shared.is_none();
                if own && view.sees(row)?.is_some() {
                    return Ok(self.0.node.item(row.number)?);
                }
            }
        }
        Ok(None)
    }

    /// Whether a client sees anything of a collection. Each look goes a bounded way on: until one has come
    /// to it, it is not there.
    fn shows(&self, client: &Client, id: &str, waiting: &Waiting) -> Result<bool, Fault> {
        let key = (client.0.clone(), id.to_owned());
        let now = self.0.node.clock().now();
        let mut after = None;
        if let Ok(looked) = self.0.looked.lock()
            && let Some(one) = looked.get(&key)
        {
            if now.since(one.when) < BREATH {
                return Ok(one.shows);
            }
            after = Some((one.at, one.shows));
        }
        let at = Place {
            root: ROOT.to_owned(),
            collection: id.to_owned(),
        };
        let view = self.view(client, &at, waiting)?;
        let found = match after {
            Some((at, true)) => {
                self.first(&view, at.saturating_sub(Duration::from_micros(1)), 1)?
            }
            _ => (Timestamp::MIN, false),
        };
        let (at, shows) = match (found, after) {
            ((_, true), _) => found,
            (_, Some((at, false))) => self.first(&view, at, LOOKED)?,
            _ => self.first(&view, Timestamp::MIN, LOOKED)?,
        };
        if let Ok(mut looked) = self.0.looked.lock() {
            let when = now;
            looked.insert(key, Looked { when, at, shows });
        }
        Ok(shows)
    }

    /// The first of so many rows that a client sees, and that it is one; else how far was looked, which is
    /// from the beginning again where there is no more.
    fn first(
        &self,
        view: &View<'_>,
        after: Timestamp,
        limit: usize,
    ) -> Result<(Timestamp, bool), Fault> {
        let prefix = rows::in_collection(&view.at.collection);
        let from = rows::at(&view.at.collection, after);
        let rows = self.0.node.rows(&prefix, &from, limit)?;
        let mut last = Timestamp::MIN;
        for (key, row) in &rows {
            let row: Indexed = serde_json::from_slice(row).map_err(Fault::new)?;
            last = rows::date_of(key).unwrap_or(last);
            if view.sees(&row)?.is_some() {
                return Ok((last, true));
            }
        }
        let more = rows.len() == limit;
        Ok((if more { last } else { Timestamp::MIN }, false))
    }
}

fn entry(added: Timestamp, row: Indexed) -> Entry {
    Entry {
        position: Position {
            date_added: added,
            tie: 0,
        },
        id: row.id,
        kind: row.kind,
        spec_version: row.spec_version.parse().unwrap_or(SpecVersion::V2_1),
        version: Version::from(&*row.version),
    }
}

/// What a collection is, for people.
fn title(name: &str) -> String {
    match name.split_once(':') {
        Some(("agreement", name)) => format!("received under the agreement {name}"),
        Some(("originator", name)) => format!("received from {name}"),
        Some((_, name)) => format!("published as {name}"),
        None => name.to_owned(),
    }
}

impl Store for Shelf {
    fn discovery(&self, _client: &Client) -> Result<Discovery, Fault> {
        Ok(Discovery {
            title: self.0.title.clone(),
            description: None,
            contact: None,
            default: Some(format!("/{ROOT}/")),
            api_roots: vec![format!("/{ROOT}/")],
        })
    }

    fn api_root(&self, _client: &Client, root: &str) -> Result<Option<ApiRoot>, Fault> {
        Ok((root == ROOT).then(|| ApiRoot {
            title: self.0.title.clone(),
            description: None,
            versions: vec![TAXII.to_owned()],
            max_content_length: MAX_CONTENT,
        }))
    }

    fn collections(
        &self,
        client: &Client,
        _root: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Collection>, Fault> {
        let Some(rights) = self.rights(client) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (name, id) in self.names()? {
            let (can_read, can_write) = (rights.reads(&name), rights.writes(&name));
            if !can_read && !can_write {
                continue;
            }
            // That one is there says already that something came.
            if !rights.named().any(|named| *named == name) && !self.shows(client, &id, waiting)? {
                continue;
            }
            found.push(Collection {
                id,
                title: title(&name),
                description: None,
                alias: Some(name.replacen(':', "-", 1)),
                can_read,
                can_write,
                media_types: vec![SpecVersion::V2_1.media_type()],
                x_entente_markings: if can_read {
                    rights.markings()
                } else {
                    Vec::new()
                },
            });
        }
        Ok(found)
    }

    fn entries(
        &self,
        client: &Client,
        at: &Place,
        after: Position,
        limit: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        let view = self.view(client, at, waiting)?;
        let prefix = rows::in_collection(&at.collection);
        let mut after = rows::at(&at.collection, after.date_added);
        let mut found = Vec::new();
        while found.len() < limit {
            let rows = self.0.node.rows(&prefix, &after, limit)?;
            let full = rows.len() == limit;
            for (key, row) in rows {
                let row: Indexed = serde_json::from_slice(&row).map_err(Fault::new)?;
                if found.len() < limit
                    && let Some(added) = rows::date_of(&key)
                    && view.sees(&row)?.is_some()
                {
                    found.push(entry(added, row));
                }
                if found.len() < limit {
                    after = key;
                }
            }
            if !full {
                break;
            }
        }
        Ok(found)
    }

    fn versions(
        &self,
        client: &Client,
        at: &Place,
        object: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault> {
        let view = self.view(client, at, waiting)?;
        let mut found = Vec::new();
        for (added, row) in view.rows(object)? {
            if row.id == object && view.sees(&row)?.is_some() {
                found.push(entry(added, row));
            }
        }
        Ok(found)
    }

    fn content(
        &self,
        client: &Client,
        at: &Place,
        entry: &Entry,
        waiting: &Waiting,
    ) -> Result<Option<Box<RawValue>>, Fault> {
        let view = self.view(client, at, waiting)?;
        let Some(row) = self.0.sight.row(at, entry.position.date_added)? else {
            return Ok(None);
        };
        let json = view.sees(&row)?;
        json.map(|json| RawValue::from_string(json).map_err(Fault::new))
            .transpose()
    }

    fn add(
        &self,
        client: &Client,
        at: &Place,
        objects: &[&RawValue],
        waiting: &Waiting,
    ) -> Result<Status, AddError> {
        let name = self.name(at)?;
        let rights = self.rights(client).filter(|rights| rights.writes(&name));
        let labels = self.0.labellings.get(&name).zip(rights);
        let (labels, rights) =
            labels.ok_or_else(|| Fault::new("a client writes what it may not"))?;
        let adding = self.0.node.adding();
        // Somebody may have waited for the one before too long.
        waiting.check()?;
        let by = publish::By::Client(&client.0);
        let readable = OnceCell::new();
        let find = |id: &str| {
            if readable.get().is_none() {
                let _ = readable.set(self.readable(rights)?);
            }
            let places: &[Place] = readable.get().map_or(&[], Vec::as_slice);
            self.received(client, places, id, waiting)
        };
        let node = &self.0.node;
        publish::add(node, &adding, by, &at.collection, labels, objects, &find)
    }

    fn status(&self, client: &Client, _root: &str, id: &str) -> Result<Option<Value>, Fault> {
        publish::status(&self.0.node, &client.0, id)
    }

    fn delete(&self, _client: &Client, _at: &Place, _entries: &[Entry]) -> Result<(), Fault> {
        // No collection is both read and written, and only such a one is deleted from.
        Err(Fault::new("nothing is deleted from what was received"))
    }
}
