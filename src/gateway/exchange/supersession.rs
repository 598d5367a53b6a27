//! What its originator put another bulletin in the place of. Our own objects of it get a last version, which is
//! revoked; those that came as STIX are theirs to version, and are shown as long as a version at least as new
//! is in a bulletin that holds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rows::{self, Superseded};
use crate::bulletin::{BulletinId, Relation};
use crate::clock::Timestamp;
use crate::gateway::Author;
use crate::node::{Applications, ItemView};
use crate::transport::Trouble;

/// Notices that are kept of one bulletin.
const MAX_NOTICES: usize = 16;

/// By bulletin.
pub(super) type Notices = BTreeMap<BulletinId, Vec<Superseded>>;

/// The bulletins in whose place a notice puts another.
pub(super) fn about(notice: &ItemView) -> Vec<BulletinId> {
    let header = notice.header.as_ref().filter(|header| header.notice);
    let references = header
        .into_iter()
        .flat_map(|header| &header.references)
        .filter(|reference| reference.relation == Relation::Supersedes);
    references.map(|reference| reference.bulletin).collect()
}

/// Notes a notice about a bulletin, and what was noted of it before.
pub(super) fn note(
    node: &Applications,
    notices: &mut Notices,
    about: BulletinId,
    notice: &ItemView,
) -> Result<(), Trouble> {
    let Some(header) = &notice.header else {
        return Ok(());
    };
    let Some(by) = Author::of(header) else {
        return Ok(());
    };
    let mut all = noted(node, notices, &about)?;
    if all.len() < MAX_NOTICES {
        all.push(Superseded {
            by,
            at: header.created,
        });
    }
    notices.insert(about, all);
    Ok(())
}

fn noted(
    node: &Applications,
    notices: &Notices,
    about: &BulletinId,
) -> Result<Vec<Superseded>, Trouble> {
    if let Some(all) = notices.get(about) {
        return Ok(all.clone());
    }
    let row = node.row(&rows::superseded(about))?;
    let all = row.and_then(|row| serde_json::from_slice(&row).ok());
    Ok(all.unwrap_or_default())
}

/// When its own author put another in a bulletin's place, as its objects say it: after they were written.
pub(super) fn at(
    node: &Applications,
    notices: &Notices,
    item: &ItemView,
) -> Result<Option<Timestamp>, Trouble> {
    let Some(header) = &item.header else {
        return Ok(None);
    };
    let Some(author) = Author::of(header) else {
        return Ok(None);
    };
    let all = noted(node, notices, &item.id)?;
    let own = all.iter().filter(|one| one.by == author);
    let first = own.map(|one| one.at).min();
    let later = header.created.saturating_add(Duration::from_millis(1));
    Ok(first.map(|at| at.max(later)))
}
