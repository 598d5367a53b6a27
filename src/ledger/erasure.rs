//! Erasure without forgetting: contents go, the record of them and every proof stay.
//!
//! Contents lie beside the log ([`super::Engine::bodies`]): bodies and the salts that open their leaves.
//! They go under a rule, and a record says which; it is written together with the erasure itself. The
//! rule follows from the log, so the audit checks each erasure, and contents that are gone without one are
//! a finding.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::backfill::backfill_releases;
use super::record::{Accepted, Fact, LedgerId, OperatorSignature, Record};
use super::state::State;
use crate::agreement::ClauseRef;
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;

/// Bulletins of one record of erasures, at most.
pub const MAX_ERASED: usize = 256;

/// Why contents are erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErasureRule {
    /// Their originator took the bulletin back.
    Recall = 1,
    /// The bulletin's own validity is over.
    Validity = 2,
    /// Every clause under which it was given limits how long it is kept, and the longest of these is over.
    Retention = 3,
    /// An operator ordered it.
    Order = 4,
}

impl ErasureRule {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Recall, Self::Validity, Self::Retention, Self::Order];

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Validity => "validity",
            Self::Retention => "retention",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for ErasureRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bulletin whose contents are erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedBulletin {
    /// Position of the record that accepted it.
    pub position: u64,
    /// Its id.
    pub id: BulletinId,
}

/// That contents are erased, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentsErased {
    /// The rule.
    pub rule: ErasureRule,
    /// Of which bulletins, by position.
    pub bulletins: Vec<ErasedBulletin>,
}

/// An operator's order to erase, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureOrdered {
    /// The bytes that were signed.
    pub bytes: Bytes,
    /// What they say.
    pub order: ErasureOrder,
    /// Over the bytes.
    pub operator: OperatorSignature,
}

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureOrder {
    /// For this ledger only.
    pub ledger: LedgerId,
    /// Contents that were accepted before go, once nobody waits for them.
    pub before: Timestamp,
    /// For people.
    pub reason: String,
    /// When it was signed. Later than the last order, so that none is replayed.
    pub time: Timestamp,
}

/// The rule under which the contents of the bulletin that a record accepted are to be erased at a moment;
/// `None` where they are to stay, or are gone.
pub fn erasure_rule(
    state: &State,
    position: u64,
    record: &Record,
    at: Timestamp,
) -> Option<ErasureRule> {
    let Fact::Accepted(accepted) = &record.fact else {
        return None;
    };
    let seen = state.seen(&accepted.header.id)?;
    if seen.position != position || seen.erased {
        return None;
    }
    let mut rules = ErasureRule::ALL.into_iter();
    rules.find(|rule| holds(*rule, state, position, (accepted, record), at))
}

fn holds(
    rule: ErasureRule,
    state: &State,
    position: u64,
    (accepted, record): (&Accepted, &Record),
    at: Timestamp,
) -> bool {
    match rule {
        // Neither this nor what has expired is delivered any more.
        ErasureRule::Recall => state.dossiers().is_retracted(&accepted.header_hash()),
        // A notice goes its way also when it is old.
        ErasureRule::Validity => {
            accepted.header.valid_until <= at
                && (!accepted.header.notice || !is_awaited(state, position, accepted, record, at))
        }
        ErasureRule::Retention => {
            kept_until(state, accepted, record).is_some_and(|until| until <= at)
                && !is_awaited(state, position, accepted, record, at)
        }
        ErasureRule::Order => {
            state
                .erasure_order()
                .is_some_and(|order| record.time < order.before)
                && !is_awaited(state, position, accepted, record, at)
        }
    }
}

/// The first moment at which the passing of time alone may erase the contents of the bulletin that a record
/// accepted.
pub fn first_due(state: &State, record: &Record) -> Option<Timestamp> {
    let Fact::Accepted(accepted) = &record.fact else {
        return None;
    };
    let kept = kept_until(state, accepted, record);
    let valid = accepted.header.valid_until;
    Some(kept.map_or(valid, |kept| kept.min(valid)))
}

/// Until when recipients may keep a bulletin; `None` where one of them is not limited, or there is none. What
/// was carried here from another ledger all of them delete when its clauses say.
fn kept_until(state: &State, accepted: &Accepted, about: &Record) -> Option<Timestamp> {
    let own = retention(state, about).map(|span| about.time.saturating_add(span));
    let crossing = accepted.header.crossing.as_ref();
    let carried = crossing.and_then(|crossing| crossing.keep_until);
    own.into_iter().chain(carried).min()
}

/// How long the recipients may keep a bulletin; `None` where one of them is not limited, or there is none.
fn retention(state: &State, about: &Record) -> Option<Duration> {
    let limit = |clause: &ClauseRef| state.terms(clause)?.retention;
    let mut longest = None;
    for one in state.releases(about) {
        // The strictest of the clauses under which a recipient has it binds that recipient.
        let strictest = one.release.clauses.iter().filter_map(limit).min()?;
        longest = longest.max(Some(strictest));
    }
    longest
}

/// Whether somebody has yet to get it: from a lane, when persons let it go or its originator consents, or
/// by a backfill.
fn is_awaited(
    state: &State,
    position: u64,
    accepted: &Accepted,
    about: &Record,
    at: Timestamp,
) -> bool {
    let hash = accepted.header_hash();
    let precedence = accepted.header.precedence;
    let acked = |recipient| {
        let lane = state.lanes().lane(recipient, precedence);
        lane.map_or(0, super::lanes::Lane::acked)
    };
    let undelivered = state
        .releases(about)
        .any(|one| one.number > 0 && acked(&one.release.recipient) < one.number);
    let followed = state.dossiers().dossier(&hash).is_some_and(|dossier| {
        let mut let_go = dossier.let_go.iter();
        dossier.waits(at) || let_go.any(|(recipient, number)| acked(recipient) < *number)
    });
    let given_later = || {
        let mut backfills = state.backfills().keys();
        backfills.any(|id| !backfill_releases(state, id, position, about, at).is_empty())
    };
    undelivered || followed || given_later()
}
