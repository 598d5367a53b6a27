//! Pages: which entries a request gets, out of those that its client may see.
//!
//! Each filter narrows what the one before left over, in this order: id, type and `added_after`; then the
//! specification; then the version. So "the latest version" is the latest of those that match the rest of
//! the request, as section 3.4.1 has it.

use std::collections::BTreeSet;

use super::filter::{Filter, Versions};
use super::store::{Client, Entry, Fault, Place, Position, Store};

/// Entries that are asked of the store at once.
const CHUNK: usize = 256;

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
) -> Result<Page, Fault> {
    let mut found = Vec::new();
    if let Some(ids) = &filter.ids {
        for id in ids {
            found.extend(wanted(store.versions(client, at, id)?, filter));
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
    loop {
        let chunk = store.entries(client, at, after, CHUNK)?;
        let full = chunk.len() == CHUNK;
        for entry in chunk {
            after = entry.position;
            if !filter.matches(&entry) || !is_wanted(store, client, at, filter, &entry)? {
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

fn is_wanted(
    store: &dyn Store,
    client: &Client,
    at: &Place,
    filter: &Filter,
    entry: &Entry,
) -> Result<bool, Fault> {
    let versions = store.versions(client, at, &entry.id)?;
    let mut wanted = wanted(versions, filter).into_iter();
    Ok(wanted.any(|one| one.position == entry.position))
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
