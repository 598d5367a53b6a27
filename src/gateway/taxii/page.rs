//! Pages: which entries a request gets, out of those that its client may see.
//!
//! Each filter narrows what the one before left over, in this order: id, type and `added_after`; then the
//! specification; then the version. So "the latest version" is the latest of those that match the rest of
//! the request, as section 3.4.1 has it.

use std::collections::{BTreeSet, HashMap};

use super::filter::{Filter, Versions};
use super::store::{Client, Entry, Fault, Place, Position, Store, Waiting};

/// Entries that are asked of the store at once.
const CHUNK: usize = 256;
/// Objects of which it is remembered during one request which of their entries are asked for.
const MAX_KNOWN: usize = 10_000;

/// What a request gets.
#[derive(Debug)]
pub(super) struct Page {
    /// Ascending.
    pub(super) entries: Vec<Entry>,
    /// Whether there are more that match.
    pub(super) more: bool,
}

/// A page of a collection, of at most `limit` entries.
pub(super) fn page(
    store: &dyn Store,
    client: &Client,
    at: &Place,
    filter: &Filter,
    limit: usize,
    waiting: &Waiting,
) -> Result<Page, Fault> {
    let mut found = Vec::new();
    if let Some(ids) = &filter.ids {
        for id in ids {
            waiting.check()?;
            found.extend(wanted(store.versions(client, at, id, waiting)?, filter));
        }
        found.sort_by_key(|entry| entry.position);
        found.retain(|entry| filter.next.is_none_or(|next| entry.position > next));
        let more = found.len() > limit;
        found.truncate(limit);
        return Ok(Page {
            entries: found,
            more,
        });
    }
    let mut after = filter.added_after.map_or(
        Position {
            date_added: crate::clock::Timestamp::MIN,
            tie: 0,
        },
        Position::after,
    );
    after = filter.next.map_or(after, |next| next.max(after));
    // An object is looked at once, however often it stands here.
    let mut known: HashMap<String, BTreeSet<Position>> = HashMap::new();
    loop {
        waiting.check()?;
        let chunk = store.entries(client, at, after, CHUNK, waiting)?;
        let full = chunk.len() == CHUNK;
        for entry in chunk {
            after = entry.position;
            if !filter.matches(&entry) {
                continue;
            }
            if !known.contains_key(&entry.id) {
                waiting.check()?;
                let versions = store.versions(client, at, &entry.id, waiting)?;
                let wanted = wanted(versions, filter);
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                let positions = wanted.iter().map(|entry| entry.position).collect();
                known.insert(entry.id.clone(), positions);
            }
            let wanted = known.get(&entry.id);
            if wanted.is_none_or(|wanted| !wanted.contains(&entry.position)) {
                continue;
            }
            if found.len() == limit {
                return Ok(Page {
                    entries: found,
                    more: true,
                });
            }
            found.push(entry);
        }
        if !full {
            return Ok(Page {
                entries: found,
                more: false,
            });
        }
    }
}

/// Which of one object's entries are asked for.
pub(super) fn wanted(mut entries: Vec<Entry>, filter: &Filter) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.position);
    // What was added twice counts as added when it first was.
    let mut known = Vec::new();
    entries.retain(|entry| {
        let one = (entry.version.clone(), entry.spec_version);
        let new = !known.contains(&one);
        known.push(one);
        new
    });
    entries.retain(|entry| filter.matches(entry));
    if let Some(named) = &filter.spec_versions {
        entries.retain(|entry| named.contains(&entry.spec_version));
    } else {
        let latest = entries.iter().map(|entry| entry.spec_version).max();
        entries.retain(|entry| Some(entry.spec_version) == latest);
    }
    let Versions::Some { first, last, exact } = &filter.versions else {
        return entries;
    };
    let order = |entry: &&Entry| (entry.version.clone(), entry.position);
    let mut kept: BTreeSet<Position> = BTreeSet::new();
    if *first && let Some(entry) = entries.iter().min_by_key(order) {
        kept.insert(entry.position);
    }
    if *last && let Some(entry) = entries.iter().max_by_key(order) {
        kept.insert(entry.position);
    }
    entries.retain(|entry| kept.contains(&entry.position) || exact.contains(&entry.version));
    entries
}
