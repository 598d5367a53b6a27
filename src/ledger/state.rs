//! The fold: all state, as a pure function of the records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::backfill::{self, Backfills};
use super::check;
use super::dossier::{Demand, Dossiers, Held, Notice};
use super::erasure::ErasureOrder;
use super::hold::holding;
use super::lanes::Lanes;
use super::pseudonym::Pseudonyms;
use super::record::{Accepted, Fact, Genesis, LaneRelease, LedgerId, Record, RedLinesOrder};
use super::registry::Registry;
use super::seen::SeenIds;
use crate::agreement::{
    Agreement, AgreementId, Clause, ClauseRef, RatifiedAgreement, SignedAgreement,
};
use crate::bulletin::{BulletinId, Precedence};
use crate::clock::Timestamp;
use crate::decision::{RULES_WITH_MENTIONS, Release, Rulebook, Usage};
use crate::partner::PartnerId;
use crate::proof::{Digest, merkle::Frontier};

/// An agreement that the log has seen in force.
#[derive(Clone, Debug)]
pub struct AgreementEntry {
    /// The agreement with its ratifications.
    pub signed: SignedAgreement,
    /// As its parties signed it.
    pub agreement: RatifiedAgreement,
    /// In force from this position on.
    pub position: u64,
    /// Where, when and why it ended.
    pub ended: Option<Ended>,
    /// The version that took its place.
    pub successor: Option<AgreementId>,
}

/// How an agreement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// From this position on it releases nothing.
    pub position: u64,
    /// When.
    pub time: Timestamp,
    /// Who withdrew it; `None` where a later version took its place.
    pub by: Option<PartnerId>,
    /// For people.
    pub reason: String,
}

/// What the log says of a bulletin id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// SHA-256 of the header that was accepted.
    pub header: Digest,
    /// Where.
    pub position: u64,
    /// Its contents were erased.
    pub erased: bool,
}

/// A governing record, kept so that a snapshot can fold it again.
#[derive(Clone, Debug)]
pub(super) struct Governing {
    pub(super) position: u64,
    pub(super) record: Bytes,
}

/// All state of the broker: registry, agreements in force, lanes, ids seen, Merkle tree.
#[derive(Clone, Debug, Default)]
pub struct State {
    genesis: Option<(Genesis, LedgerId)>,
    time: Timestamp,
    tree: Frontier,
    registry: Registry,
    agreements: BTreeMap<AgreementId, AgreementEntry>,
    rulebook: Rulebook,
    usage: Usage,
    red_lines: Option<RedLinesOrder>,
    erasure_order: Option<ErasureOrder>,
    lanes: Lanes,
    seen: SeenIds,
    pseudonyms: Pseudonyms,
    dossiers: Dossiers,
    backfills: Backfills,
    /// Narrower versions that went on with the backfill of the one before them. A snapshot folds all
    /// agreements before what was given under them.
    heirs: BTreeMap<AgreementId, AgreementId>,
    governing: Vec<Governing>,
    /// The records that made the dossiers.
    followed: Vec<Governing>,
}

impl State {
    /// The state before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the next record. Cannot fail and does nothing but change this state: a record that
    /// does not follow (which only a damaged or forged log has, and which the audit names) changes
    /// no more than the log's size and root.
    pub fn apply(&mut self, record: &Record) {
        let position = self.size();
        self.tree.push(record.commitment.leaf_hash());
        self.time = self.time.max(record.time);
        match &record.fact {
            Fact::Accepted(accepted) => self.accept(position, accepted, record),
            Fact::Acknowledged(signed) => {
                for lane in &signed.ack.lanes {
                    self.lanes.acknowledge(&signed.ack.recipient, lane);
                }
            }
            Fact::Declared(signed) => {
                if self.dossiers.concerns(&signed.declaration) {
                    self.follow(position, record);
                }
            }
            Fact::HoldDecided(_) | Fact::ConsentDecided(_) | Fact::Backfilled(_) => {
                let precedence = self.lane_of(&record.fact);
                for release in &record.releases {
                    if let Some(precedence) = precedence {
                        let recipient = &release.release.recipient;
                        self.lanes.issue(recipient, precedence, position);
                    }
                }
                self.follow(position, record);
            }
            Fact::ContentsErased(erased) => {
                for one in &erased.bulletins {
                    self.seen.erase(&one.id, one.position);
                }
            }
            Fact::Cover | Fact::Tick | Fact::SnapshotTaken(_) => {}
            _ => {
                let bytes = record.bytes.clone();
                self.apply_governing(
                    Governing {
                        position,
                        record: bytes,
                    },
                    record,
                );
            }
        }
    }

    /// The precedence of the bulletin of which a fact lets something go, or gives it.
    pub fn lane_of(&self, fact: &Fact) -> Option<Precedence> {
        match fact {
            Fact::Backfilled(one) => one.bulletin.map(|one| one.precedence),
            _ => self.dossiers.precedence(&fact.lets_go()?.1),
        }
    }

    /// All releases of a bulletin, those of its own record first: held or not, and decided later.
    pub fn releases<'a>(
        &'a self,
        about: &'a Record,
    ) -> impl Iterator<Item = &'a LaneRelease> + use<'a> {
        let later = match &about.fact {
            Fact::Accepted(accepted) => self.dossiers.dossier(&accepted.header_hash()),
            _ => None,
        };
        let later = later.into_iter().flat_map(|dossier| &dossier.later);
        about.releases.iter().chain(later)
    }

    /// What a bulletin's recipients were given: without what is held.
    pub fn given<'a>(&'a self, about: &'a Record) -> impl Iterator<Item = &'a Release> + use<'a> {
        let hash = match &about.fact {
            Fact::Accepted(accepted) => Some(accepted.header_hash()),
            _ => None,
        };
        let went = move |release: &&Release| {
            let let_go = |hash| self.dossiers.was_let_go(&hash, &release.recipient);
            !release.held || hash.is_some_and(let_go)
        };
        self.releases(about).map(|one| &one.release).filter(went)
    }

    /// The backfills under way.
    pub fn backfills(&self) -> &Backfills {
        &self.backfills
    }

    /// Applies a record about the ledger itself, partners or agreements.
    pub(super) fn apply_governing(&mut self, governing: Governing, record: &Record) {
        let position = governing.position;
        self.governing.push(governing);
        match &record.fact {
            Fact::Genesis(genesis) if position == 0 => {
                self.genesis = Some((genesis.clone(), genesis.ledger_id()));
            }
            fact => self.govern(position, fact, record.time),
        }
    }

    /// The agreements in force and the partners' standing as they were at a position: what a
    /// bulletin recorded there was decided upon.
    pub fn rulebook_at(&self, position: u64) -> Rulebook {
        let mut then = Self::new();
        for one in &self.governing {
            // Written by this fold itself, so it can be read again.
            if let (true, Ok(record)) = (one.position < position, Record::from_bytes(&one.record)) {
                then.apply_governing(one.clone(), &record);
            }
        }
        then.rulebook
    }

    pub(super) fn governing(&self) -> &[Governing] {
        &self.governing
    }

    fn accept(&mut self, position: u64, accepted: &Accepted, record: &Record) {
        let header = accepted.header_hash();
        let seen = Seen {
            header,
            position,
            erased: false,
        };
        self.seen.note(accepted.header.id, seen);
        self.pseudonyms.note(
            &accepted.header,
            &accepted.originator,
            accepted.disguise.as_ref(),
        );
        for release in &record.releases {
            self.usage.count(
                &self.rulebook,
                &accepted.originator,
                &release.release,
                record.time,
            );
            if !release.release.held {
                self.lanes.issue(
                    &release.release.recipient,
                    accepted.header.precedence,
                    position,
                );
            }
        }
        let held = record.releases.iter().any(|one| one.release.held);
        if accepted.header.notice || held || !self.demanded(accepted, record).is_empty() {
            self.follow(position, record);
        }
    }

    /// Applies what is to be followed up, and keeps its record for snapshots.
    pub(super) fn follow(&mut self, position: u64, record: &Record) {
        match &record.fact {
            Fact::Declared(signed) => self.dossiers.declare(&signed.declaration, position),
            Fact::HoldDecided(signed) => {
                let decision = &signed.decision;
                self.dossiers.decide(decision, record.time, let_go(record));
                let due = self.demands(record);
                self.dossiers.demand_later(decision.bulletin, due);
            }
            Fact::ConsentDecided(signed) => {
                let consent = &signed.consent;
                self.dossiers.answer(consent, let_go(record));
                let due = self.demands(record);
                self.dossiers.demand_later(consent.bulletin, due);
            }
            Fact::Backfilled(one) => {
                if let Some(bulletin) = &one.bulletin {
                    self.dossiers.give_later(bulletin.header, &record.releases);
                }
                let mut agreement = &one.agreement;
                while let Some(heir) = self.heirs.get(agreement) {
                    agreement = heir;
                }
                if let Some(backfill) = self.backfills.get_mut(agreement) {
                    backfill.done = backfill.done.max(one.up_to);
                    if backfill.done >= backfill.until {
                        self.backfills.remove(agreement);
                    }
                }
            }
            Fact::Accepted(accepted) => {
                let due = self.demanded(accepted, record);
                self.dossiers.demand(accepted, due);
                for held in self.held(record) {
                    self.dossiers.hold(accepted, held);
                }
                if !accepted.awaited.is_empty() {
                    self.dossiers.ask(accepted);
                }
                if let (true, [reference]) = (
                    accepted.header.notice,
                    accepted.header.references.as_slice(),
                ) && let Some(about) = self.seen(&reference.bulletin)
                {
                    let notice = Notice {
                        id: accepted.header.id,
                        header: accepted.header_hash(),
                        relation: reference.relation,
                        position,
                    };
                    self.dossiers.notice(about.header, notice);
                }
            }
            _ => return,
        }
        self.followed.push(Governing {
            position,
            record: record.bytes.clone(),
        });
    }

    /// By when recipients have to take a bulletin, under the clauses of its releases.
    fn demanded(&self, accepted: &Accepted, record: &Record) -> Vec<Demand> {
        if accepted.header.notice {
            return Vec::new();
        }
        self.demands(record)
    }

    /// By when recipients have to take what a record gives them.
    fn demands(&self, record: &Record) -> Vec<Demand> {
        let due = |one: &LaneRelease| {
            let terms: Vec<_> = {
                let clauses = one.release.clauses.iter();
                clauses.filter_map(|clause| self.terms(clause)).collect()
            };
            let within = terms.iter().filter_map(|terms| terms.acknowledge_within);
            Some(Demand {
                recipient: one.release.recipient.clone(),
                due: record.time.saturating_add(within.min()?),
                confidential: terms.iter().any(|terms| terms.confidential_recipients),
            })
        };
        // What is held is not there to be taken.
        let given = record.releases.iter().filter(|one| !one.release.held);
        given.filter_map(due).collect()
    }

    /// The holds upon the releases of a record.
    fn held(&self, record: &Record) -> Vec<Held> {
        let mut all = Vec::new();
        for release in record.releases.iter().map(|one| &one.release) {
            for clause in release.clauses.iter().filter(|_| release.held) {
                let entry = self.agreements.get(&clause.agreement);
                let terms = entry.and_then(|entry| {
                    holding(entry.agreement.agreement(), &clause.clause)?
                        .hold
                        .as_ref()
                });
                all.extend(terms.map(|hold| Held {
                    recipient: release.recipient.clone(),
                    agreement: clause.agreement,
                    persons: hold.persons.clone(),
                    released_by: BTreeSet::new(),
                    deadline: record.time.saturating_add(hold.deadline),
                }));
            }
        }
        all
    }

    pub(super) fn followed(&self) -> &[Governing] {
        &self.followed
    }

    /// The pseudonyms in use.
    pub fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    pub(super) fn restore_pseudonyms(&mut self, pseudonyms: Pseudonyms) {
        self.pseudonyms = pseudonyms;
    }

    /// What is followed up.
    pub fn dossiers(&self) -> &Dossiers {
        &self.dossiers
    }

    /// Applies a fact about partners and agreements, where it follows from what is known.
    fn govern(&mut self, position: u64, fact: &Fact, time: Timestamp) {
        let Ok(effect) = check::effect(self, fact, time) else {
            return;
        };
        match effect {
            check::Effect::Admit(id, keys) => {
                self.registry.admit(id.clone(), *keys, position);
                self.sync_standing(&id);
            }
            check::Effect::Stand(order) => {
                if let Some(partner) = self.registry.partner_mut(&order.partner) {
                    partner.standing = order.standing;
                    partner.ordered = order.time;
                }
                self.sync_standing(&order.partner);
            }
            check::Effect::Rotate(id, keys) => {
                if let Some(partner) = self.registry.partner_mut(&id) {
                    partner.keys = *keys;
                }
            }
            check::Effect::Revoke(id, crl) => {
                if let Some(partner) = self.registry.partner_mut(&id) {
                    partner.revocations = Some(crl);
                }
            }
            check::Effect::DrawRedLines(order) => self.red_lines = Some(order),
            check::Effect::OrderErasure(order) => self.order_erasure(order),
            check::Effect::Enforce {
                signed,
                agreement,
                replaces,
            } => {
                let mut backfill = backfill::begin(&signed, agreement.agreement(), position);
                if let Some(old) = replaces {
                    if let Some(entry) = self.agreements.get_mut(&old) {
                        entry.successor = Some(agreement.id());
                    }
                    if let Some(running) = self.backfills.get(&old)
                        && backfill::goes_on(&signed, agreement.agreement())
                    {
                        backfill = Some(*running);
                        self.heirs.insert(old, agreement.id());
                    }
                    let reason = "a later version took its place".to_owned();
                    self.end(
                        &old,
                        Ended {
                            position,
                            time,
                            by: None,
                            reason,
                        },
                    );
                }
                self.rulebook.insert(&agreement);
                self.backfills
                    .extend(backfill.map(|backfill| (agreement.id(), backfill)));
                let entry = AgreementEntry {
                    signed,
                    agreement,
                    position,
                    ended: None,
                    successor: None,
                };
                self.agreements.insert(entry.agreement.id(), entry);
            }
            check::Effect::Withdraw {
                agreement,
                by,
                reason,
            } => {
                self.end(
                    &agreement,
                    Ended {
                        position,
                        time,
                        by: Some(by),
                        reason,
                    },
                );
            }
        }
    }

    fn end(&mut self, agreement: &AgreementId, ended: Ended) {
        self.rulebook.remove(agreement);
        self.usage.forget(agreement);
        self.backfills.remove(agreement);
        if let Some(entry) = self.agreements.get_mut(agreement) {
            entry.ended = Some(ended);
        }
    }

    fn sync_standing(&mut self, id: &PartnerId) {
        if let Some(partner) = self.registry.partner(id) {
            self.rulebook.set_standing(id.clone(), partner.standing);
        }
    }

    /// Records folded.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Root of the log's tree.
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The right edge of the log's tree.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// Time of the last record.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What the ledger began with; `None` before the first record.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref().map(|(genesis, _)| genesis)
    }

    /// Whether parts that name withheld parts are looked for, by the rules of this ledger.
    pub fn looks_for_mentions(&self) -> bool {
        self.genesis()
            .is_some_and(|genesis| genesis.rules >= RULES_WITH_MENTIONS)
    }

    /// The ledger's id; `None` before the first record.
    pub fn ledger(&self) -> Option<LedgerId> {
        self.genesis.as_ref().map(|(_, id)| *id)
    }

    /// The partners.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every agreement that was ever in force.
    pub fn agreements(&self) -> &BTreeMap<AgreementId, AgreementEntry> {
        &self.agreements
    }

    /// The terms of a clause, of an agreement that was ever in force.
    pub fn terms(&self, clause: &ClauseRef) -> Option<&Clause> {
        let entry = self.agreements.get(&clause.agreement)?;
        let mut clauses = entry.agreement.agreement().clauses.iter();
        clauses.find(|terms| terms.id == clause.clause)
    }

    /// The version of an agreement that neither was withdrawn nor replaced by another: the one named, or
    /// the last of those that took its place. By hash: others may bear the same name.
    pub fn present(&self, id: &AgreementId) -> Option<&Agreement> {
        let mut entry = self.agreements.get(id)?;
        // Each replaced an older one: this ends.
        while let Some(successor) = &entry.successor {
            entry = self.agreements.get(successor)?;
        }
        entry
            .ended
            .is_none()
            .then(|| entry.agreement.agreement().as_ref())
    }

    /// The agreements in force, compiled for decisions.
    pub fn rulebook(&self) -> &Rulebook {
        &self.rulebook
    }

    /// What must never flow; `None` where nobody said.
    pub fn red_lines(&self) -> Option<&RedLinesOrder> {
        self.red_lines.as_ref()
    }

    /// Until when what was accepted is to be erased, by the operators' orders; `None` where nobody said.
    pub fn erasure_order(&self) -> Option<&ErasureOrder> {
        self.erasure_order.as_ref()
    }

    /// The last order counts, and what an earlier one erases stays to be erased.
    fn order_erasure(&mut self, mut order: ErasureOrder) {
        if let Some(known) = &self.erasure_order {
            order.before = order.before.max(known.before);
        }
        self.erasure_order = Some(order);
    }

    /// How far the clauses' quotas are used up.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// The recipients' lanes.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// What was accepted under this id.
    pub fn seen(&self, id: &BulletinId) -> Option<Seen> {
        self.seen.get(id)
    }

    /// Bulletins accepted.
    pub fn bulletins(&self) -> usize {
        self.seen.len()
    }

    /// All ids seen.
    pub(super) fn all_seen(&self) -> &SeenIds {
        &self.seen
    }

    /// Puts back what a snapshot kept beside the governing records.
    pub(super) fn restore(
        &mut self,
        time: Timestamp,
        tree: Frontier,
        lanes: Lanes,
        usage: Usage,
        seen: SeenIds,
    ) {
        self.time = time;
        self.tree = tree;
        self.lanes = lanes;
        self.usage = usage;
        self.seen = seen;
    }
}

/// The recipients of what a record lets go, with its numbers in their lanes.
fn let_go(record: &Record) -> Vec<(PartnerId, u64)> {
    let released = record.releases.iter();
    released
        .map(|one| (one.release.recipient.clone(), one.number))
        .collect()
}
