//! Notices: given about this partner's own bulletins, and applied to those it received.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::declare;
use super::error::NodeError;
use super::inbox::{InboxItem, Verdict};
use super::{Shared, evidence};
use crate::bulletin::{
    BulletinId, Classification, Content, Header, Marking, Part, PartClass, PlainPart, Precedence,
    Reference, Relation, Tlp, Unsealed, redact, seal,
};
use crate::clock::random;
use crate::ledger::What;
use crate::partner::PartnerId;
use crate::store::{AppliedNotice, Mark, Outgoing};
use crate::transport::Trouble;

/// Under this name it is kept how far notices were applied. No application can take it.
const READER: &str = "\0notices";
/// Items looked at together.
const PAGE: usize = 64;
/// A notice is valid for at least so long.
const VALIDITY: Duration = Duration::from_hours(720);

/// A notice to be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoticeDraft {
    /// About this bulletin.
    pub about: BulletinId,
    /// What becomes of it.
    pub relation: Relation,
    /// Why, or what to do; recipients read it.
    pub reason: String,
    /// More urgent than the bulletin; absent: as urgent.
    #[serde(default)]
    pub precedence: Option<Precedence>,
    /// Its TLP from now on, for a downgrade.
    #[serde(default)]
    pub tlp: Option<Tlp>,
    /// Its classification from now on, for a downgrade.
    #[serde(default)]
    pub classification: Option<Classification>,
}

/// Puts a notice into the outbox; its id.
pub(super) fn give(shared: &Shared, draft: NoticeDraft) -> Result<BulletinId, Trouble> {
    let invalid = |reason: &str| Trouble::new("invalid", reason);
    let status = shared.store.outbox_status(&draft.about)?;
    let unknown = || {
        let message = format!("no bulletin {} was published here", draft.about);
        Trouble::new("unknown_bulletin", message)
    };
    let original = status.ok_or_else(unknown)?.header().ok_or_else(unknown)?;
    let original = Header::from_bytes(&original).map_err(|error| Trouble::new("damaged", error))?;
    let precedence = draft.precedence.unwrap_or(original.precedence);
    if precedence < original.precedence {
        return Err(invalid("a notice is at least as urgent as its bulletin"));
    }
    if draft.relation == Relation::Downgrades && draft.tlp.is_none_or(|tlp| tlp >= original.tlp) {
        return Err(invalid(
            "a downgrade lowers the TLP; say to which with --tlp",
        ));
    }
    let now = shared.clock.now();
    let id = random(shared.entropy.as_ref()).map_err(|error| Trouble::new("entropy", error))?;
    let text = serde_json::json!({"type": "action", "text": draft.reason});
    let content: Content =
        serde_json::from_value(text).map_err(|error| Trouble::new("invalid", error))?;
    let body = content
        .encode()
        .map_err(|error| Trouble::new("invalid", error))?;
    let header = Header {
        id: BulletinId::from_random(id),
        created: now,
        valid_from: now,
        valid_until: original.valid_until.max(now.saturating_add(VALIDITY)),
        tlp: draft.tlp.unwrap_or(original.tlp),
        classification: draft
            .classification
            .or_else(|| original.classification.clone()),
        releasable_to: Vec::new(),
        audience_part: false,
        precedence,
        references: vec![Reference {
            relation: draft.relation,
            bulletin: draft.about,
        }],
        as_of: evidence::trusted(shared).size,
        notice: true,
        ..original
    };
    let part = PlainPart {
        class: PartClass::Action,
        marking: Marking::default(),
        body,
    };
    let unsealed = Unsealed {
        header,
        parts: vec![part],
    };
    let sealed = seal(
        vec![unsealed],
        shared.signer.as_ref(),
        shared.entropy.as_ref(),
    )
    .map_err(|error| Trouble::new("invalid", error))?;
    let outgoing: Vec<Outgoing> = sealed.iter().map(super::send::outgoing).collect();
    shared.store.enqueue(&outgoing, now)?;
    shared.outbox.notify_one();
    Ok(outgoing[0].id)
}

/// Applies notices as they come, in order, until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut arrived = shared.inbox.subscribe();
    loop {
        arrived.borrow_and_update();
        let applying = Arc::clone(&shared);
        let applied = tokio::task::spawn_blocking(move || apply_all(&applying)).await;
        match applied {
            Ok(Ok(())) => shared.declared.notify_one(),
            Ok(Err(error)) => tracing::error!(%error, "a notice could not be applied"),
            Err(_) => return,
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = arrived.changed() => if changed.is_err() { return },
        }
    }
}

fn apply_all(shared: &Shared) -> Result<(), NodeError> {
    loop {
        let page = shared.store.inbox(shared.store.consumer(READER)?, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        let last = *last;
        for (number, bytes) in &page {
            let item = InboxItem::from_bytes(bytes).filter(|one| one.verdict == Verdict::Verified);
            let Some(item) = item else { continue };
            let Ok(header) = Header::from_bytes(&item.delivery.bulletin.header) else {
                continue;
            };
            if header.notice {
                apply(shared, *number, &item, &header)?;
            } else {
                take_back(shared, *number, &item, &header)?;
            }
        }
        shared.store.advance(READER, last)?;
    }
}

/// Applies one notice: its bulletin is marked, and taken back where it says so. One that is still
/// on its way is marked already.
fn apply(
    shared: &Shared,
    number: u64,
    notice: &InboxItem,
    header: &Header,
) -> Result<(), NodeError> {
    let Some(reference) = header.references.first() else {
        return Ok(());
    };
    let about = reference.bulletin;
    let mark = Mark {
        relation: reference.relation,
        notice: header.id,
        header: notice.delivery.bulletin.header_hash(),
        originator: header.originator.clone(),
        tlp: (reference.relation == Relation::Downgrades).then_some(header.tlp),
    };
    let target = shared.store.inbox_item(&about)?;
    let target = target.and_then(|(at, bytes)| Some((at, InboxItem::from_bytes(&bytes)?)));
    let target = target.filter(|(_, item)| is_by(item, &mark.originator));
    settle(shared, number, about, &mark, target)
}

/// Applies a notice that overtook its bulletin.
fn take_back(
    shared: &Shared,
    number: u64,
    item: &InboxItem,
    header: &Header,
) -> Result<(), NodeError> {
    let mark = shared.store.mark(&header.id)?;
    match mark.filter(|mark| mark.originator == header.originator) {
        Some(mark) => settle(
            shared,
            number,
            header.id,
            &mark,
            Some((number, item.clone())),
        ),
        None => Ok(()),
    }
}

/// Stores a mark, what it leaves of its bulletin, and the declaration that it was applied.
fn settle(
    shared: &Shared,
    number: u64,
    about: BulletinId,
    mark: &Mark,
    target: Option<(u64, InboxItem)>,
) -> Result<(), NodeError> {
    let mut applied = AppliedNotice {
        reader: READER,
        up_to: number,
        mark: Some((about, mark.clone())),
        item: None,
        declaration: None,
    };
    if let (Some((at, item)), Some(ledger)) = (target, super::link::known_ledger(shared)?) {
        if mark.relation == Relation::Retracts {
            applied.item = Some((at, emptied(&item)));
        }
        let hash = item.delivery.bulletin.header_hash();
        let what = What::Applied(mark.header);
        applied.declaration = Some(declare::sign(shared, ledger, about, hash, what)?);
    }
    Ok(shared.store.apply_notice(&applied)?)
}

/// Whether a received bulletin is of the originator of a notice.
fn is_by(item: &InboxItem, originator: &PartnerId) -> bool {
    let header = Header::from_bytes(&item.delivery.bulletin.header);
    header.is_ok_and(|header| header.originator == *originator)
}

/// Whether nothing of a bulletin is left but its header and proofs.
pub(super) fn is_emptied(item: &InboxItem) -> bool {
    let mut parts = item.delivery.bulletin.parts.iter();
    parts.all(|part| matches!(part, Part::Withheld(_)))
}

/// What is left of a bulletin that was taken back or kept long enough: its header and proofs, and no content.
pub(super) fn emptied(item: &InboxItem) -> Bytes {
    let mut left = item.clone();
    let all: Vec<u32> = (0..)
        .zip(&item.delivery.bulletin.parts)
        .filter(|(_, part)| matches!(part, Part::Open(_)))
        .map(|(index, _)| index)
        .collect();
    left.delivery.bulletin = redact(&item.delivery.bulletin, &all);
    left.to_bytes()
}
