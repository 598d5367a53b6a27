//! The space of all bulletins that consist of one part, as clauses divide it.
//!
//! Kinds, topics, regions, TLP and grades are lattices: what a clause allows of them is everything
//! below one greatest [`Point`]. Precedence, exercise, caveats, part class and classification are
//! single values: a [`Cell`]. So a question about all bulletins is a question about few points.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::terms::{Agreement, Clause, Onward, Quota, References, Regions};
use crate::bulletin::{
    Admiralty, Caveat, Classification, Disguise, Kind, Labels, Level, Marking, PartClass,
    PartLabels, Precedence, Region, Shown, Tlp, Topic,
};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// A bulletin of one part.
#[derive(Clone, Debug)]
pub struct Example {
    /// What its header says.
    pub labels: Labels,
    /// What its part says.
    pub part: PartLabels,
    /// Who receives it.
    pub recipient: PartnerId,
}

/// The labels of which a bulletin has one, and what is said of its part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) precedence: Precedence,
    pub(crate) exercise: bool,
    pub(crate) orcon: bool,
    pub(crate) class: PartClass,
    pub(crate) guise: Guise,
    /// The header's classification, and that of the part where it is higher.
    pub(crate) classification: Option<(Classification, Level)>,
}

impl Cell {
    /// Whether a clause admits these values.
    pub(crate) fn is_admitted(&self, agreement: &Agreement, clause: &Clause) -> bool {
        clause.precedences.contains(&self.precedence)
            && admits_class(clause, self.class)
            && self.guise.is_admitted(clause)
            && (self.exercise || !clause.exercise_only)
            && !(self.orcon && clause.onward == Onward::WithinAgreement)
            && admits_level(agreement, clause, self.classification.as_ref())
    }
}

/// How an originator shows itself to a recipient: its name in the header, or a pseudonym for the
/// agreement, with or without the identity behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guise {
    Named,
    Pseudonym { single_use: bool, revealed: bool },
}

impl Guise {
    pub(crate) const ALL: [Self; 5] = [
        Self::Named,
        Self::of(false, true),
        Self::of(false, false),
        Self::of(true, true),
        Self::of(true, false),
    ];

    const fn of(single_use: bool, revealed: bool) -> Self {
        Self::Pseudonym {
            single_use,
            revealed,
        }
    }

    /// Whether a clause of the pseudonym's agreement admits it.
    pub(crate) fn is_admitted(self, clause: &Clause) -> bool {
        match (clause.originator, self) {
            (shown, Self::Named) => shown == Shown::Named,
            (Shown::Named, Self::Pseudonym { revealed, .. }) => revealed,
            (Shown::Alias, Self::Pseudonym { .. }) => true,
            (Shown::Framework, Self::Pseudonym { single_use, .. }) => single_use,
        }
    }

    fn disguise(self, agreement: &Agreement, to: &PartnerId) -> Option<Disguise> {
        match self {
            Self::Named => None,
            Self::Pseudonym {
                single_use,
                revealed,
            } => Some(Disguise {
                single_use,
                agreement: Arc::clone(&agreement.name),
                reveal_to: revealed.then(|| to.clone()).into_iter().collect(),
            }),
        }
    }
}

/// Who is behind a pseudonym is no matter of the class of its part, but of the guise.
pub(crate) fn admits_class(clause: &Clause, class: PartClass) -> bool {
    let told = !matches!(class, PartClass::Audience | PartClass::Identity);
    told && !clause.withhold.contains(&class)
}

/// The greatest bulletin of a cell that some clauses allow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) topics: BTreeSet<Topic>,
    pub(crate) regions: Regions,
    pub(crate) tlp: Tlp,
    /// The worst grade allowed; `None`: no grade at all.
    pub(crate) reliability: Option<u8>,
    pub(crate) credibility: Option<u8>,
    pub(crate) names_recipients: bool,
    pub(crate) bears_references: bool,
    pub(crate) quota: Option<Quota>,
}

pub(crate) fn admits_level(
    agreement: &Agreement,
    clause: &Clause,
    level: Option<&(Classification, Level)>,
) -> bool {
    let Some((whole, part)) = level else {
        return true;
    };
    let ceiling = clause.classification_ceiling.as_ref();
    agreement.within(&whole.policy, whole.level, ceiling)
        && agreement.within(&whole.policy, *part, ceiling)
}

impl Point {
    pub(crate) fn top(clause: &Clause) -> Self {
        Self {
            kinds: clause.kinds.clone(),
            topics: Topic::all()
                .filter(|topic| clause.topics.cover(*topic))
                .collect(),
            regions: clause.regions.clone(),
            tlp: clause.tlp_ceiling,
            reliability: clause.least_reliability,
            credibility: clause.least_credibility,
            names_recipients: !clause.confidential_recipients,
            bears_references: clause.references == References::Withhold,
            quota: clause.quota,
        }
    }

    /// Whether a clause allows it.
    pub(crate) fn within(&self, clause: &Clause) -> bool {
        let graded = |given: Option<u8>, least: Option<u8>| {
            least.is_none_or(|least| given.is_some_and(|given| given <= least))
        };
        self.kinds.is_subset(&clause.kinds)
            && self.topics.iter().all(|topic| clause.topics.cover(*topic))
            && regions_within(&self.regions, &clause.regions)
            && self.tlp <= clause.tlp_ceiling
            && graded(self.reliability, clause.least_reliability)
            && graded(self.credibility, clause.least_credibility)
            && !(self.names_recipients && clause.confidential_recipients)
    }

    /// Whether every clause that allows the other point allows this one.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        let graded = |own: Option<u8>, other: Option<u8>| {
            other.is_none_or(|worst| own.is_some_and(|own| own <= worst))
        };
        self.kinds.is_subset(&other.kinds)
            && self.topics.is_subset(&other.topics)
            && regions_within(&self.regions, &other.regions)
            && self.tlp <= other.tlp
            && graded(self.reliability, other.reliability)
            && graded(self.credibility, other.credibility)
    }

    /// Whether a clause allows it as often, and with references to withheld parts as well.
    pub(crate) fn as_often_within(&self, clause: &Clause) -> bool {
        self.within(clause)
            && !(self.bears_references && clause.references == References::Refuse)
            && quota_within(self.quota, clause.quota)
    }

    /// The greatest point below both; `None` where there is none.
    pub(crate) fn meet(&self, other: &Self) -> Option<Self> {
        let worst = |one: Option<u8>, other: Option<u8>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let met = Self {
            kinds: &self.kinds & &other.kinds,
            topics: &self.topics & &other.topics,
            regions: meet_regions(&self.regions, &other.regions)?,
            tlp: self.tlp.min(other.tlp),
            reliability: worst(self.reliability, other.reliability),
            credibility: worst(self.credibility, other.credibility),
            names_recipients: self.names_recipients && other.names_recipients,
            bears_references: self.bears_references && other.bears_references,
            quota: match (self.quota, other.quota) {
                (Some(one), Some(other)) if one.bulletins <= other.bulletins => Some(one),
                (one, None) => one,
                (_, other) => other,
            },
        };
        (!met.kinds.is_empty() && !met.topics.is_empty()).then_some(met)
    }

    /// A smaller point that these clauses do not allow either: easier to read.
    pub(crate) fn smallest(mut self, others: &[&Clause]) -> Self {
        let allowed = |point: &Self| others.iter().any(|other| point.within(other));
        if self.names_recipients {
            let mut less = self.clone();
            less.names_recipients = false;
            if !allowed(&less) {
                self = less;
            }
        }
        for kind in self.kinds.clone() {
            let mut less = self.clone();
            less.kinds.remove(&kind);
            if !less.kinds.is_empty() && !allowed(&less) {
                self = less;
            }
        }
        for topic in self.topics.clone().into_iter().rev() {
            let mut less = self.clone();
            less.topics.remove(&topic);
            if !less.topics.is_empty() && !allowed(&less) {
                self = less;
            }
        }
        if let Regions::Within(regions) = self.regions.clone() {
            for region in regions {
                let mut less = self.clone();
                let Regions::Within(left) = &mut less.regions else {
                    continue;
                };
                left.remove(&region);
                if !left.is_empty() && !allowed(&less) {
                    self = less;
                }
            }
        }
        self
    }
}

fn regions_within(inner: &Regions, outer: &Regions) -> bool {
    match (inner, outer) {
        (_, Regions::All) => true,
        (Regions::All, Regions::Within(_)) => false,
        (Regions::Within(inner), outer) => inner.iter().all(|region| outer.cover(*region)),
    }
}

fn meet_regions(one: &Regions, other: &Regions) -> Option<Regions> {
    let (Regions::Within(inner), Regions::Within(outer)) = (one, other) else {
        return Some(if *one == Regions::All { other } else { one }.clone());
    };
    let both: BTreeSet<Region> = inner
        .iter()
        .filter(|region| other.cover(**region))
        .chain(outer.iter().filter(|region| one.cover(**region)))
        .copied()
        .collect();
    (!both.is_empty()).then_some(Regions::Within(both))
}

/// Quotas of different periods are not compared: the other one counts as larger.
fn quota_within(inner: Option<Quota>, outer: Option<Quota>) -> bool {
    match (inner, outer) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(inner), Some(outer)) => {
            inner.period == outer.period && inner.bulletins <= outer.bulletins
        }
    }
}

/// A bulletin at a point of a cell, from one party to others; a pseudonym is for this agreement.
pub(crate) fn example(
    cell: &Cell,
    point: &Point,
    agreement: &Agreement,
    (from, to): (&PartnerId, &PartnerId),
    releasable_to: Option<BTreeSet<PartnerId>>,
) -> Example {
    Example {
        labels: Labels {
            originator: from.clone(),
            disguise: cell.guise.disguise(agreement, to),
            kinds: point.kinds.iter().copied().collect(),
            topics: point.topics.iter().copied().collect(),
            regions: match &point.regions {
                Regions::All => Vec::new(),
                Regions::Within(regions) => regions.iter().copied().collect(),
            },
            tlp: point.tlp,
            classification: cell.classification.as_ref().map(|(whole, _)| whole.clone()),
            names_recipients: releasable_to.as_ref().is_some_and(|named| named.len() > 1),
            releasable_to,
            caveats: cell.orcon.then_some(Caveat::Orcon).into_iter().collect(),
            precedence: cell.precedence,
            exercise: cell.exercise,
            valid_from: Timestamp::MIN,
            valid_until: Timestamp::MAX,
            admiralty: Admiralty {
                reliability: point.reliability,
                credibility: point.credibility,
            },
        },
        part: PartLabels {
            class: Some(cell.class),
            marking: Marking {
                tlp: None,
                level: cell.classification.as_ref().map(|(_, part)| *part),
            },
            mentions: Vec::new(),
        },
        recipient: to.clone(),
    }
}

/// Every classification of a bulletin, with that of its part, in these schemes.
pub(crate) fn levels(
    schemes: impl IntoIterator<Item = String>,
) -> Vec<Option<(Classification, Level)>> {
    let mut levels = vec![None];
    for policy in schemes {
        for (at, level) in Level::ALL.iter().enumerate() {
            let (policy, level) = (policy.clone(), *level);
            let whole = Classification { policy, level };
            let parts = Level::ALL[at..].iter();
            levels.extend(parts.map(|part| Some((whole.clone(), *part))));
        }
    }
    levels
}

/// The schemes of classification that an agreement and some of its clauses name.
pub(crate) fn schemes<'a>(
    agreement: &'a Agreement,
    clauses: impl IntoIterator<Item = &'a Clause>,
) -> BTreeSet<String> {
    let ceilings = clauses
        .into_iter()
        .filter_map(|one| one.classification_ceiling.as_ref());
    let named = agreement.equivalents.iter().map(|one| &one.level);
    ceilings
        .chain(named)
        .map(|one| one.policy.clone())
        .collect()
}
