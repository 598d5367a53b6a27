//! The exact difference between two versions of an agreement: which flows one allows that the
//! other does not, and which obligations it loosens.
//!
//! Computed over the whole [`super::space`] of bulletins, and not sampled: what a clause newly allows
//! is found at its greatest point, and a loosened obligation where two clauses meet. Values that no
//! clause tells apart are looked at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::obligations::Obligations;
use super::space::{
    Cell, Example, Guise, Point, admits_class, admits_level, example, levels, schemes,
};
use super::terms::{Agreement, Clause, Regions, Topics};
use crate::bulletin::{Classification, Level, PartClass, Precedence, Shown, Tlp};
use crate::partner::PartnerId;

/// What one version allows beyond another.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Flows and freedoms that only the newer version gives. None: it only narrows.
    pub widens: Vec<Flow>,
    /// Flows and freedoms that only the older version gave.
    pub narrows: Vec<Flow>,
}

/// A part of what flows under a clause.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Who gives.
    pub from: BTreeSet<PartnerId>,
    /// Who receives.
    pub to: BTreeSet<PartnerId>,
    /// The clause that allows it.
    pub clause: Arc<str>,
    /// What about it differs.
    pub change: Change,
    /// The terms of that clause.
    pub terms: Clause,
    /// Only these precedences of it.
    pub precedences: BTreeSet<Precedence>,
    /// Only these classes of it.
    pub classes: BTreeSet<PartClass>,
    /// A bulletin of one part for which it makes a difference, from the first giver to the first
    /// receiver.
    pub example: Box<Example>,
}

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It flows under one version only.
    Flows,
    /// It flows under both, and this obligation is looser under one.
    Looser(&'static str),
    /// It flows under one version at times when the other is not valid.
    Validity,
}

impl Difference {
    /// Compares two versions.
    pub fn between(old: &Agreement, new: &Agreement) -> Self {
        Self {
            widens: beyond(new, old),
            narrows: beyond(old, new),
        }
    }
}

/// Indexes of the clauses that stand between two parties in either version.
type Between = (Vec<usize>, Vec<usize>);

/// What `one` allows beyond `other`.
fn beyond(one: &Agreement, other: &Agreement) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    // Pairs of parties between whom the same clauses stand differ in the same way.
    let mut pairs: BTreeMap<Between, Vec<(PartnerId, PartnerId)>> = BTreeMap::new();
    for from in one.parties.iter().map(|party| &party.partner) {
        for to in one.parties.iter().map(|party| &party.partner) {
            let own = between(one, from, to);
            if from != to && !own.is_empty() {
                let key = (own, between(other, from, to));
                pairs
                    .entry(key)
                    .or_default()
                    .push((from.clone(), to.clone()));
            }
        }
    }
    let longer = one.valid_from < other.valid_from || one.valid_until > other.valid_until;
    for ((own, others), pairs) in pairs {
        let sides = Sides {
            one,
            own: own.iter().map(|at| &one.clauses[*at]).collect(),
            other,
            others: others.iter().map(|at| &other.clauses[*at]).collect(),
        };
        for found in sides.compare(longer) {
            found.into_flows(&pairs, &mut flows);
        }
    }
    flows
}

/// Indexes of the clauses under which one party gives to the other.
fn between(agreement: &Agreement, from: &PartnerId, to: &PartnerId) -> Vec<usize> {
    let parties = agreement.is_party(from) && agreement.is_party(to);
    let joins = |clause: &Clause| parties && clause.from.contains(from) && clause.to.contains(to);
    let clauses = agreement.clauses.iter().enumerate();
    clauses
        .filter(|(_, clause)| joins(clause))
        .map(|(at, _)| at)
        .collect()
}

/// The clauses of both versions between two parties.
struct Sides<'a> {
    one: &'a Agreement,
    own: Vec<&'a Clause>,
    other: &'a Agreement,
    others: Vec<&'a Clause>,
}

/// A difference, before it is known between whom.
struct Found<'a> {
    clause: &'a Clause,
    change: Change,
    agreement: &'a Agreement,
    cells: Vec<Group>,
    point: Point,
}

/// A cell, with the values that no clause tells from its own.
#[derive(Clone, Debug)]
struct Group {
    cell: Cell,
    precedences: Vec<Precedence>,
    classes: Vec<PartClass>,
}

impl<'a> Sides<'a> {
    fn compare(&self, longer: bool) -> Vec<Found<'a>> {
        let mut found: Vec<Found<'a>> = Vec::new();
        let mut add = |clause: &'a Clause, change: Change, group: &Group, point: Point| {
            let known = found
                .iter_mut()
                .find(|one| one.clause.id == clause.id && one.change == change);
            match known {
                Some(known) => known.cells.push(group.clone()),
                None => found.push(Found {
                    clause,
                    change,
                    agreement: self.one,
                    cells: vec![group.clone()],
                    point,
                }),
            }
        };
        for group in self.groups() {
            let own = admitting(self.one, &self.own, &group.cell);
            let others = admitting(self.other, &self.others, &group.cell);
            for clause in &own {
                let point = Point::top(clause);
                if !others.iter().any(|other| point.within(other)) {
                    add(clause, Change::Flows, &group, point.smallest(&others));
                } else if !others.iter().any(|other| point.as_often_within(other)) {
                    add(clause, Change::Looser("quota or references"), &group, point);
                } else if longer {
                    add(clause, Change::Validity, &group, point);
                }
                for other in &others {
                    let Some(point) = Point::top(clause).meet(&Point::top(other)) else {
                        continue;
                    };
                    let at = |clauses: &[&'a Clause]| {
                        Obligations::of(clauses.iter().copied().filter(|one| point.within(one)))
                    };
                    if let Some(what) = at(&own).looser_than(&at(&others)) {
                        add(clause, Change::Looser(what), &group, point);
                    }
                }
            }
        }
        found
    }

    /// Every combination of single values that some clause tells from the others.
    fn groups(&self) -> Vec<Group> {
        let precedences = self.alike(Precedence::ALL, |_, clause, one| {
            clause.precedences.contains(one)
        });
        let classes = self.alike(PartClass::ALL, |_, clause, class| {
            admits_class(clause, *class)
        });
        let levels = self.alike(&self.levels(), |agreement, clause, level| {
            admits_level(agreement, clause, level.as_ref())
        });
        let guises = self.alike(&Guise::ALL, |_, clause, guise| guise.is_admitted(clause));
        let mut single = Vec::new();
        for guises in &guises {
            for levels in &levels {
                for (exercise, orcon) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    single.push((guises[0], levels[0].clone(), exercise, orcon));
                }
            }
        }
        let mut cells = Vec::new();
        for precedences in &precedences {
            for classes in &classes {
                cells.extend(single.iter().cloned().map(
                    |(guise, classification, exercise, orcon)| Group {
                        cell: Cell {
                            precedence: precedences[0],
                            exercise,
                            orcon,
                            class: classes[0],
                            guise,
                            classification,
                        },
                        precedences: precedences.clone(),
                        classes: classes.clone(),
                    },
                ));
            }
        }
        cells
    }

    /// Values, grouped by the clauses that admit them; those that no own clause admits are left out.
    fn alike<T: Clone>(
        &self,
        values: &[T],
        admits: impl Fn(&Agreement, &Clause, &T) -> bool,
    ) -> Vec<Vec<T>> {
        let mut groups: BTreeMap<Vec<bool>, Vec<T>> = BTreeMap::new();
        for value in values {
            let own: Vec<bool> = self
                .own
                .iter()
                .map(|clause| admits(self.one, clause, value))
                .collect();
            if own.iter().any(|admitted| *admitted) {
                let others = self.others.iter();
                let others = others.map(|clause| admits(self.other, clause, value));
                let key = own.iter().copied().chain(others).collect();
                groups.entry(key).or_default().push(value.clone());
            }
        }
        groups.into_values().collect()
    }

    fn levels(&self) -> Vec<Option<(Classification, Level)>> {
        let own = schemes(self.one, self.own.iter().copied());
        let others = schemes(self.other, self.others.iter().copied());
        levels(&own | &others)
    }
}

/// The clauses that admit the values of a cell.
fn admitting<'a>(agreement: &Agreement, clauses: &[&'a Clause], cell: &Cell) -> Vec<&'a Clause> {
    let admits = |clause: &&Clause| cell.is_admitted(agreement, clause);
    clauses.iter().copied().filter(admits).collect()
}

impl Found<'_> {
    /// One flow for each giver, and givers with the same receivers together.
    fn into_flows(self, pairs: &[(PartnerId, PartnerId)], flows: &mut Vec<Flow>) {
        let mut by_from: BTreeMap<&PartnerId, BTreeSet<PartnerId>> = BTreeMap::new();
        for (from, to) in pairs {
            by_from.entry(from).or_default().insert(to.clone());
        }
        let mut grouped: BTreeMap<BTreeSet<PartnerId>, BTreeSet<PartnerId>> = BTreeMap::new();
        for (from, to) in by_from {
            grouped.entry(to).or_default().insert(from.clone());
        }
        for (to, from) in grouped {
            let (Some(giver), Some(recipient)) = (from.first(), to.first()) else {
                continue;
            };
            let example = self.example(giver, recipient);
            let cells = || self.cells.iter();
            flows.push(Flow {
                clause: Arc::clone(&self.clause.id),
                change: self.change.clone(),
                terms: self.clause.clone(),
                precedences: cells()
                    .flat_map(|group| group.precedences.clone())
                    .collect(),
                classes: cells().flat_map(|group| group.classes.clone()).collect(),
                example: Box::new(example),
                from,
                to,
            });
        }
    }

    fn example(&self, from: &PartnerId, to: &PartnerId) -> Example {
        let mut named = BTreeSet::from([to.clone()]);
        if self.point.names_recipients {
            named.insert(from.clone());
        }
        let needed = self.point.tlp == Tlp::Red || self.point.names_recipients;
        let named = needed.then_some(named);
        let cell = &self.cells[0].cell;
        example(cell, &self.point, self.agreement, (from, to), named)
    }
}

/// One line: who, to whom, what, how far.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: ", words(&self.from), words(&self.to))?;
        write!(f, "{}", words(&self.terms.kinds))?;
        if let Topics::Under(topics) = &self.terms.topics {
            write!(f, ", about {}", words(topics))?;
        }
        if let Regions::Within(regions) = &self.terms.regions {
            write!(f, ", in {}", words(regions))?;
        }
        write!(f, ", up to {}", self.terms.tlp_ceiling)?;
        if let Some(ceiling) = &self.terms.classification_ceiling {
            write!(f, " and {ceiling}")?;
        }
        if self.terms.exercise_only {
            f.write_str(", exercises")?;
        }
        match self.terms.originator {
            Shown::Named => {}
            Shown::Alias => f.write_str(", by an alias")?,
            Shown::Framework => f.write_str(", without its originator")?,
        }
        if self.precedences.len() < Precedence::ALL.len() {
            write!(f, ", at {}", words(&self.precedences))?;
        }
        let told = |class: &&PartClass| !matches!(class, PartClass::Audience | PartClass::Identity);
        let missing: BTreeSet<_> = PartClass::ALL
            .iter()
            .filter(told)
            .filter(|class| !self.classes.contains(class))
            .collect();
        if !missing.is_empty() {
            if missing.len() < self.classes.len() {
                write!(f, ", without {}", words(&missing))?;
            } else {
                write!(f, ", {}", words(&self.classes))?;
            }
        }
        match &self.change {
            Change::Flows => write!(f, " (clause {})", self.clause),
            Change::Looser(what) => write!(f, " (clause {}: {what})", self.clause),
            Change::Validity => write!(f, " (clause {}: at other times)", self.clause),
        }
    }
}

fn words<'a, T: fmt::Display + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    let words: Vec<String> = items.into_iter().map(ToString::to_string).collect();
    words.join(", ")
}
