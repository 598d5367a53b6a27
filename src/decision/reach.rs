//! Whether a partner can ever receive something from another, directly or onward: an exact answer
//! over all bulletins, by computation over the clauses and not by trying.
//!
//! A recipient passes a bulletin on by publishing it anew: the same labels, parts that it received,
//! releasable only to whom it may give it. Every clause under which it came binds it: `none` forbids
//! it, `originator-consent` asks for consent each time, `within-agreement` allows the parties of that
//! agreement, for whoever receives it later, too. Whoever gives may do so by its name or under a
//! pseudonym, which only the clauses of one agreement may carry. So a chain of clauses carries a bulletin when its
//! greatest common [`Point`] is allowed at each step; smaller bulletins are allowed by more clauses,
//! which can only bind more. The search is a fixpoint over (holder, point, time, what binds).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use super::rulebook::{Rule, Rulebook, Towards};
use crate::agreement::space::{self, Cell, Guise, Point};
use crate::agreement::{AgreementId, ClauseRef, Example, LedgerHash, Onward, Regions};
use crate::bulletin::{Classification, Kind, Level, PartClass, Precedence, Region, Tlp, Topic};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// What is asked; what is left open may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The originator.
    pub from: PartnerId,
    /// Who would hold it in the end.
    pub to: PartnerId,
    /// Of exactly this kind.
    pub kind: Option<Kind>,
    /// About exactly this.
    pub topic: Option<Topic>,
    /// About exactly this region.
    pub region: Option<Region>,
    /// Exactly this TLP.
    pub tlp: Option<Tlp>,
    /// Exactly this classification, of header and part.
    pub classification: Option<Classification>,
    /// Exactly this precedence.
    pub precedence: Option<Precedence>,
    /// An exercise, or not.
    pub exercise: Option<bool>,
    /// A part of this class.
    pub class: Option<PartClass>,
    /// Not only to hold it, but to carry it into this other ledger.
    pub into: Option<LedgerHash>,
}

impl Question {
    /// Anything at all, from one partner to another.
    pub fn anything(from: PartnerId, to: PartnerId) -> Self {
        Self {
            from,
            to,
            kind: None,
            topic: None,
            region: None,
            tlp: None,
            classification: None,
            precedence: None,
            exercise: None,
            class: None,
            into: None,
        }
    }
}

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who gives.
    pub from: PartnerId,
    /// Who receives.
    pub to: PartnerId,
    /// Under which clause.
    pub clause: ClauseRef,
}

/// That something can be received, and how.
#[derive(Clone, Debug)]
pub struct Way {
    /// The steps; one where it is direct.
    pub hops: Vec<Hop>,
    /// Only with the originator's consent to a step after the first.
    pub consent: bool,
    /// A bulletin that goes this way, as its originator publishes it.
    pub example: Example,
}

/// How a partner can receive what is asked; `None`: never, from `now` on, under the agreements of
/// the rulebook, whatever anybody publishes and however the partners' standing changes.
pub fn reach(rulebook: &Rulebook, question: &Question, now: Timestamp) -> Option<Way> {
    if question.from == question.to {
        return None;
    }
    let clauses = Clauses::reachable(rulebook, &question.from, now);
    let cells = clauses.cells(question);
    let search = |onward: Passing| {
        cells
            .iter()
            .find_map(|(cell, tlp)| Search::new(rulebook, question, cell, *tlp, onward, now).run())
    };
    if question.into.is_some() {
        // What was passed on is carried by nobody.
        return search(Passing::Never);
    }
    search(Passing::Never)
        .or_else(|| search(Passing::Freely))
        .or_else(|| search(Passing::WithConsent))
}

/// How recipients pass on in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Never,
    Freely,
    WithConsent,
}

/// The clauses that can matter to what a partner publishes, each once.
struct Clauses<'a> {
    rules: Vec<&'a Rule>,
}

impl<'a> Clauses<'a> {
    fn reachable(rulebook: &'a Rulebook, from: &PartnerId, now: Timestamp) -> Self {
        let mut seen = BTreeSet::from([from.clone()]);
        let mut waiting = vec![from.clone()];
        let mut rules: BTreeMap<&ClauseRef, &Rule> = BTreeMap::new();
        while let Some(holder) = waiting.pop() {
            for towards in rulebook.recipients(&holder) {
                let live = towards.rules.iter().filter(|rule| !rule.is_over(now));
                let before = rules.len();
                rules.extend(live.clone().map(|rule| (&rule.clause, rule)));
                let passes = live.clone().any(|rule| rule.terms.onward != Onward::None);
                if (passes || rules.len() > before) && seen.insert(towards.recipient.clone()) {
                    waiting.push(towards.recipient.clone());
                }
            }
        }
        Self {
            rules: rules.into_values().collect(),
        }
    }

    /// The combinations of single values that some clause tells apart, the plainest first, each
    /// with a TLP.
    fn cells(&self, question: &Question) -> Vec<(Cell, Tlp)> {
        let one = |value: Option<bool>| value.map_or_else(|| vec![false, true], |one| vec![one]);
        let precedences = self.alike(question.precedence, Precedence::ALL, |rule, one| {
            rule.terms.precedences.contains(one)
        });
        let classes = self.alike(question.class, PartClass::ALL, |rule, class| {
            space::admits_class(&rule.terms, *class)
        });
        let tlps = self.alike(question.tlp, Tlp::ALL, |rule, tlp| {
            *tlp <= rule.terms.tlp_ceiling
        });
        // TLP:RED goes to named partners only.
        let red = question.tlp.is_none().then_some(Tlp::Red);
        let tlps: BTreeSet<Tlp> = tlps.into_iter().chain(red).collect();
        let levels = self.levels(question);
        let mut cells = Vec::new();
        for exercise in one(question.exercise) {
            for orcon in [false, true] {
                for classification in &levels {
                    for tlp in &tlps {
                        for (class, precedence) in classes
                            .iter()
                            .flat_map(|class| precedences.iter().map(move |one| (class, one)))
                        {
                            let cell = Cell {
                                precedence: *precedence,
                                exercise,
                                orcon,
                                class: *class,
                                guise: Guise::Named,
                                classification: classification.clone(),
                            };
                            cells.push((cell, *tlp));
                        }
                    }
                }
            }
        }
        cells
    }

    fn levels(&self, question: &Question) -> Vec<Option<(Classification, Level)>> {
        if let Some(whole) = &question.classification {
            return vec![Some((whole.clone(), whole.level))];
        }
        let mut schemes = BTreeSet::new();
        for rule in &self.rules {
            schemes.extend(space::schemes(&rule.agreement, [rule.terms.as_ref()]));
        }
        self.alike(None, &space::levels(schemes), |rule, level| {
            space::admits_level(&rule.agreement, &rule.terms, level.as_ref())
        })
    }

    /// One value of each group that no clause tells apart, or the one asked for.
    fn alike<T: Clone>(
        &self,
        asked: Option<T>,
        values: &[T],
        admits: impl Fn(&Rule, &T) -> bool,
    ) -> Vec<T> {
        if let Some(asked) = asked {
            return vec![asked];
        }
        let mut known = BTreeSet::new();
        let signature = |value: &T| -> Vec<bool> {
            self.rules.iter().map(|rule| admits(rule, value)).collect()
        };
        values
            .iter()
            .filter(|value| {
                let signature = signature(value);
                signature.contains(&true) && known.insert(signature)
            })
            .cloned()
            .collect()
    }
}

/// What binds whoever holds a bulletin: a clause under which it came, and who must be within it.
type Bonds<'a> = BTreeMap<(AgreementId, &'a str), (&'a Rule, BTreeSet<PartnerId>)>;

/// Somebody who holds a bulletin.
#[derive(Clone, Debug)]
struct Holder<'a> {
    partner: PartnerId,
    point: Point,
    time: Timestamp,
    bonds: Bonds<'a>,
    hops: Vec<Hop>,
    /// How its originator published it, and under whose terms.
    published: Option<(Guise, &'a Rule)>,
}

impl Holder<'_> {
    /// Whether whatever can be done from `other` can be done from here.
    fn dominates(&self, other: &Self) -> bool {
        self.time <= other.time
            && other.point.is_below(&self.point)
            && self.bonds.iter().all(|(clause, (_, within))| {
                let known = other.bonds.get(clause);
                known.is_some_and(|(_, other)| within.is_subset(other))
            })
    }
}

struct Search<'a> {
    rulebook: &'a Rulebook,
    question: &'a Question,
    cell: &'a Cell,
    tlp: Tlp,
    passing: Passing,
    now: Timestamp,
    known: HashMap<PartnerId, Vec<Holder<'a>>>,
    waiting: VecDeque<Holder<'a>>,
}

impl<'a> Search<'a> {
    fn new(
        rulebook: &'a Rulebook,
        question: &'a Question,
        cell: &'a Cell,
        tlp: Tlp,
        passing: Passing,
        now: Timestamp,
    ) -> Self {
        Self {
            rulebook,
            question,
            cell,
            tlp,
            passing,
            now,
            known: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Everything that is asked for, before any clause.
    fn start(&self) -> Holder<'a> {
        let question = self.question;
        let point = Point {
            kinds: match question.kind {
                Some(kind) => BTreeSet::from([kind]),
                None => Kind::ALL.iter().copied().collect(),
            },
            topics: match question.topic {
                Some(topic) => BTreeSet::from([topic]),
                None => Topic::all().collect(),
            },
            regions: match question.region {
                Some(region) => Regions::Within(BTreeSet::from([region])),
                None => Regions::All,
            },
            tlp: self.tlp,
            reliability: None,
            credibility: None,
            // Whether it names others differs from step to step.
            names_recipients: false,
            bears_references: true,
            quota: None,
        };
        Holder {
            partner: question.from.clone(),
            point,
            time: self.now,
            bonds: BTreeMap::new(),
            hops: Vec::new(),
            published: None,
        }
    }

    fn run(mut self) -> Option<Way> {
        self.waiting.push_back(self.start());
        while let Some(holder) = self.waiting.pop_front() {
            for towards in self.rulebook.recipients(&holder.partner) {
                let to = &towards.recipient;
                let last = *to == self.question.to;
                let again =
                    *to == self.question.from || holder.hops.iter().any(|hop| hop.to == *to);
                if again || (!last && self.passing == Passing::Never) {
                    continue;
                }
                for next in self.steps(&holder, towards, last) {
                    if !last {
                        self.add(next);
                    } else if self.may_be_carried(&next) {
                        return self.way(next);
                    }
                }
            }
        }
        None
    }

    fn add(&mut self, holder: Holder<'a>) {
        let known = self.known.entry(holder.partner.clone()).or_default();
        if known.iter().any(|other| other.dominates(&holder)) {
            return;
        }
        known.retain(|other| !holder.dominates(other));
        known.push(holder.clone());
        self.waiting.push_back(holder);
    }

    /// Every way in which a holder can give to a recipient.
    fn steps(&self, holder: &Holder<'a>, towards: &'a Towards, last: bool) -> Vec<Holder<'a>> {
        // The header names who may have it where it was passed on, or is TLP:RED; alone, a
        // recipient is named to itself only.
        let named = !last && (!holder.hops.is_empty() || self.tlp == Tlp::Red);
        let open = |rule: &&'a Rule| {
            !rule.is_over(self.now)
                && self.tlp <= rule.terms.tlp_ceiling
                && !(named && rule.terms.confidential_recipients)
        };
        let rules: Vec<&'a Rule> = towards.rules.iter().filter(open).collect();
        let mut steps = Vec::new();
        for rule in &rules {
            let Some(point) = holder.point.meet(&Point::top(&rule.terms)) else {
                continue;
            };
            // What was asked for is asked for exactly.
            let asked = self.question.region.map(|region| BTreeSet::from([region]));
            if asked.is_some_and(|asked| point.regions != Regions::Within(asked)) {
                continue;
            }
            for (guise, rules) in self.guises(rule, &rules) {
                for time in times(rule, &rules, holder.time) {
                    let next = Holder {
                        partner: towards.recipient.clone(),
                        point: point.clone(),
                        time,
                        bonds: bonds(holder, towards, &rules, time),
                        hops: [
                            holder.hops.as_slice(),
                            &[Hop {
                                from: holder.partner.clone(),
                                to: towards.recipient.clone(),
                                clause: rule.clause.clone(),
                            }],
                        ]
                        .concat(),
                        published: holder.published.or(Some((guise, rule))),
                    };
                    if self.is_free(&next) {
                        steps.push(next);
                    }
                }
            }
        }
        steps
    }

    /// The ways to show oneself under which a clause lets a bulletin pass, each with all clauses that
    /// may then be used, and bind: under a pseudonym only those of its agreement.
    fn guises(&self, rule: &Rule, rules: &[&'a Rule]) -> Vec<(Guise, Vec<&'a Rule>)> {
        let mut all: Vec<(Guise, Vec<&'a Rule>)> = Vec::new();
        for guise in Guise::ALL {
            let cell = Cell {
                guise,
                ..self.cell.clone()
            };
            let admitted = |one: &Rule| {
                (guise == Guise::Named || one.agreement.name == rule.agreement.name)
                    && cell.is_admitted(&one.agreement, &one.terms)
            };
            if !admitted(rule) {
                continue;
            }
            let used: Vec<&'a Rule> = rules.iter().copied().filter(|one| admitted(one)).collect();
            let same = |(_, known): &(Guise, Vec<&'a Rule>)| {
                known.len() == used.len()
                    && known
                        .iter()
                        .zip(&used)
                        .all(|(one, other)| one.clause == other.clause)
            };
            if !all.iter().any(same) {
                all.push((guise, used));
            }
        }
        all
    }

    /// Whether every clause that binds lets the bulletin be where it went.
    fn is_free(&self, holder: &Holder<'_>) -> bool {
        holder.bonds.values().all(|(rule, within)| {
            if within.is_empty() || !holder.point.within(&rule.terms) {
                return true;
            }
            match rule.terms.onward {
                Onward::None => false,
                Onward::OriginatorConsent => self.passing == Passing::WithConsent,
                Onward::WithinAgreement => within
                    .iter()
                    .all(|partner| rule.agreement.is_party(partner)),
            }
        })
    }

    /// Whether every clause that binds lets it be carried where it is asked for.
    fn may_be_carried(&self, holder: &Holder<'_>) -> bool {
        let Some(into) = &self.question.into else {
            return true;
        };
        let mut bonds = holder.bonds.values();
        let binds = |rule: &Rule| holder.point.within(&rule.terms);
        !self.cell.orcon
            && bonds.all(|(rule, _)| !binds(rule) || rule.terms.federation.contains(into))
    }

    /// `None` where nothing was published at all.
    fn way(&self, mut holder: Holder<'_>) -> Option<Way> {
        let (guise, rule) = holder.published?;
        if holder.hops.len() == 1 && self.question.into.is_none() {
            // What goes further down flows directly, too, and is easier to read. More clauses bind it.
            let point = &mut holder.point;
            point.kinds = point.kinds.iter().take(1).copied().collect();
            point.topics = point.topics.iter().take(1).copied().collect();
        }
        let others: BTreeSet<PartnerId> = holder.hops.iter().map(|hop| hop.to.clone()).collect();
        let first = holder.hops[0].to.clone();
        let named = (self.tlp == Tlp::Red).then_some(others);
        let consent = holder.bonds.values().any(|(rule, within)| {
            !within.is_empty()
                && rule.terms.onward == Onward::OriginatorConsent
                && holder.point.within(&rule.terms)
        });
        let cell = Cell {
            guise,
            ..self.cell.clone()
        };
        let between = (&self.question.from, &first);
        Some(Way {
            example: space::example(&cell, &holder.point, &rule.agreement, between, named),
            consent,
            hops: holder.hops,
        })
    }
}

/// When a step under a clause may be taken: as soon as it is valid, or when another clause, which
/// would bind, is over.
fn times(rule: &Rule, others: &[&Rule], from: Timestamp) -> BTreeSet<Timestamp> {
    let earliest = from.max(rule.agreement.valid_from);
    let later = others.iter().map(|other| other.agreement.valid_until);
    std::iter::once(earliest)
        .chain(later.filter(|time| *time > earliest))
        .filter(|time| rule.in_force(*time))
        .collect()
}

/// What binds the recipient: what bound the holder, who must now reach as far as the recipient, and
/// every clause that may be used in this step.
fn bonds<'a>(
    holder: &Holder<'a>,
    towards: &'a Towards,
    rules: &[&'a Rule],
    time: Timestamp,
) -> Bonds<'a> {
    let mut bonds = holder.bonds.clone();
    for (_, within) in bonds.values_mut() {
        within.insert(towards.recipient.clone());
    }
    for rule in rules.iter().filter(|rule| rule.in_force(time)) {
        let key = (rule.clause.agreement, rule.clause.clause.as_ref());
        bonds.entry(key).or_insert((rule, BTreeSet::new()));
    }
    bonds
}

/// The chain in one line.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, hop) in self.hops.iter().enumerate() {
            if at == 0 {
                write!(f, "{}", hop.from)?;
            }
            write!(f, " -> {} ({})", hop.to, hop.clause)?;
        }
        if self.consent {
            f.write_str(", with the originator's consent")?;
        }
        Ok(())
    }
}
