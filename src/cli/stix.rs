//! STIX bundles, published once in each version: what was published of an object before is noted at the node, so
//! that newer versions take its place, what is revoked is taken back, and the same is not published again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::error::CliError;
use super::import::Import;
use super::publication::{
    self, Fate, MAX_REFERENCES, Publication, Ready, Remembered, refused_before,
};
use super::report::Report;
use crate::bulletin::{BulletinId, Draft, Relation};
use crate::formats::stix::{Bundle, ObjectVersion, Published, carried, renew};
use crate::gateway::exchange::{note_of_bulletin, note_of_object};
use crate::proof::Digest;

/// Bulletins that are remembered of one object: the latest.
const MAX_CARRIERS: usize = 1_000;

/// What was published before of the objects of a bundle.
struct Before {
    /// Which bulletins carry an object, the first first.
    carriers: BTreeMap<String, Vec<BulletinId>>,
    /// Those that hold, under the labels of now.
    published: Published,
    /// Those that hold, under other labels.
    others: BTreeMap<BulletinId, Vec<(String, ObjectVersion)>>,
    /// Those in whose place others of them were put.
    replaced: BTreeSet<BulletinId>,
    /// Versions that the broker refused under the labels of now, and would refuse again: why.
    refused: HashMap<(String, [u8; 32]), String>,
}

/// Publishes what is new in a bundle.
pub(super) async fn publish(
    publication: &mut Publication<'_>,
    import: &mut Import,
    file: &Path,
    mut bundle: Bundle,
    report: &Report,
) -> Result<(), CliError> {
    let labels = Digest::of(import.labels().as_bytes()).to_string();
    let mut seen = BTreeSet::new();
    bundle.objects.retain(|object| {
        let version = ObjectVersion::of(&object.json);
        seen.insert((object.id.clone(), version.digest()))
    });
    let mut before = look(publication, file, &bundle, &labels).await?;
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    bundle.objects.retain(|object| {
        let version = ObjectVersion::of(&object.json);
        let reason = before.refused.get(&(object.id.clone(), version.digest()));
        if let Some(reason) = reason {
            *refused.entry(reason.clone()).or_default() += 1;
        }
        reason.is_none()
    });
    for (reason, count) in refused {
        let reason = format!("{count} objects: {}", refused_before(&reason));
        import.left_out.push((file.to_owned(), reason));
    }
    let newest = newest(&bundle);
    let renewal = renew(bundle, import.labelling(), &before.published);
    publication.unchanged += renewal.unchanged;
    for one in renewal.contradicting {
        let id = one.id.unwrap_or_default();
        let reason = format!("{id}: {}: {}", one.property, one.reason);
        import.left_out.push((file.to_owned(), reason));
    }
    let mut drafts = renewal.drafts;
    import.finish(&mut drafts);
    before.replace_others(&mut drafts, &newest);
    publication::name(&mut drafts)?;
    let bar = report.progress("publishing", drafts.len() as u64);
    for draft in drafts {
        add(publication, &mut before, file, &labels, draft).await?;
        if publication.is_full() {
            publication.flush(import, report).await?;
        }
        bar.inc(1);
    }
    publication.flush(import, report).await?;
    bar.finish_and_clear();
    Ok(())
}

/// The newest version of each object in a bundle.
fn newest(bundle: &Bundle) -> HashMap<String, ObjectVersion> {
    let mut newest: HashMap<String, ObjectVersion> = HashMap::new();
    for object in &bundle.objects {
        let version = ObjectVersion::of(&object.json);
        match newest.get_mut(&object.id) {
            Some(known) if version.is_newer(known) => *known = version,
            Some(_) => {}
            None => drop(newest.insert(object.id.clone(), version)),
        }
    }
    newest
}

async fn look(
    publication: &mut Publication<'_>,
    file: &Path,
    bundle: &Bundle,
    labels: &str,
) -> Result<Before, CliError> {
    let ids: BTreeSet<String> = bundle.objects.iter().map(|one| one.id.clone()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let names: Vec<String> = ids.iter().map(|id| note_of_object(id)).collect();
    let lists: Vec<Option<Vec<BulletinId>>> = publication.noted(&names).await?;
    let lists = lists.into_iter().map(Option::unwrap_or_default);
    let mut carriers: BTreeMap<String, Vec<BulletinId>> = ids.into_iter().zip(lists).collect();
    let all: BTreeSet<BulletinId> = carriers.values().flatten().copied().collect();
    let all: Vec<BulletinId> = all.into_iter().collect();
    let names: Vec<String> = all.iter().map(note_of_bulletin).collect();
    let notes: Vec<Option<Remembered>> = publication.noted(&names).await?;
    let fates = publication.fates(&all).await?;
    let mut holding = Vec::new();
    let mut refused = HashMap::new();
    for (id, note) in all.iter().zip(notes) {
        let Some(note) = note else { continue };
        match fates.get(id) {
            Some(Fate::Holds) => holding.push((*id, note)),
            Some(Fate::Refused(reason))
                if note.labels == labels && publication.stays_refused(&note).await? =>
            {
                let versions = note.objects.into_iter();
                let keys = versions.map(|(id, version)| (id, version.digest()));
                refused.extend(keys.map(|key| (key, reason.clone())));
            }
            _ => {}
        }
    }
    // It was refused once, and taken since.
    for (_, note) in holding.iter().filter(|(_, note)| note.labels == labels) {
        for (id, version) in &note.objects {
            refused.remove(&(id.clone(), version.digest()));
        }
    }
    // What was noted and never published is nowhere.
    let there = |id: &BulletinId| fates.get(id).is_some_and(|fate| *fate != Fate::Lost);
    for list in carriers.values_mut() {
        list.retain(there);
    }
    let mut found = Before {
        carriers,
        published: Published::default(),
        others: BTreeMap::new(),
        replaced: BTreeSet::new(),
        refused,
    };
    // What was published since under other labels counts, and not what it replaced.
    let mut gone: BTreeSet<BulletinId> = BTreeSet::new();
    for (_, note) in &holding {
        found.replaced.extend(&note.before);
        if note.labels != labels {
            gone.extend(&note.before);
        }
    }
    for (id, note) in holding {
        if !note.owed.is_empty() {
            publication.catch_up(file.to_owned(), note_of_bulletin(&id), note.clone());
        }
        if gone.contains(&id) {
            continue;
        }
        if note.labels == labels {
            for (object, version) in note.objects {
                found.published.note_version(id, &object, version);
            }
        } else if !found.replaced.contains(&id) {
            found.others.insert(id, note.objects);
        }
    }
    Ok(found)
}

impl Before {
    /// Other labels are a change: what is published under them now takes the place of a bulletin all of whose
    /// objects are there, none older.
    fn replace_others(&self, drafts: &mut [Draft], newest: &HashMap<String, ObjectVersion>) {
        for (bulletin, objects) in &self.others {
            let (mut whole, mut revoked) = (true, true);
            for (id, old) in objects {
                let new = newest.get(id).filter(|new| !old.is_newer(new));
                whole &= new.is_some();
                revoked &= new.is_some_and(ObjectVersion::is_revoked);
            }
            let has = |draft: &Draft| {
                let carried = carried(draft);
                carried
                    .iter()
                    .any(|(id, _)| objects.iter().any(|(old, _)| old == id))
            };
            if whole && let Some(draft) = drafts.iter_mut().find(|draft| has(draft)) {
                if revoked {
                    draft.retracts.push(*bulletin);
                } else {
                    draft.supersedes.push(*bulletin);
                }
            }
        }
    }
}

async fn add(
    publication: &mut Publication<'_>,
    before: &mut Before,
    file: &Path,
    labels: &str,
    mut draft: Draft,
) -> Result<(), CliError> {
    let Some(id) = draft.id else { return Ok(()) };
    // What was replaced before gets no second notice, but is taken back.
    let superseded = draft
        .supersedes
        .iter()
        .map(|id| (*id, Relation::Supersedes));
    let superseded = superseded.filter(|(id, _)| !before.replaced.contains(id));
    let retracted = draft.retracts.iter().map(|id| (*id, Relation::Retracts));
    let replaced: Vec<(BulletinId, Relation)> = superseded.chain(retracted).collect();
    let gone = [draft.supersedes.as_slice(), &draft.retracts].concat();
    draft.retracts.truncate(MAX_REFERENCES);
    let left = MAX_REFERENCES - draft.retracts.len();
    draft.supersedes.truncate(left);
    let objects = carried(&draft);
    let mut more = Vec::new();
    for (object, _) in &objects {
        let list = before.carriers.entry(object.clone()).or_default();
        list.push(id);
        let excess = list.len().saturating_sub(MAX_CARRIERS);
        list.drain(..excess);
        let text = serde_json::to_string(list).map_err(CliError::failed)?;
        more.push((note_of_object(object), text));
    }
    let drafts = vec![draft];
    let ready = Ready {
        file: file.to_owned(),
        name: note_of_bulletin(&id),
        note: Remembered {
            labels: labels.to_owned(),
            before: gone,
            objects,
            ..Remembered::default()
        },
        more,
        bytes: publication::size(&drafts)?,
        drafts,
    };
    publication.add(ready, &replaced).await
}
