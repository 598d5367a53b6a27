//! What applications and operators are shown of a node.

use serde::{Deserialize, Serialize};

use super::inbox::{InboxItem, Verdict};
use super::{LinkStatus, Shared, evidence};
use crate::bulletin::{
    BulletinId, Caveat, Classification, Content, Header, Kind, OpenPart, Part, PartClass,
    Precedence, Reference, Region, Tlp, Topic,
};
use crate::clock::Timestamp;
use crate::ledger::LaneAck;
use crate::partner::{PartnerId, SpiffeId};
use crate::store::{OutboxState, StoreError};

/// How a node stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// This node.
    pub node: SpiffeId,
    /// Its broker.
    pub broker: SpiffeId,
    /// Whether it is connected.
    pub connected: bool,
    /// Why not, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The ledger's id, once met.
    pub ledger: Option<String>,
    /// Bulletins not yet in the broker's log.
    pub pending: usize,
    /// Bulletins in the broker's log.
    pub promised: usize,
    /// Bulletins refused for good.
    pub rejected: usize,
    /// Bulletins received.
    pub received: usize,
    /// Deliveries that could not be verified.
    pub quarantined: usize,
    /// How far each lane has come.
    pub lanes: Vec<LaneView>,
    /// Agreements verified here.
    pub agreements: Vec<TrustedView>,
}

/// One lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneView {
    /// Which.
    pub precedence: Precedence,
    /// Everything up to this number is here.
    pub up_to: u64,
}

/// An agreement that this node verified itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrustedView {
    /// SHA-256 of its bytes.
    pub id: String,
    /// `name@version`.
    pub name: String,
    /// One line.
    pub title: String,
    /// The parties.
    pub parties: Vec<PartnerId>,
    /// In sentences.
    pub clauses: Vec<String>,
}

/// A bulletin of the inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ItemView {
    /// Its place in this node's inbox.
    pub number: u64,
    /// Its id.
    pub id: BulletinId,
    /// Why it is not handed to applications, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// When it was received here.
    pub received: Timestamp,
    /// When the broker's log took it.
    pub accepted: Timestamp,
    /// Where it stands in the log.
    pub position: u64,
    /// The clauses under which it is shared, as `name@version/clause`.
    pub clauses: Vec<String>,
    /// Whether it may be passed on.
    pub onward: String,
    /// The labels; absent where they cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderView>,
    /// The parts.
    pub parts: Vec<PartView>,
}

/// The labels of a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeaderView {
    /// Who published it.
    pub originator: PartnerId,
    /// When it was written.
    pub created: Timestamp,
    /// Valid from.
    pub valid_from: Timestamp,
    /// Valid until.
    pub valid_until: Timestamp,
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// About what exactly.
    pub topics: Vec<Topic>,
    /// Where.
    pub regions: Vec<Region>,
    /// TLP.
    pub tlp: Tlp,
    /// Classification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// To whom it is releasable; none: no restriction, or one that only the broker sees.
    pub releasable_to: Vec<PartnerId>,
    /// Caveats.
    pub caveats: Vec<Caveat>,
    /// Precedence.
    pub precedence: Precedence,
    /// Whether nothing of it is real.
    pub exercise: bool,
    /// Reliability and credibility, as `B2`.
    pub admiralty: String,
    /// What it supersedes or retracts.
    pub references: Vec<Reference>,
}

/// A part of a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartView {
    /// Its class; absent where the part is withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Whether it is withheld.
    pub withheld: bool,
    /// A stricter TLP than the bulletin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlp: Option<Tlp>,
    /// What it says; absent where it is withheld, or of a class that this version does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The hash of its leaf, which proves that it belongs to the bulletin.
    pub leaf: String,
}

fn header(header: &Header) -> HeaderView {
    HeaderView {
        originator: header.originator.clone(),
        created: header.created,
        valid_from: header.valid_from,
        valid_until: header.valid_until,
        kinds: header.kinds.clone(),
        topics: header.topics.clone(),
        regions: header.regions.clone(),
        tlp: header.tlp,
        classification: header.classification.clone(),
        releasable_to: header.releasable_to.clone(),
        caveats: header.caveats.clone(),
        precedence: header.precedence,
        exercise: header.exercise,
        admiralty: header.admiralty.to_string(),
        references: header.references.clone(),
    }
}

fn part(part: &Part) -> PartView {
    let leaf = part.leaf().to_string();
    match part {
        Part::Withheld(_) => PartView {
            class: None,
            withheld: true,
            tlp: None,
            content: None,
            leaf,
        },
        Part::Open(open) => PartView {
            class: Some(open.class.clone()),
            withheld: false,
            tlp: open.marking.tlp,
            content: content(open),
            leaf,
        },
    }
}

fn content(part: &OpenPart) -> Option<Content> {
    let class: PartClass = part.class.parse().ok()?;
    Content::decode(class, &part.body).ok()
}

/// An item of the inbox as applications see it.
pub(super) fn item(number: u64, bytes: &bytes::Bytes) -> Result<ItemView, StoreError> {
    let item = InboxItem::from_bytes(bytes).ok_or(StoreError::Damaged("inbox item"))?;
    let delivery = item.delivery;
    let quarantined = match item.verdict {
        Verdict::Verified => None,
        Verdict::Quarantined(reason) => Some(reason),
    };
    Ok(ItemView {
        number,
        id: delivery.bulletin.id,
        quarantined,
        received: item.received,
        accepted: delivery.time,
        position: delivery.position,
        clauses: delivery.clauses.iter().map(ToString::to_string).collect(),
        onward: delivery.onward.to_string(),
        header: Header::from_bytes(&delivery.bulletin.header)
            .ok()
            .as_ref()
            .map(header),
        parts: delivery.bulletin.parts.iter().map(part).collect(),
    })
}

/// How the node stands.
pub(super) fn status(shared: &Shared) -> Result<StatusView, StoreError> {
    let link = shared.link.borrow().clone();
    let (connected, reason) = match link {
        LinkStatus::Up => (true, None),
        LinkStatus::Down(reason) => (false, Some(reason)),
    };
    let outbox = shared.store.outbox()?;
    let count = |wanted: fn(&OutboxState) -> bool| {
        outbox.iter().filter(|status| wanted(&status.state)).count()
    };
    let mut lanes = Vec::new();
    for precedence in Precedence::ALL {
        if let Some(LaneAck { up_to, .. }) = shared.store.lane(*precedence)? {
            lanes.push(LaneView {
                precedence: *precedence,
                up_to,
            });
        }
    }
    let (received, quarantined) = counts(shared)?;
    let ledger = super::link::known_ledger(shared).ok().flatten();
    Ok(StatusView {
        node: shared.config.spiffe_id.clone(),
        broker: shared.config.broker_id.clone(),
        connected,
        reason,
        ledger: ledger.map(|ledger| ledger.to_string()),
        pending: count(|state| *state == OutboxState::Pending),
        promised: count(|state| matches!(state, OutboxState::Promised { .. })),
        rejected: count(|state| matches!(state, OutboxState::Rejected { .. })),
        received,
        quarantined,
        lanes,
        agreements: agreements(shared),
    })
}

fn counts(shared: &Shared) -> Result<(usize, usize), StoreError> {
    const PAGE: usize = 256;
    let (mut received, mut quarantined, mut after) = (0, 0, 0);
    loop {
        let page = shared.store.inbox(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok((received, quarantined));
        };
        after = *last;
        for (_, bytes) in &page {
            // The first byte says whether it is quarantined.
            if bytes.first() == Some(&0) {
                received += 1;
            } else {
                quarantined += 1;
            }
        }
    }
}

fn agreements(shared: &Shared) -> Vec<TrustedView> {
    let trusted = evidence::trusted(shared);
    let view = |(id, ratified): (
        &crate::agreement::AgreementId,
        &crate::agreement::RatifiedAgreement,
    )| {
        let terms = ratified.agreement();
        TrustedView {
            id: id.to_string(),
            name: format!("{}@{}", terms.name, terms.version),
            title: terms.title.clone(),
            parties: terms
                .parties
                .iter()
                .map(|party| party.partner.clone())
                .collect(),
            clauses: terms
                .clauses
                .iter()
                .map(|one| format!("{}: {one}", one.id))
                .collect(),
        }
    };
    trusted
        .agreements
        .iter()
        .filter(|(id, _)| trusted.in_force.contains(*id))
        .map(view)
        .collect()
}
