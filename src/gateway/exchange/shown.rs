//! What a client sees of the index: objects within its rights that name nothing which is hidden from it.
//!
//! Looked at when it is asked, never kept for longer than a breath: what is taken back, downgraded or deleted
//! is gone from every collection at once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::objects::{Own, Shown};
use super::rights::Rights;
use super::rows::{self, Indexed};
use super::supersession;
use crate::bulletin::Tlp;
use crate::clock::Timestamp;
use crate::formats::stix::is_standard_marking;
use crate::gateway::taxii::{Fault, Place, Version, Waiting};
use crate::node::{Applications, ItemView};

/// How long what was looked at is believed. One request looks at the same bulletins many times.
const BREATH: Duration = Duration::from_secs(1);
/// Bulletins that are remembered.
const MAX_ITEMS: usize = 32;
/// Objects of which it is remembered whether they are hidden.
const MAX_MEMO: usize = 200_000;
/// Objects that are followed from one; what reaches further is not shown.
const MAX_REACH: usize = 50_000;
/// Places of one object that are looked at, the last ones. Older ones are as if they had gone.
const MAX_PLACES: usize = 256;
/// Places that are read at once.
const PLACES: usize = 4_096;

type Naming = (String, String, String, Option<String>);
type Memo<K, V> = Mutex<HashMap<K, (Timestamp, V)>>;

/// Looks at the node for clients.
pub(super) struct Sight {
    node: Applications,
    items: Memo<u64, Option<Arc<ItemView>>>,
    /// What a client of this level sees of a bulletin.
    shown: Memo<(u64, Tlp), Arc<Shown>>,
    /// Client, collection, object, and who names it.
    hidden: Memo<Naming, bool>,
}

/// One client at one collection.
pub(super) struct View<'a> {
    pub(super) sight: &'a Sight,
    pub(super) client: &'a str,
    pub(super) rights: &'a Rights,
    pub(super) at: &'a Place,
    pub(super) waiting: &'a Waiting,
}

/// An object that others name.
#[derive(Default)]
struct Reached {
    /// What each of its versions names that the client may see otherwise.
    versions: Vec<Vec<String>>,
    hidden: bool,
    /// It is known already whether it is.
    settled: bool,
}

impl Sight {
    pub(super) fn new(node: Applications) -> Self {
        Self {
            node,
            items: Mutex::default(),
            shown: Mutex::default(),
            hidden: Mutex::default(),
        }
    }

    fn item(&self, number: u64) -> Result<Option<Arc<ItemView>>, Fault> {
        let now = self.node.clock().now();
        if let Ok(items) = self.items.lock()
            && let Some((at, item)) = items.get(&number)
            && now.since(*at) < BREATH
        {
            return Ok(item.clone());
        }
        let item = self
            .node
            .item(number)
            .map_err(|trouble| Fault::new(trouble.message))?;
        let item = item.map(Arc::new);
        if let Ok(mut items) = self.items.lock() {
            if items.len() >= MAX_ITEMS {
                items.clear();
            }
            items.insert(number, (now, item.clone()));
        }
        Ok(item)
    }

    fn shown(&self, item: &ItemView, most: Tlp) -> Result<Arc<Shown>, Fault> {
        let (key, now) = ((item.number, most), self.node.clock().now());
        if let Ok(shown) = self.shown.lock()
            && let Some((at, one)) = shown.get(&key)
            && now.since(*at) < BREATH
        {
            return Ok(Arc::clone(one));
        }
        // Without what it says of its markings, nothing that came as STIX is shown.
        let own = self.node.row(&rows::own(item.number));
        let own = own.map_err(|trouble| Fault::new(trouble.message))?;
        let own = own.map(|row| serde_json::from_slice::<Own>(&row));
        let own = own.transpose().map_err(Fault::new)?.unwrap_or_default();
        let superseded = supersession::at(&self.node, &supersession::Notices::new(), item);
        let superseded = superseded.map_err(|trouble| Fault::new(trouble.message))?;
        let one = Arc::new(Shown::of(item, &own, most, superseded));
        if let Ok(mut shown) = self.shown.lock() {
            if shown.len() >= MAX_ITEMS {
                shown.clear();
            }
            shown.insert(key, (now, Arc::clone(&one)));
        }
        Ok(one)
    }

    /// What is indexed in a collection at a moment.
    pub(super) fn row(&self, at: &Place, added: Timestamp) -> Result<Option<Indexed>, Fault> {
        let row = self.node.row(&rows::at(&at.collection, added));
        let row = row.map_err(|trouble| Fault::new(trouble.message))?;
        row.map(|row| serde_json::from_slice(&row).map_err(Fault::new))
            .transpose()
    }
}

impl View<'_> {
    /// What is indexed of one object, however its id is written, with its moments: the last so many.
    pub(super) fn rows(&self, object: &str) -> Result<Vec<(Timestamp, Indexed)>, Fault> {
        let prefix = rows::of_object(&self.at.collection, object);
        let mut last: VecDeque<Timestamp> = VecDeque::new();
        let mut after = Vec::new();
        loop {
            self.waiting.check()?;
            let keys = self.sight.node.rows(&prefix, &after, PLACES);
            let keys = keys.map_err(|trouble| Fault::new(trouble.message))?;
            last.extend(keys.iter().filter_map(|(key, _)| rows::date_of(key)));
            last.drain(..last.len().saturating_sub(MAX_PLACES));
            match keys.into_iter().nth(PLACES - 1) {
                Some((key, _)) => after = key,
                None => break,
            }
        }
        let mut found = Vec::new();
        for added in last {
            let row = self.sight.row(self.at, added)?;
            found.extend(row.map(|row| (added, row)));
        }
        Ok(found)
    }

    /// The object's text, where this client sees it.
    pub(super) fn sees(&self, row: &Indexed) -> Result<Option<String>, Fault> {
        self.waiting.check()?;
        let Some(shown) = self.may_see(row)? else {
            return Ok(None);
        };
        let object = shown.find(&row.id, &row.version);
        let Some(object) = object else {
            return Ok(None);
        };
        if shown.superseded && object.came && !self.holds(row)? {
            return Ok(None);
        }
        let hidden = self.names_hidden(&object.named, row.by.as_deref())?;
        Ok((!hidden).then(|| object.json.clone()))
    }

    /// Whether an object of a bulletin that was superseded is there in a version at least as new, in one that
    /// was not. What defines others says nothing that could end.
    fn holds(&self, row: &Indexed) -> Result<bool, Fault> {
        if matches!(&*row.kind, "marking-definition" | "extension-definition") {
            return Ok(true);
        }
        let version = Version::from(&*row.version);
        for (_, other) in self.rows(&row.id)? {
            self.waiting.check()?;
            let newer = other.number != row.number
                && other.id == row.id
                && other.is_by(row.by.as_deref())
                && Version::from(&*other.version) >= version;
            if newer && let Some(shown) = self.may_see(&other)? {
                let found = shown.find(&other.id, &other.version);
                if !shown.superseded && found.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Where it is found, if the client's rights let it see that, whatever it names.
    fn may_see(&self, row: &Indexed) -> Result<Option<Arc<Shown>>, Fault> {
        let Some(item) = self.sight.item(row.number)? else {
            return Ok(None);
        };
        if !self.rights.sees(&item) {
            return Ok(None);
        }
        self.sight.shown(&item, self.rights.tlp()).map(Some)
    }

    fn known(&self, id: &str, by: Option<&str>, now: Timestamp) -> Option<bool> {
        let memo = self.sight.hidden.lock().ok()?;
        let (at, hidden) = memo.get(&self.key(id, by))?;
        (now.since(*at) < BREATH).then_some(*hidden)
    }

    fn key(&self, id: &str, by: Option<&str>) -> Naming {
        (
            self.client.to_owned(),
            self.at.collection.clone(),
            id.to_owned(),
            by.map(str::to_owned),
        )
    }

    /// Whether an object names one that is in this collection and hidden from this client: by its own
    /// markings, or since it names such a one in turn. Of the same originator, that is: nobody hides what
    /// others publish, and whoever names another's object says that to all who see the name.
    fn names_hidden(&self, named: &[String], by: Option<&str>) -> Result<bool, Fault> {
        let now = self.sight.node.clock().now();
        let mut reached: HashMap<String, Reached> = HashMap::new();
        let mut ahead: VecDeque<String> = named.iter().cloned().collect();
        while let Some(id) = ahead.pop_front() {
            if reached.contains_key(&id) {
                continue;
            }
            if reached.len() >= MAX_REACH {
                return Ok(true);
            }
            let one = self.reach(&id, by, now)?;
            ahead.extend(one.versions.iter().flatten().cloned());
            reached.insert(id, one);
        }
        spread(&mut reached);
        let hidden = |id: &String| reached.get(id).is_some_and(|one| one.hidden);
        let names = named.iter().any(hidden);
        if let Ok(mut memo) = self.sight.hidden.lock() {
            if memo.len() + reached.len() > MAX_MEMO {
                memo.clear();
            }
            memo.extend(
                reached
                    .iter()
                    .filter(|(_, one)| !one.settled)
                    .map(|(id, one)| {
                        let key = self.key(id, by);
                        (key, (now, one.hidden))
                    }),
            );
        }
        Ok(names)
    }

    fn reach(&self, id: &str, by: Option<&str>, now: Timestamp) -> Result<Reached, Fault> {
        let standard = is_standard_marking(id).then_some(false);
        if let Some(hidden) = standard.or_else(|| self.known(id, by, now)) {
            return Ok(Reached {
                hidden,
                settled: true,
                ..Reached::default()
            });
        }
        let rows = self.rows(id)?;
        let mut one = Reached::default();
        let mut tells = false;
        for (_, row) in &rows {
            self.waiting.check()?;
            let item = self.sight.item(row.number)?;
            // What was deleted by rule is not here; what was taken back takes with it what names it.
            let there = |item: &Arc<ItemView>| {
                item.is_taken_back() || item.parts.iter().any(|part| part.content.is_some())
            };
            if !row.is_by(by) || !item.as_ref().is_some_and(there) {
                continue;
            }
            tells |= row.shared.is_none();
            let shown = self.may_see(row)?;
            let object = shown
                .as_ref()
                .and_then(|shown| shown.find(&row.id, &row.version));
            one.versions
                .extend(object.map(|object| object.named.clone()));
        }
        // One that is not here at all is named as it came: it says nothing that is here. Nor does one that
        // many bulletins are written with: whoever sees what names it sees it there.
        one.hidden = tells && one.versions.is_empty();
        Ok(one)
    }
}

/// What names a hidden object with every version that could be seen is hidden, too, and so on.
fn spread(reached: &mut HashMap<String, Reached>) {
    let mut named_by: HashMap<String, Vec<String>> = HashMap::new();
    for (id, one) in reached.iter() {
        let named: BTreeSet<&String> = one.versions.iter().flatten().collect();
        for name in named {
            named_by.entry(name.clone()).or_default().push(id.clone());
        }
    }
    let hidden = reached.iter().filter(|(_, one)| one.hidden);
    let mut ahead: Vec<String> = hidden.map(|(id, _)| id.clone()).collect();
    while let Some(id) = ahead.pop() {
        for other in named_by.get(&id).into_iter().flatten() {
            let is_hidden = |id: &String| reached.get(id).is_some_and(|one| one.hidden);
            let every =
                |one: &Reached| one.versions.iter().all(|names| names.iter().any(is_hidden));
            let falls = reached
                .get(other)
                .is_some_and(|one| !one.hidden && every(one));
            if falls && let Some(one) = reached.get_mut(other) {
                one.hidden = true;
                ahead.push(other.clone());
            }
        }
    }
}
