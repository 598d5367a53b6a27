//! What a recipient owes for what it was given: the strictest of all clauses under which it came.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::proof::Digest;

use super::terms::{Clause, Hold, Onward, Purpose};

/// The obligations that come with a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligations {
    /// Whether it may be passed on.
    pub onward: Onward,
    /// Into which ledgers it may be carried.
    pub federation: BTreeSet<Digest>,
    /// What it may be used for; `None`: anything. Empty: nothing, where clauses exclude each other.
    pub purposes: Option<BTreeSet<Purpose>>,
    /// Under which law or treaty, in the order of the clauses.
    pub legal_bases: Vec<String>,
    /// Its contents are to be deleted this long after the log took it.
    pub retention: Option<Duration>,
    /// It has to be taken, and that be said, within this time.
    pub acknowledge_within: Option<Duration>,
    /// Who had to let it go before it flowed.
    pub holds: BTreeSet<Hold>,
    /// Those who join later are given it, too, where it came since then.
    pub backfill_from: Option<Timestamp>,
}

impl Obligations {
    /// Joins the obligations of several clauses. Without any clause nothing is permitted.
    pub fn of<'a>(clauses: impl IntoIterator<Item = &'a Clause>) -> Self {
        let mut joined: Option<Self> = None;
        for clause in clauses {
            let own = Self::of_one(clause);
            joined = Some(match joined {
                Some(so_far) => so_far.join(own),
                None => own,
            });
        }
        joined.unwrap_or(Self {
            onward: Onward::None,
            federation: BTreeSet::new(),
            purposes: Some(BTreeSet::new()),
            legal_bases: Vec::new(),
            retention: None,
            acknowledge_within: None,
            holds: BTreeSet::new(),
            backfill_from: None,
        })
    }

    fn of_one(clause: &Clause) -> Self {
        let basis = Some(clause.legal_basis.clone()).filter(|basis| !basis.is_empty());
        Self {
            onward: clause.onward,
            federation: clause.federation.clone(),
            purposes: (!clause.purposes.is_empty()).then(|| clause.purposes.clone()),
            legal_bases: basis.into_iter().collect(),
            retention: clause.retention,
            acknowledge_within: clause.acknowledge_within,
            holds: clause.hold.iter().cloned().collect(),
            backfill_from: clause.backfill_from,
        }
    }

    fn join(mut self, other: Self) -> Self {
        for basis in other.legal_bases {
            if !self.legal_bases.contains(&basis) {
                self.legal_bases.push(basis);
            }
        }
        Self {
            onward: self.onward.min(other.onward),
            federation: &self.federation & &other.federation,
            purposes: match (self.purposes, other.purposes) {
                (Some(one), Some(other)) => Some(&one & &other),
                (one, other) => one.or(other),
            },
            legal_bases: self.legal_bases,
            holds: &self.holds | &other.holds,
            retention: shorter(self.retention, other.retention),
            acknowledge_within: shorter(self.acknowledge_within, other.acknowledge_within),
            backfill_from: [self.backfill_from, other.backfill_from]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// The first obligation that is looser than under another set of clauses; `None` where all are
    /// as strict or stricter.
    pub(super) fn looser_than(&self, other: &Self) -> Option<&'static str> {
        if self.onward > other.onward {
            return Some("onward");
        }
        if !self.federation.is_subset(&other.federation) {
            return Some("federation");
        }
        let purposes = match (&self.purposes, &other.purposes) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(other)) => !one.is_subset(other),
        };
        if purposes {
            return Some("purposes");
        }
        let kept_longer = match (self.retention, other.retention) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(other)) => one > other,
        };
        if kept_longer {
            return Some("retention");
        }
        let earlier = match (self.backfill_from, other.backfill_from) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(one), Some(other)) => one < other,
        };
        if earlier {
            return Some("backfill");
        }
        if !other.holds.is_subset(&self.holds) {
            return Some("hold");
        }
        // A duty that one side did not ask for is a matter for all, and so is one that is dropped.
        if self.acknowledge_within != other.acknowledge_within {
            return Some("acknowledgement");
        }
        let kept = |basis: &String| self.legal_bases.contains(basis);
        (!other.legal_bases.iter().all(kept)).then_some("legal basis")
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
