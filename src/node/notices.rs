//! Notices: given about this partner's own bulletins, and applied to those it received.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::declare;
use super::error::NodeError;
use super::inbox::{InboxItem, Verdict};
use super::{Shared, evidence, pseudonyms};
use crate::bulletin::{
    BulletinId, Classification, Content, Header, Marking, Part, PartClass, PlainPart, Precedence,
    Reference, Relation, Tlp, Unsealed, redact, seal,
};
use crate::clock::random;
use crate::ledger::What;
use crate::proof::Signer;
use crate::store::{AppliedNotice, Mark, OutboxState, Outgoing};
use crate::transport::Trouble;

/// Under this name it is kept how far notices were applied. No application can take it.
const READER: &str = "\0notices";
/// Items looked at together.
const PAGE: usize = 64;
/// The most partners named in a declaration.
const MAX_NAMED: usize = 64;
/// The code of what was taken back before the broker answered for it.
pub(super) const TAKEN_BACK: &str = "taken_back";
/// Codes with which a notice is refused that can never be given; with any other it may be given later.
pub const NEVER_GIVEN: [&str; 4] = ["invalid", "unknown_bulletin", "damaged", "bad_request"];
/// A notice is valid for at least so long.
const VALIDITY: Duration = Duration::from_hours(720);

/// A notice to be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeDraft {
    /// Its id: the same notice is given once. Absent: a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<BulletinId>,
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
    if take_back_unpublished(shared, &draft)? {
        return Ok(draft.about);
    }
    if let Some(id) = draft.id
        && shared.store.outbox_status(&id)?.is_some()
    {
        return Ok(id);
    }
    let outgoing = prepare(shared, draft)?;
    let id = outgoing.id;
    shared.store.enqueue(&[outgoing], shared.clock.now())?;
    shared.outbox.notify_one();
    Ok(id)
}

/// Takes back what waits here under an embargo: nobody has it, so nobody is given notice. What was carried
/// here from another ledger is not sent any more either; its carrier asks what became of it.
fn take_back_unpublished(shared: &Shared, draft: &NoticeDraft) -> Result<bool, Trouble> {
    let status = shared.store.outbox_status(&draft.about)?;
    let waits = status.filter(|one| one.state == OutboxState::Pending);
    let header = waits.and_then(|one| Header::from_bytes(&one.header()?).ok());
    let carried = header
        .as_ref()
        .is_some_and(|header| header.crossing.is_some());
    let embargo = header.is_some_and(|header| header.valid_from > shared.clock.now());
    let taken_back = match draft.relation {
        Relation::Retracts => embargo || carried,
        Relation::Ends => carried,
        _ => false,
    };
    if !taken_back {
        return Ok(false);
    }
    let message = format!("taken back before anybody had it: {}", draft.reason);
    let code = TAKEN_BACK.to_owned();
    let settled = [(draft.about, OutboxState::Rejected { code, message })];
    shared.store.settle(&settled, None)?;
    Ok(true)
}

/// A notice, signed.
fn prepare(shared: &Shared, draft: NoticeDraft) -> Result<Outgoing, Trouble> {
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
    let nameless = original.originator.pseudonym().is_some();
    let now = shared.clock.now();
    // As in a bulletin without a name: nothing that tells by which node it was written.
    let now = if nameless { now.whole_second() } else { now };
    let seen = evidence::trusted(shared).size;
    let id = match draft.id {
        Some(id) => id,
        None => BulletinId::from_random(
            random(shared.entropy.as_ref()).map_err(|error| Trouble::new("entropy", error))?,
        ),
    };
    let text = serde_json::json!({"type": "action", "text": draft.reason});
    let content: Content =
        serde_json::from_value(text).map_err(|error| Trouble::new("invalid", error))?;
    let body = content
        .encode()
        .map_err(|error| Trouble::new("invalid", error))?;
    let header = Header {
        id,
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
        as_of: if nameless { 0 } else { seen },
        notice: true,
        crossing: None,
        ..original.clone()
    };
    let part = PlainPart {
        class: PartClass::Action,
        marking: Marking::default(),
        body,
        salt: None,
    };
    let mut unsealed = Unsealed {
        header,
        parts: vec![part],
    };
    let mut signer: Arc<dyn Signer> = Arc::clone(&shared.signer);
    if nameless {
        let (disguised, key) = pseudonyms::disguise_as(shared, unsealed, &original)?;
        (unsealed, signer) = (disguised, Arc::new(key));
    }
    let sealed = seal(vec![unsealed], signer.as_ref(), shared.entropy.as_ref())
        .map_err(|error| Trouble::new("invalid", error))?;
    let first = sealed.first().map(super::send::outgoing);
    first.ok_or_else(|| invalid("nothing was sealed"))
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
            let item = InboxItem::from_bytes(bytes);
            let item = item.filter(|one| !matches!(one.verdict, Verdict::Quarantined(_)));
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

/// Whether a notice is here, and not applied yet, that takes a bulletin back or replaces it.
pub(super) fn ends_soon(shared: &Shared, bulletin: &Header) -> Result<bool, Trouble> {
    let mut after = shared.store.consumer(READER)?;
    loop {
        let page = shared.store.inbox(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(false);
        };
        after = *last;
        let items = page
            .iter()
            .filter_map(|(_, bytes)| InboxItem::from_bytes(bytes));
        let mut notices = items
            .filter(|item| item.verdict == Verdict::Verified)
            .filter_map(|item| Header::from_bytes(&item.delivery.bulletin.header).ok())
            .filter(|header| header.notice && header.originator == bulletin.originator);
        let ends = |header: Header| {
            let about = header.references.first();
            about.is_some_and(|one| {
                one.bulletin == bulletin.id && one.relation != Relation::Downgrades
            })
        };
        if notices.any(ends) {
            return Ok(true);
        }
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
    let target = target.filter(|(_, item)| {
        let original = Header::from_bytes(&item.delivery.bulletin.header);
        item.verdict == Verdict::Verified && original.is_ok_and(|original| mark.is_by(&original))
    });
    settle(shared, number, about, &mark, target, Some(notice))
}

/// Applies a notice that overtook its bulletin.
fn take_back(
    shared: &Shared,
    number: u64,
    item: &InboxItem,
    header: &Header,
) -> Result<(), NodeError> {
    let mark = shared.store.mark(&header.id)?;
    match mark.filter(|mark| mark.is_by(header)) {
        Some(mark) => settle(
            shared,
            number,
            header.id,
            &mark,
            Some((number, item.clone())),
            None,
        ),
        None => Ok(()),
    }
}

/// Stores a mark, what it leaves of its bulletin, and the declaration that it was applied. What was
/// passed on of it is followed by a notice of this partner's own.
fn settle(
    shared: &Shared,
    number: u64,
    about: BulletinId,
    mark: &Mark,
    target: Option<(u64, InboxItem)>,
    notice: Option<&InboxItem>,
) -> Result<(), NodeError> {
    // What waits for a bulletin of one originator is not displaced by another's.
    let waiting = match &target {
        Some(_) => None,
        None => shared.store.mark(&about)?,
    };
    let displaces = waiting.is_some_and(|one| one.originator != mark.originator);
    let mut applied = AppliedNotice {
        outgoing: Vec::new(),
        now: shared.clock.now(),
        reader: READER,
        up_to: number,
        mark: (!displaces).then(|| (about, mark.clone())),
        item: None,
        declaration: None,
    };
    if let (Some((at, item)), Some(ledger)) = (target, super::link::known_ledger(shared)?) {
        if mark.relation == Relation::Retracts {
            applied.item = Some((at, emptied(&item)));
        }
        let hash = item.delivery.bulletin.header_hash();
        let (what, outgoing) = match notice {
            Some(notice) => follow_up(shared, about, mark, notice)?,
            None => (What::Applied(mark.header), Vec::new()),
        };
        applied.outgoing = outgoing;
        applied.declaration = Some(declare::sign(shared, ledger, about, hash, what)?);
    }
    shared.store.apply_notice(&applied)?;
    if !applied.outgoing.is_empty() {
        shared.outbox.notify_one();
    }
    Ok(())
}

/// What is declared about a notice, and the notices that follow what was passed on.
fn follow_up(
    shared: &Shared,
    about: BulletinId,
    mark: &Mark,
    notice: &InboxItem,
) -> Result<(What, Vec<Outgoing>), NodeError> {
    let passed_on = shared.store.passed_on(&about)?;
    let (mut to, mut outgoing) = (BTreeSet::new(), Vec::new());
    let mut unable = None;
    for (id, recipients) in passed_on {
        let status = shared.store.outbox_status(&id)?;
        let went = status.is_some_and(|one| !matches!(one.state, OutboxState::Rejected { .. }));
        if !went {
            continue;
        }
        let header = Header::from_bytes(&notice.delivery.bulletin.header).ok();
        let draft = NoticeDraft {
            id: None,
            about: id,
            relation: mark.relation,
            reason: reason(notice),
            precedence: header.as_ref().map(|header| header.precedence),
            tlp: mark.tlp,
            classification: header
                .filter(|_| mark.relation == Relation::Downgrades)
                .and_then(|header| header.classification),
        };
        match prepare(shared, draft) {
            Ok(one) => outgoing.push(one),
            Err(trouble) => {
                tracing::error!(bulletin = %id, reason = trouble.message, "the notice could not be passed on");
                // The others follow all the same.
                let message = trouble.message;
                unable.get_or_insert_with(|| {
                    format!("{id} passes it on, and no notice can be given: {message}")
                });
                continue;
            }
        }
        to.extend(recipients);
    }
    let notice = mark.header;
    if let Some(reason) = unable {
        return Ok((What::Unable { notice, reason }, outgoing));
    }
    if to.is_empty() {
        return Ok((What::Applied(notice), outgoing));
    }
    let to = to.into_iter().take(MAX_NAMED).collect();
    Ok((What::PassedOn { notice, to }, outgoing))
}

/// What a notice tells its readers.
pub(super) fn reason(notice: &InboxItem) -> String {
    let mut open = notice
        .delivery
        .bulletin
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Open(part) => Content::decode(part.class.parse().ok()?, &part.body).ok(),
            Part::Withheld(_) => None,
        });
    let text = open.find_map(|content| match content {
        Content::Action(action) => Some(action.text.to_string()),
        _ => None,
    });
    // A notice says something: so does the one that follows it.
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "as its originator says".to_owned())
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
