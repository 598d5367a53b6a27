//! What a recipient owes for what it was given: the strictest of all clauses under which it came.

use std::collections::BTreeSet;

use super::terms::{Clause, Onward, Purpose};

/// The obligations that come with a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligations {
    /// Whether it may be passed on.
    pub onward: Onward,
    /// What it may be used for; `None`: anything. Empty: nothing, where clauses exclude each other.
    pub purposes: Option<BTreeSet<Purpose>>,
    /// Under which law or treaty, in the order of the clauses.
    pub legal_bases: Vec<String>,
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
            purposes: Some(BTreeSet::new()),
            legal_bases: Vec::new(),
        })
    }

    fn of_one(clause: &Clause) -> Self {
        let basis = Some(clause.legal_basis.clone()).filter(|basis| !basis.is_empty());
        Self {
            onward: clause.onward,
            purposes: (!clause.purposes.is_empty()).then(|| clause.purposes.clone()),
            legal_bases: basis.into_iter().collect(),
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
            purposes: match (self.purposes, other.purposes) {
                (Some(one), Some(other)) => Some(&one & &other),
                (one, other) => one.or(other),
            },
            legal_bases: self.legal_bases,
        }
    }

    /// The first obligation that is looser than under another set of clauses; `None` where all are
    /// as strict or stricter.
    pub(super) fn looser_than(&self, other: &Self) -> Option<&'static str> {
        if self.onward > other.onward {
            return Some("onward");
        }
        let purposes = match (&self.purposes, &other.purposes) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(other)) => !one.is_subset(other),
        };
        if purposes {
            return Some("purposes");
        }
        let kept = |basis: &String| self.legal_bases.contains(basis);
        (!other.legal_bases.iter().all(kept)).then_some("legal basis")
    }

    /// Whether it may be used for this; `None`: for a purpose that was not stated.
    pub fn permit(&self, purpose: Option<Purpose>) -> bool {
        match (&self.purposes, purpose) {
            (None, _) => true,
            (Some(purposes), Some(purpose)) => purposes.contains(&purpose),
            (Some(_), None) => false,
        }
    }
}
