//! A bulletin that was received here, for who verifies it elsewhere.

use super::Shared;
use super::evidence;
use super::inbox::InboxItem;
use super::local::Response;
use crate::bulletin::{BulletinId, Header};
use crate::identity::write_bulletin;
use crate::transport::Trouble;

/// Its file: as it came, with the key sets of its originator that this partner's own pins lead to.
pub(super) fn bulletin(shared: &Shared, id: &BulletinId) -> Result<Response, Trouble> {
    let unknown = || Trouble::new("unknown_bulletin", format!("no bulletin {id} in the inbox"));
    let (_, bytes) = shared.store.inbox_item(id)?.ok_or_else(unknown)?;
    let damaged = || Trouble::new("damaged", format!("bulletin {id} cannot be read"));
    let sealed = InboxItem::from_bytes(&bytes)
        .ok_or_else(damaged)?
        .delivery
        .bulletin;
    let header = Header::from_bytes(&sealed.header).map_err(|_| damaged())?;
    let trusted = evidence::trusted(shared);
    let originator = header.originator.partner();
    let mut key_sets = originator.map_or_else(Vec::new, |partner| trusted.key_sets(partner));
    if let Some(crossing) = &header.crossing {
        let more = shared.federation.key_sets(crossing);
        key_sets.extend(
            more.into_iter()
                .filter(|_| originator != crossing.original.originator.partner()),
        );
    }
    Ok(Response::Exported(write_bulletin(&sealed, &key_sets)))
}
