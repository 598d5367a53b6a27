//! Passing on what was received, and consenting to what others pass on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::evidence;
use super::inbox::{InboxItem, Verdict};
use super::notices::is_emptied;
use crate::agreement::Onward;
use crate::bulletin::{
    BulletinId, Content, Header, MAX_PASSED_ON, Part, PartClass, PlainPart, Reference, Relation,
    Unsealed, seal,
};
use crate::clock::{Timestamp, random};
use crate::ledger::{Consent, Question, SignedConsent};
use crate::partner::PartnerId;
use crate::proof::Digest;
use crate::session::{AskingItem, HoldItem, Statement};
use crate::store::{Outgoing, PassedOnTo};
use crate::transport::Trouble;

/// The most partners to whom one bulletin passes something on.
const MAX_RECIPIENTS: usize = 64;

/// What is to be passed on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PassOnDraft {
    /// The bulletin, received here.
    pub bulletin: BulletinId,
    /// To whom.
    pub to: Vec<PartnerId>,
    /// Parts of these classes stay here.
    #[serde(default)]
    pub without: Vec<PartClass>,
    /// Keeps the recipients from one another.
    #[serde(default)]
    pub hide_audience: bool,
}

/// That another partner passes on something of this one's, and needs its consent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskingView {
    /// The bulletin that does so: consent is to it.
    pub bulletin: BulletinId,
    /// Who passes it on.
    pub asker: PartnerId,
    /// What of this partner's own, and to whom.
    pub questions: Vec<Question>,
}

/// That a bulletin waits for persons of this partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldView {
    /// Which.
    pub bulletin: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// The agreement that holds it: its name, as this node knows it.
    pub under: String,
    /// The agreement's id.
    pub agreement: String,
    /// The persons who may let it go, and have not.
    pub persons: Vec<String>,
    /// From then on nobody can.
    pub deadline: Timestamp,
}

impl From<&AskingItem> for AskingView {
    fn from(item: &AskingItem) -> Self {
        Self {
            bulletin: item.bulletin,
            asker: item.asker.clone(),
            questions: item.questions.clone(),
        }
    }
}

/// Puts a bulletin into the outbox that passes another one on; its id.
pub(super) fn pass_on(shared: &Shared, draft: PassOnDraft) -> Result<BulletinId, Trouble> {
    let found = shared.store.inbox_item(&draft.bulletin)?;
    let item = found.and_then(|(_, bytes)| InboxItem::from_bytes(&bytes));
    let item = item.ok_or_else(|| {
        let message = format!("no bulletin {} was received here", draft.bulletin);
        Trouble::new("unknown_bulletin", message)
    })?;
    let received = Header::from_bytes(&item.delivery.bulletin.header)
        .map_err(|error| Trouble::new("damaged", error))?;
    check(shared, &item, &received, &draft)?;
    let unsealed = unsealed(shared, &item, received, &draft)?;
    let sealed = seal(
        vec![unsealed],
        shared.signer.as_ref(),
        shared.entropy.as_ref(),
    )
    .map_err(|error| Trouble::new("invalid", error))?;
    let passed_on = PassedOnTo {
        received: draft.bulletin,
        to: draft.to,
    };
    let outgoing: Vec<Outgoing> = sealed
        .iter()
        .map(|one| Outgoing {
            passes_on: Some(passed_on.clone()),
            ..super::send::outgoing(one)
        })
        .collect();
    shared.store.enqueue(&outgoing, shared.clock.now())?;
    shared.outbox.notify_one();
    Ok(outgoing[0].id)
}

/// What this node can tell without the broker, which knows the clauses of earlier givers.
fn check(
    shared: &Shared,
    item: &InboxItem,
    received: &Header,
    draft: &PassOnDraft,
) -> Result<(), Trouble> {
    let refuse = |reason: &str| Err(Trouble::new("passed_on", reason));
    if item.verdict != Verdict::Verified {
        return refuse("it could not be verified, and nobody should be given it");
    }
    if received.notice {
        return refuse("a notice is passed on by nobody: its originator gives it to all");
    }
    let mark = shared.store.mark(&draft.bulletin)?;
    let by_originator = mark.filter(|mark| mark.originator == received.originator);
    if by_originator.is_some_and(|mark| mark.relation != Relation::Downgrades) {
        return refuse("its originator took it back, or put another in its place");
    }
    if received.audience_part {
        return refuse("its originator keeps its recipients from one another");
    }
    if is_emptied(item) {
        return refuse("its contents were deleted, as the agreement says");
    }
    if item.delivery.onward == Onward::None {
        return refuse("the clauses under which it came do not let it be passed on");
    }
    if received.passes_on().count() >= MAX_PASSED_ON {
        return refuse("it was passed on as often as anything may be");
    }
    if draft.to.is_empty() || draft.to.len() > MAX_RECIPIENTS {
        return refuse("name 1 to 64 partners to whom it is to go");
    }
    Ok(())
}

/// The same labels and parts in this partner's name, for those who are named.
fn unsealed(
    shared: &Shared,
    item: &InboxItem,
    received: Header,
    draft: &PassOnDraft,
) -> Result<Unsealed, Trouble> {
    let now = shared.clock.now();
    let id = random(shared.entropy.as_ref()).map_err(|error| Trouble::new("entropy", error))?;
    let own = [PartClass::Audience, PartClass::Identity];
    let mut parts = Vec::new();
    for part in &item.delivery.bulletin.parts {
        let Part::Open(part) = part else { continue };
        // A class of a newer version cannot be decided upon, so it is left out.
        let Ok(class) = part.class.parse::<PartClass>() else {
            continue;
        };
        if own.contains(&class) || draft.without.contains(&class) {
            continue;
        }
        parts.push(PlainPart {
            class,
            marking: part.marking,
            body: part.body.clone(),
            salt: Some(part.salt),
        });
    }
    if parts.is_empty() {
        return Err(Trouble::new("passed_on", "nothing of it would be left"));
    }
    let to: BTreeSet<PartnerId> = draft.to.iter().cloned().collect();
    let mut releasable_to: Vec<PartnerId> = to.into_iter().collect();
    if draft.hide_audience {
        let audience = Content::Audience(std::mem::take(&mut releasable_to));
        let body = audience.encode();
        parts.push(PlainPart {
            class: PartClass::Audience,
            marking: crate::bulletin::Marking::default(),
            body: body.map_err(|error| Trouble::new("invalid", error))?,
            salt: None,
        });
    }
    let reference = |bulletin| Reference {
        relation: Relation::PassesOn,
        bulletin,
    };
    let references = std::iter::once(received.id)
        .chain(received.passes_on())
        .map(reference)
        .collect();
    let header = Header {
        id: BulletinId::from_random(id),
        originator: shared.config.spiffe_id.partner().clone().into(),
        created: now,
        valid_from: received.valid_from.max(now),
        releasable_to,
        audience_part: draft.hide_audience,
        references,
        as_of: evidence::trusted(shared).size,
        crossing: None,
        ..received
    };
    if header.valid_until <= header.valid_from {
        return Err(Trouble::new("expired", "it is no longer valid"));
    }
    Ok(Unsealed { header, parts })
}

/// What waits for this partner's consent, as the broker last said.
pub(super) fn asking(shared: &Shared) -> Vec<AskingView> {
    shared
        .asking
        .borrow()
        .consents
        .iter()
        .map(AskingView::from)
        .collect()
}

/// What waits for this partner's persons, as the broker last said.
pub(super) fn holds(shared: &Shared) -> Vec<HoldView> {
    let trusted = evidence::trusted(shared);
    let view = |item: &HoldItem| HoldView {
        bulletin: item.bulletin,
        header: item.header,
        under: trusted
            .agreements
            .get(&item.agreement)
            .map(|ratified| ratified.agreement().name.to_string())
            .unwrap_or_default(),
        agreement: item.agreement.to_string(),
        persons: item.persons.clone(),
        deadline: item.deadline,
    };
    shared.asking.borrow().holds.iter().map(view).collect()
}

/// This partner's answer, signed.
pub(super) fn consent(
    shared: &Shared,
    bulletin: BulletinId,
    approve: bool,
    reason: String,
) -> Result<Statement, Trouble> {
    let unknown = || {
        let message = format!(
            "bulletin {bulletin} does not wait for this partner's consent; see: entente consent list"
        );
        Trouble::new("unknown_bulletin", message)
    };
    let asking = shared.asking.borrow();
    let asked = asking.consents.iter().find(|one| one.bulletin == bulletin);
    let asked = asked.ok_or_else(unknown)?.clone();
    drop(asking);
    // A broker's word is not enough: the bulletins must be this partner's own.
    for question in &asked.questions {
        if shared.store.outbox_status(&question.about)?.is_none() {
            let about = question.about;
            let message =
                format!("{about} was not published here: consent is not this node's to give");
            return Err(Trouble::new("unknown_bulletin", message));
        }
    }
    let ledger = super::link::known_ledger(shared);
    let ledger = ledger.map_err(|error| Trouble::new("store", error))?;
    let consent = Consent {
        ledger: ledger.ok_or_else(unknown)?,
        partner: shared.config.spiffe_id.partner().clone(),
        id: bulletin,
        bulletin: asked.header,
        asker: asked.asker,
        questions: asked.questions,
        approve,
        reason,
        time: shared.clock.now(),
    };
    let signed = SignedConsent::sign(consent, shared.signer.as_ref());
    let signed = signed.map_err(|error| Trouble::new("invalid", error))?;
    Ok(Statement::Consent(signed))
}
