//! Backfill: what came before an agreement, or before a party joined it, given afterwards where a
//! clause says so.
//!
//! When a version with such a clause, signed by all, enters into force, its parties are given what its clauses of
//! that kind cover of the bulletins accepted since their date, and what they have not got: each under
//! a record of its own, decided at that record's time, in the order of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::{Accepted, Fact, Record};
use super::state::State;
use crate::agreement::{
    Agreement, AgreementId, Clause, ClauseRef, Parties, Party, SignedAgreement,
};
use crate::bulletin::{BulletinId, Precedence, Relation};
use crate::clock::Timestamp;
use crate::decision::{Release, Rulebook, decide_for};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// Something that came before an agreement is given under it; or all of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfilled {
    /// The agreement.
    pub agreement: AgreementId,
    /// Everything before this position is dealt with.
    pub up_to: u64,
    /// The bulletin at the position before, some of whose releases are in the record; `None`: nothing
    /// more is to be given.
    pub bulletin: Option<BackfilledBulletin>,
}

/// A bulletin that is given afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfilledBulletin {
    /// Its id.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// The lanes in which it goes.
    pub precedence: Precedence,
}

impl BackfilledBulletin {
    /// As its record has it.
    pub fn of(accepted: &Accepted) -> Self {
        Self {
            id: accepted.header.id,
            header: accepted.header_hash(),
            precedence: accepted.header.precedence,
        }
    }
}

/// How far an agreement's backfill has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Everything before this position is dealt with.
    pub done: u64,
    /// The agreement entered into force here.
    pub until: u64,
    /// The earliest date of its clauses.
    pub from: Timestamp,
}

/// The backfills under way.
pub type Backfills = BTreeMap<AgreementId, Backfill>;

/// The backfill that an agreement begins at its position; `None` where no clause asks for any, or
/// not every party signed: who narrows alone gives itself nothing.
pub(super) fn begin(
    signed: &SignedAgreement,
    agreement: &Agreement,
    position: u64,
) -> Option<Backfill> {
    let from = first_date(agreement).filter(|_| is_by_all(signed, agreement))?;
    Some(Backfill {
        done: 0,
        until: position,
        from,
    })
}

/// Whether a version goes on with the backfill of the one that it replaces: one that not every party
/// signed, so that it only narrows, and neither ends nor begins what all have signed.
pub(super) fn goes_on(signed: &SignedAgreement, agreement: &Agreement) -> bool {
    first_date(agreement).is_some() && !is_by_all(signed, agreement)
}

fn is_by_all(signed: &SignedAgreement, agreement: &Agreement) -> bool {
    signed.ratifications().len() >= agreement.parties.len()
}

fn first_date(agreement: &Agreement) -> Option<Timestamp> {
    let clauses = agreement.clauses.iter();
    clauses.filter_map(|terms| terms.backfill_from).min()
}

/// Whether what came before an agreement can be given: earlier nothing is, and it must not be said to
/// be done.
pub fn backfill_is_valid(state: &State, id: &AgreementId, at: Timestamp) -> bool {
    let entry = state.agreements().get(id);
    entry.is_some_and(|entry| entry.agreement.agreement().valid_from <= at)
}

/// What of the bulletin at a position is given under an agreement's backfill.
///
/// Only what the agreement's own backfill clauses give, and only to whom the agreements now in force
/// let it flow at once: what a clause of any of them holds does not come by this way.
pub fn backfill_releases(
    state: &State,
    id: &AgreementId,
    position: u64,
    about: &Record,
    at: Timestamp,
) -> Vec<Release> {
    let (Some(backfill), Fact::Accepted(accepted)) = (state.backfills().get(id), &about.fact)
    else {
        return Vec::new();
    };
    let header = &accepted.header;
    let hash = accepted.header_hash();
    let seen = state.seen(&header.id);
    let known =
        seen.is_some_and(|seen| seen.position == position && seen.header == hash && !seen.erased);
    let due = (backfill.done..backfill.until).contains(&position);
    let carried = header.crossing.is_some();
    let special = header.notice || carried || header.passes_on().next().is_some();
    let entry = state.agreements().get(id);
    let (true, false, Some(entry)) = (known && due, special || is_kept(state, &hash), entry) else {
        return Vec::new();
    };
    let terms = entry.agreement.agreement();
    let missing = missing(state, terms, &accepted.originator, about);
    if missing.is_empty() {
        return Vec::new();
    }
    let gives = |clause: &&Clause| clause.backfill_from.is_some_and(|from| from <= about.time);
    let given_by = |clause: &ClauseRef| {
        let mut clauses = terms.clauses.iter().filter(gives);
        clause.agreement == *id && clauses.any(|terms| terms.id == clause.clause)
    };
    let (labels, parts) = (accepted.labels(), accepted.part_labels());
    // A clause that counts among a few counts among all: where none of them does here, none will below.
    let flows = |to: &&PartnerId| {
        let now = decide_for(state.rulebook(), None, &labels, &parts, at, to);
        now.is_ok_and(|release| !release.held && release.clauses.iter().any(given_by))
    };
    let flows: Vec<&PartnerId> = missing.into_iter().filter(flows).collect();
    if flows.is_empty() {
        return Vec::new();
    }
    let clauses: Vec<&Clause> = terms.clauses.iter().filter(gives).collect();
    let rulebook = rulebook(state, id, terms, &clauses, &accepted.originator, &flows);
    let kept = |release: &Release| {
        let retention = |used: &ClauseRef| {
            let mut clauses = clauses.iter();
            clauses.find(|terms| terms.id == used.clause)?.retention
        };
        let mut spans = release.clauses.iter().filter_map(retention);
        // What its recipient would have to delete at once is not worth giving.
        spans.all(|span| at < about.time.saturating_add(span))
    };
    flows
        .into_iter()
        .filter_map(|to| decide_for(&rulebook, None, &labels, &parts, at, to).ok())
        .filter(kept)
        .collect()
}

/// Whether its originator took it back or replaced it, or persons keep it from somebody or may yet.
fn is_kept(state: &State, hash: &Digest) -> bool {
    state.dossiers().dossier(hash).is_some_and(|dossier| {
        let mut notices = dossier.notices.iter();
        !dossier.holds.is_empty()
            || !dossier.kept.is_empty()
            || notices.any(|notice| notice.relation != Relation::Downgrades)
    })
}

/// The parties that have nothing of a party's bulletin, where both may give and receive.
fn missing<'a>(
    state: &State,
    terms: &'a Agreement,
    originator: &PartnerId,
    about: &Record,
) -> Vec<&'a PartnerId> {
    let active = |partner: &PartnerId| state.rulebook().is_active(partner);
    if !terms.is_party(originator) || !active(originator) {
        return Vec::new();
    }
    let had: BTreeSet<&PartnerId> = state
        .releases(about)
        .map(|one| &one.release.recipient)
        .collect();
    let parties = terms.parties.iter().map(|party| &party.partner);
    parties
        .filter(|party| *party != originator && !had.contains(party) && active(party))
        .collect()
}

/// Only these clauses, and only from the originator to these recipients: what a bulletin costs does
/// not grow with the square of the parties.
fn rulebook(
    state: &State,
    id: &AgreementId,
    terms: &Agreement,
    clauses: &[&Clause],
    originator: &PartnerId,
    to: &[&PartnerId],
) -> Rulebook {
    let from = Parties::Named(BTreeSet::from([originator.clone()]));
    let concerns = |party: &&Party| party.partner == *originator || to.contains(&&party.partner);
    let clauses = clauses.iter();
    let only = Agreement {
        ledger: terms.ledger,
        name: Arc::clone(&terms.name),
        version: terms.version,
        previous: terms.previous,
        title: String::new(),
        parties: terms.parties.iter().filter(concerns).cloned().collect(),
        valid_from: terms.valid_from,
        valid_until: terms.valid_until,
        persons: Vec::new(),
        equivalents: terms.equivalents.clone(),
        clauses: clauses
            .filter(|clause| clause.from.contains(originator))
            .map(|clause| Clause {
                from: from.clone(),
                ..Clause::clone(clause)
            })
            .collect(),
    };
    let mut rulebook = Rulebook::new();
    for party in &only.parties {
        if let Some(partner) = state.registry().partner(&party.partner) {
            rulebook.set_standing(party.partner.clone(), partner.standing);
        }
    }
    rulebook.insert_terms(*id, &Arc::new(only));
    rulebook
}
