//! What applications and operators are shown of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::federation::OriginView;
use super::inbox::InboxItem;
use super::obligations::owed;
use super::{LinkStatus, Shared, evidence, hook};
use crate::agreement::{Purpose, RatifiedAgreement};
use crate::bulletin::{
    BulletinId, Caveat, Classification, Content, Header, Kind, Level, OpenPart, Part, PartClass,
    Precedence, Reference, Region, Relation, Tlp, Topic,
};
use crate::clock::Timestamp;
use crate::ledger::LaneAck;
use crate::partner::{PartnerId, SpiffeId};
use crate::session::Delivery;
use crate::store::{Mark, OutboxState, StoreError};

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
    /// Of those, bulletins that the outbox keeps until a checkpoint covers them which this node believes.
    #[serde(default)]
    pub kept: u64,
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
    /// The log's verifier key (C2SP signed-note vkey): verifies receipts; empty before it was met.
    #[serde(default)]
    pub log_key: String,
    /// The key of this node's witness, for the policies of others.
    #[serde(default)]
    pub witness: Vec<String>,
    /// Where it listens for logs that this node is not connected to, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_address: Option<SocketAddr>,
    /// Records of the log that a checkpoint covers which this node believes.
    #[serde(default)]
    pub witnessed: u64,
    /// Receipts that are kept here.
    #[serde(default)]
    pub receipts: usize,
    /// Records whose receipts wait for a checkpoint that this node believes.
    #[serde(default)]
    pub pending_receipts: usize,
    /// Who has not taken this partner's bulletins in time, what ends soon, and what is wrong with the log.
    #[serde(default)]
    pub alarms: Vec<String>,
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
    /// What else its recipient owes.
    #[serde(default, skip_serializing_if = "ObligationsView::is_empty")]
    pub obligations: ObligationsView,
    /// What its originator made of it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// Where it comes from, if it was carried here from another ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<OriginView>>,
    /// The labels; absent where they cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderView>,
    /// The parts.
    pub parts: Vec<PartView>,
}

impl ItemView {
    /// Whether its originator took it back.
    pub fn is_taken_back(&self) -> bool {
        let mark = self.mark.as_ref();
        mark.is_some_and(|mark| mark.relation == Relation::Retracts)
    }
}

/// What a recipient owes for a bulletin, by the clauses under which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationsView {
    /// What it may be used for; absent: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<BTreeSet<Purpose>>,
    /// Under which law or treaty it is shared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legal_bases: Vec<String>,
    /// Its contents are deleted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
    /// It has to be taken, and is by being handed out or with `entente acknowledge`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_be_taken: bool,
}

impl ObligationsView {
    /// Whether it may be used for this; `None`: for a purpose that was not stated.
    pub fn permit(&self, purpose: Option<Purpose>) -> bool {
        let within = |purposes: &BTreeSet<Purpose>| {
            purpose.is_some_and(|purpose| purposes.contains(&purpose))
        };
        self.purposes.as_ref().is_none_or(within)
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The labels of a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeaderView {
    /// Who published it; absent where that is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<PartnerId>,
    /// The pseudonym that it bears, where it does: `alias-` and a number that stays the same for all
    /// that its holder publishes so under the agreement, or `undisclosed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym: Option<String>,
    /// Whether nothing links it to others by that pseudonym.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_use: bool,
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
    /// It is a notice about the bulletin it refers to.
    #[serde(default)]
    pub notice: bool,
}

impl HeaderView {
    /// Who published it, as far as that is shown.
    pub fn from(&self) -> String {
        match (&self.originator, &self.pseudonym) {
            (Some(partner), Some(pseudonym)) => format!("{partner} ({pseudonym})"),
            (Some(partner), None) => partner.to_string(),
            (None, pseudonym) => pseudonym.clone().unwrap_or_default(),
        }
    }
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
    /// A stricter level of classification than the bulletin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What it says; absent where it is withheld, or of a class that this version does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The hash of its leaf, which proves that it belongs to the bulletin.
    pub leaf: String,
}

fn header(header: &Header, parts: &[Part]) -> HeaderView {
    let mut open = parts.iter().filter_map(|part| match part {
        Part::Open(open) => Some(open),
        Part::Withheld(_) => None,
    });
    // Verified when it was received, or else the whole bulletin is quarantined.
    let behind = open.find_map(|part| match content(part) {
        Some(Content::Identity(identity)) => Some(identity.partner),
        _ => None,
    });
    HeaderView {
        originator: header.originator.partner().cloned().or(behind),
        pseudonym: header.originator.pseudonym().map(ToString::to_string),
        single_use: header
            .originator
            .pseudonym()
            .is_some_and(|pseudonym| pseudonym.single_use),
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
        notice: header.notice,
    }
}

fn part(part: &Part) -> PartView {
    let leaf = part.leaf().to_string();
    match part {
        Part::Withheld(_) => PartView {
            class: None,
            withheld: true,
            tlp: None,
            level: None,
            content: None,
            leaf,
        },
        Part::Open(open) => PartView {
            class: Some(open.class.clone()),
            withheld: false,
            tlp: open.marking.tlp,
            level: open.marking.level,
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
pub(super) fn item(
    shared: &Shared,
    number: u64,
    bytes: &bytes::Bytes,
) -> Result<ItemView, StoreError> {
    let item = InboxItem::from_bytes(bytes).ok_or(StoreError::Damaged("inbox item"))?;
    let delivery = item.delivery;
    let read = Header::from_bytes(&delivery.bulletin.header).ok();
    let mark = shared.store.mark(&delivery.bulletin.id)?;
    let mark = mark.filter(|mark| read.as_ref().is_some_and(|header| mark.is_by(header)));
    Ok(ItemView {
        number,
        id: delivery.bulletin.id,
        quarantined: item.verdict.fault(),
        received: item.received,
        accepted: delivery.time,
        position: delivery.position,
        mark,
        obligations: obligations(shared, &delivery),
        clauses: delivery.clauses.iter().map(ToString::to_string).collect(),
        onward: delivery.onward.to_string(),
        origin: read.as_ref().and_then(|header| {
            let (crossing, carrier) = (header.crossing.as_ref()?, header.originator.partner()?);
            Some(Box::new(shared.federation.look(crossing, carrier)))
        }),
        header: read.map(|one| header(&one, &delivery.bulletin.parts)),
        parts: delivery.bulletin.parts.iter().map(part).collect(),
    })
}

fn obligations(shared: &Shared, delivery: &Delivery) -> ObligationsView {
    let owed = owed(shared, delivery);
    ObligationsView {
        purposes: owed.purposes,
        legal_bases: owed.legal_bases,
        keep_until: owed.keep_until,
        to_be_taken: owed.to_be_taken,
    }
}

/// How the node stands.
pub(super) fn status(shared: &Shared) -> Result<StatusView, StoreError> {
    let link = shared.link.borrow().clone();
    let (broker, reason) = match link {
        LinkStatus::Up(broker) => (Some(broker), None),
        LinkStatus::Down(reason) => (None, Some(reason)),
    };
    let connected = broker.is_some();
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
    let (receipts, pending_receipts) = shared.store.receipt_counts()?;
    let believed = shared.believed.borrow().clone();
    let keys = shared.witness.keys().iter();
    let ledger = super::link::known_ledger(shared).ok().flatten();
    Ok(StatusView {
        node: shared.config.spiffe_id.clone(),
        broker: broker.unwrap_or_else(|| shared.config.broker_id.clone()),
        connected,
        reason,
        ledger: ledger.map(|ledger| ledger.to_string()),
        pending: count(|state| *state == OutboxState::Pending),
        promised: count(|state| matches!(state, OutboxState::Promised { .. })),
        kept: shared.store.kept()?.bulletins,
        rejected: count(|state| matches!(state, OutboxState::Rejected { .. })),
        received,
        quarantined,
        lanes,
        agreements: agreements(shared),
        log_key: super::link::known_log_key(shared)?,
        witness: keys.map(ToString::to_string).collect(),
        witness_address: shared.witness_address,
        witnessed: believed.map_or(0, |head| head.checkpoint.size),
        receipts,
        pending_receipts,
        alarms: alarms(shared)?,
    })
}

fn alarms(shared: &Shared) -> Result<Vec<String>, StoreError> {
    const SOON: Duration = Duration::from_hours(30 * 24);
    let now = shared.clock.now();
    let mut alarms: Vec<String> = shared
        .overdue
        .borrow()
        .iter()
        .map(|one| {
            let who = one.recipient.as_ref();
            let who = who.map_or_else(|| "a recipient".to_owned(), ToString::to_string);
            format!("{who} has not taken {}, due {}", one.bulletin, one.due)
        })
        .collect();
    let mut dead: BTreeMap<String, usize> = BTreeMap::new();
    for letter in hook::dead(shared)? {
        *dead.entry(letter.hook).or_default() += 1;
    }
    alarms.extend(dead.iter().map(|(hook, count)| {
        format!("{hook} has not taken {count} bulletins; see: entente hook dead")
    }));
    alarms.extend(shared.asking.borrow().holds.iter().map(|one| {
        format!(
            "{} waits for {}, until {}; see: entente agreement release --help",
            one.bulletin,
            one.persons.join(" or "),
            one.deadline
        )
    }));
    alarms.extend(shared.asking.borrow().consents.iter().map(|one| {
        let about: Vec<_> = one
            .questions
            .iter()
            .map(|it| it.about.to_string())
            .collect();
        format!(
            "{} asks to pass on {}; see: entente consent list",
            one.asker,
            about.join(" and ")
        )
    }));
    let trusted = evidence::trusted(shared);
    for id in &trusted.in_force {
        let Some(terms) = trusted.agreements.get(id).map(RatifiedAgreement::agreement) else {
            continue;
        };
        let (name, until) = (
            format!("{}@{}", terms.name, terms.version),
            terms.valid_until,
        );
        if until <= now {
            alarms.push(format!(
                "{name} has lapsed at {until}: nothing flows under it"
            ));
        } else if until.since(now) < SOON {
            alarms.push(format!("{name} ends at {until}"));
        }
    }
    if super::witness::fork(&shared.store)?.is_some() {
        alarms.push(
            "the log showed two histories: `entente receipt --fork` gives the proof".to_owned(),
        );
    }
    alarms.extend(super::overdue::alarms(shared, now));
    alarms.extend(super::witness::suspicion(&shared.store)?);
    alarms.extend(super::witness::other_forks(shared)?.iter().map(|(log, _)| {
        format!(
            "the log {log}, which this node witnesses, showed two histories: `entente receipt --fork` \
             gives the proof"
        )
    }));
    let faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
    alarms.extend(faults.iter().cloned());
    Ok(alarms)
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
    let view = |(id, ratified): (&crate::agreement::AgreementId, &RatifiedAgreement)| {
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
