//! Clauses that a draft could do without: those that can never match, and those that add nothing to
//! the others.

use std::fmt;
use std::sync::Arc;

use super::diff::Difference;
use super::space::admits_class;
use super::terms::{Agreement, Clause, Topics};
use crate::bulletin::{Kind, PartClass, Shown};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// Fewer givers hide none of them: of two, each knows that it was the other.
const FEWEST_GIVERS: usize = 3;

/// Something about an agreement that its author may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The clause.
    pub clause: Arc<str>,
    /// What about it.
    pub what: Odd,
}

/// What is odd about a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// Nobody gives to anybody else.
    NoPair,
    /// Every class of part is withheld.
    NothingLeft,
    /// Its topics are of none of its kinds.
    OtherTopics,
    /// The agreement is over.
    Over(Timestamp),
    /// It hides its originator among so few towards this party that its name, which a delivery bears,
    /// tells who it was.
    FewGivers {
        /// The party.
        to: PartnerId,
        /// How many could have given.
        givers: usize,
    },
    /// Without it the same would flow, under the same obligations.
    Shadowed,
}

impl Agreement {
    /// What its authors should look at again before they sign.
    pub fn warnings(&self, now: Timestamp) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for clause in &self.clauses {
            let mut warn = |what| {
                warnings.push(Warning {
                    clause: Arc::clone(&clause.id),
                    what,
                });
            };
            if let Some((to, givers)) = self.fewest_givers(clause) {
                warn(Odd::FewGivers { to, givers });
            }
            if self.valid_until <= now {
                warn(Odd::Over(self.valid_until));
            }
            if !self.joins_a_pair(clause) {
                warn(Odd::NoPair);
            } else if !PartClass::ALL
                .iter()
                .any(|class| admits_class(clause, *class))
            {
                warn(Odd::NothingLeft);
            } else if !topics_fit(clause) {
                warn(Odd::OtherTopics);
            } else if self.is_shadowed(clause) {
                warn(Odd::Shadowed);
            }
        }
        warnings
    }

    fn joins_a_pair(&self, clause: &Clause) -> bool {
        let parties = || self.parties.iter().map(|party| &party.partner);
        parties().any(|from| {
            clause.from.contains(from) && parties().any(|to| to != from && clause.to.contains(to))
        })
    }

    /// The party towards which a clause that hides its originator hides it least, and among how many;
    /// `None` where that is enough.
    fn fewest_givers(&self, clause: &Clause) -> Option<(PartnerId, usize)> {
        if clause.originator == Shown::Named {
            return None;
        }
        let parties = || self.parties.iter().map(|party| &party.partner);
        let givers = |to: &PartnerId| {
            let others = parties().filter(|from| *from != to);
            others.filter(|from| clause.from.contains(from)).count()
        };
        let towards = parties().filter(|to| clause.to.contains(to));
        let towards = towards.map(|to| (to, givers(to)));
        let few = towards.filter(|(_, givers)| (1..FEWEST_GIVERS).contains(givers));
        let fewest = few.min_by_key(|(_, givers)| *givers);
        fewest.map(|(to, givers)| (to.clone(), givers))
    }

    fn is_shadowed(&self, clause: &Clause) -> bool {
        let mut without = self.clone();
        without.clauses.retain(|other| other.id != clause.id);
        if without.clauses.is_empty() {
            return false;
        }
        let difference = Difference::between(&without, self);
        difference.widens.is_empty() && difference.narrows.is_empty()
    }
}

/// Whether a topic of the clause is below the topic that is named like one of its kinds.
fn topics_fit(clause: &Clause) -> bool {
    let Topics::Under(topics) = &clause.topics else {
        return true;
    };
    let of = |kind: &Kind| {
        topics
            .iter()
            .any(|topic| topic.as_str().split('/').next() == Some(kind.as_str()))
    };
    clause.kinds.iter().any(of)
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clause `{}` ", self.clause)?;
        match &self.what {
            Odd::NoPair => f.write_str("can never match: nobody gives to anybody else"),
            Odd::NothingLeft => f.write_str("can never match: it withholds every class of part"),
            Odd::OtherTopics => {
                f.write_str("will hardly match: its topics are of none of its kinds")
            }
            Odd::Over(until) => write!(f, "can never match: the agreement ends at {until}"),
            Odd::FewGivers { to, givers } => write!(
                f,
                "hides who gave among {givers} towards {to}: its name, which a delivery bears, tells \
                 who it was"
            ),
            Odd::Shadowed => {
                f.write_str("adds nothing: without it the same flows under the same obligations")
            }
        }
    }
}
