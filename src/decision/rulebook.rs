//! The agreements in force, compiled so that a decision costs what its recipients cost, and not
//! what all agreements cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::outcome::Release;
use crate::agreement::{
    Agreement, AgreementId, Clause, ClauseName, ClauseRef, Onward, RatifiedAgreement, References,
    Regions, Topics,
};
use crate::bulletin::{Labels, PartClass, Shown, Tlp, Topic};
use crate::clock::Timestamp;
use crate::partner::{PartnerId, Standing};

/// A clause of an agreement in force, as a decision reads it: what is a set of labels is a set of
/// bits.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) clause: ClauseRef,
    pub(super) terms: Arc<Clause>,
    pub(super) agreement: Arc<Agreement>,
    kinds: u32,
    precedences: u32,
    topics: u64,
    withheld: u32,
    tlp_ceiling: Tlp,
    exercise_only: bool,
    /// What is asked of every clause that is used stands here, too: its terms are memory of their own,
    /// which a decision among very many agreements would have to wait for.
    pub(super) onward: Onward,
    pub(super) holds: bool,
    pub(super) refuses_references: bool,
    pub(super) shows_name: bool,
    /// It has terms beyond kinds, topics, precedence, TLP and exercise.
    further_terms: bool,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

impl Rule {
    fn new(clause: ClauseRef, terms: &Arc<Clause>, agreement: &Arc<Agreement>) -> Self {
        let topics = match &terms.topics {
            Topics::All => u64::MAX,
            under @ Topics::Under(_) => Topic::all()
                .filter(|topic| under.cover(*topic))
                .fold(0, |bits, topic| bits | topic.bit()),
        };
        let further_terms = terms.regions != Regions::All
            || terms.onward == Onward::WithinAgreement
            || terms.least_reliability.is_some()
            || terms.least_credibility.is_some()
            || terms.confidential_recipients
            || terms.originator != Shown::Named
            || terms.quota.is_some();
        // Only the broker sees the audience; the identity is seen under clauses that name it, which
        // let nothing pass to whom the originator does not show itself.
        let hidden = match terms.originator {
            Shown::Named => PartClass::Audience.bit(),
            _ => PartClass::Audience.bit() | PartClass::Identity.bit(),
        };
        Self {
            tlp_ceiling: terms.tlp_ceiling,
            exercise_only: terms.exercise_only,
            onward: terms.onward,
            holds: terms.hold.is_some(),
            refuses_references: terms.references == References::Refuse,
            shows_name: terms.originator == Shown::Named,
            further_terms,
            valid_from: agreement.valid_from,
            valid_until: agreement.valid_until,
            clause,
            terms: Arc::clone(terms),
            agreement: Arc::clone(agreement),
            kinds: terms.kinds.iter().fold(0, |bits, kind| bits | kind.bit()),
            topics,
            precedences: terms
                .precedences
                .iter()
                .fold(0, |bits, one| bits | one.bit()),
            withheld: terms
                .withhold
                .iter()
                .fold(hidden, |bits, class| bits | class.bit()),
        }
    }

    pub(super) fn covers_kinds(&self, asked: &Asked<'_>) -> bool {
        asked.kinds & !self.kinds == 0
    }

    pub(super) fn covers_topics(&self, asked: &Asked<'_>) -> bool {
        asked.topics & !self.topics == 0
    }

    pub(super) fn covers_precedence(&self, asked: &Asked<'_>) -> bool {
        asked.precedence & self.precedences != 0
    }

    pub(super) fn withholds(&self, class: PartClass) -> bool {
        self.withheld & class.bit() != 0
    }

    pub(super) fn in_force(&self, at: Timestamp) -> bool {
        self.valid_from <= at && at < self.valid_until
    }

    /// Whether it can never again be in force.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.valid_until <= now
    }

    /// Whether these few comparisons already say that it allows a bulletin or does not; `None`:
    /// every term must be looked at.
    pub(super) fn at_a_glance(&self, asked: &Asked<'_>) -> Option<bool> {
        let within = asked.kinds & !self.kinds == 0
            && asked.topics & !self.topics == 0
            && asked.precedence & self.precedences != 0
            && asked.labels.tlp <= self.tlp_ceiling
            && (asked.labels.exercise || !self.exercise_only)
            && self.in_force(asked.at);
        if !within {
            return Some(false);
        }
        let plain = asked.labels.classification.is_none() && asked.labels.disguise.is_none();
        (!self.further_terms && plain).then_some(true)
    }
}

/// A bulletin's labels, prepared once for all recipients.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) labels: &'a Labels,
    pub(super) at: Timestamp,
    kinds: u32,
    topics: u64,
    precedence: u32,
}

impl<'a> Asked<'a> {
    pub(super) fn new(labels: &'a Labels, at: Timestamp) -> Self {
        Self {
            labels,
            at,
            kinds: labels.kinds.iter().fold(0, |bits, kind| bits | kind.bit()),
            topics: labels
                .topics
                .iter()
                .fold(0, |bits, topic| bits | topic.bit()),
            precedence: labels.precedence.bit(),
        }
    }
}

/// The rules from one originator to one recipient, by clause.
#[derive(Clone, Debug)]
pub(super) struct Towards {
    pub(super) recipient: PartnerId,
    pub(super) active: bool,
    pub(super) rules: Vec<Rule>,
}

/// The agreements in force and the partners' standing.
#[derive(Clone, Debug, Default)]
pub struct Rulebook {
    agreements: BTreeMap<AgreementId, Arc<Agreement>>,
    /// By originator; each list by recipient.
    rules: HashMap<PartnerId, Vec<Towards>>,
    /// For each partner, who may share with it.
    givers: HashMap<PartnerId, Vec<PartnerId>>,
    standing: HashMap<PartnerId, Standing>,
}

impl Rulebook {
    /// No agreement, and no partner.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an agreement in force.
    pub fn insert(&mut self, ratified: &RatifiedAgreement) {
        self.insert_terms(ratified.id(), ratified.agreement());
    }

    /// Puts terms in force whose ratification nobody checks: for previews and simulations.
    pub fn insert_terms(&mut self, id: AgreementId, agreement: &Arc<Agreement>) {
        if self.agreements.insert(id, Arc::clone(agreement)).is_some() {
            return;
        }
        for terms in &agreement.clauses {
            let terms = Arc::new(terms.clone());
            let clause = ClauseRef::new(ClauseName {
                agreement: id,
                name: Arc::clone(&agreement.name),
                version: agreement.version,
                clause: Arc::clone(&terms.id),
            });
            self.index(agreement, &Rule::new(clause, &terms, agreement));
        }
    }

    fn index(&mut self, agreement: &Agreement, rule: &Rule) {
        let parties = || agreement.parties.iter().map(|party| &party.partner);
        for from in parties().filter(|party| rule.terms.from.contains(party)) {
            for to in parties().filter(|party| rule.terms.to.contains(party) && *party != from) {
                let rules = &mut self.towards(from, to).rules;
                let at = rules.partition_point(|other| other.clause < rule.clause);
                rules.insert(at, rule.clone());
            }
        }
    }

    fn towards(&mut self, from: &PartnerId, to: &PartnerId) -> &mut Towards {
        let active = self.is_active(to);
        let recipients = self.rules.entry(from.clone()).or_default();
        let at = recipients.partition_point(|other| other.recipient < *to);
        if recipients
            .get(at)
            .is_none_or(|found| found.recipient != *to)
        {
            recipients.insert(
                at,
                Towards {
                    recipient: to.clone(),
                    active,
                    rules: Vec::new(),
                },
            );
            self.givers
                .entry(to.clone())
                .or_default()
                .push(from.clone());
        }
        &mut recipients[at]
    }

    /// Ends an agreement.
    pub fn remove(&mut self, id: &AgreementId) {
        let Some(agreement) = self.agreements.remove(id) else {
            return;
        };
        for party in &agreement.parties {
            let from = &party.partner;
            let Some(recipients) = self.rules.get_mut(from) else {
                continue;
            };
            recipients.retain_mut(|towards| {
                towards.rules.retain(|rule| rule.clause.agreement != *id);
                let left = !towards.rules.is_empty();
                if !left && let Some(givers) = self.givers.get_mut(&towards.recipient) {
                    givers.retain(|giver| giver != from);
                }
                left
            });
        }
    }

    /// A partner's standing from now on. One that was never set is not active.
    pub fn set_standing(&mut self, partner: PartnerId, standing: Standing) {
        for giver in self.givers.get(&partner).into_iter().flatten() {
            let recipients = self.rules.get_mut(giver).into_iter().flatten();
            for towards in recipients.filter(|towards| towards.recipient == partner) {
                towards.active = standing == Standing::Active;
            }
        }
        self.standing.insert(partner, standing);
    }

    /// Whether a partner may give and receive.
    pub fn is_active(&self, partner: &PartnerId) -> bool {
        self.standing.get(partner) == Some(&Standing::Active)
    }

    /// Whether anything is known of a partner.
    pub fn knows(&self, partner: &PartnerId) -> bool {
        self.standing.contains_key(partner)
    }

    /// The agreements in force.
    pub fn agreements(&self) -> &BTreeMap<AgreementId, Arc<Agreement>> {
        &self.agreements
    }

    /// Every partner that some clause lets this one share with, in order.
    pub(super) fn recipients(&self, originator: &PartnerId) -> &[Towards] {
        self.rules.get(originator).map_or(&[], Vec::as_slice)
    }

    /// Whether a clause of a release has a quota.
    pub fn has_quota(&self, originator: &PartnerId, release: &Release) -> bool {
        let towards = self.between(originator, &release.recipient);
        towards.is_some_and(|towards| {
            towards
                .rules
                .iter()
                .any(|rule| rule.terms.quota.is_some() && release.clauses.contains(&rule.clause))
        })
    }

    /// The clauses under which one may share with the other.
    pub(super) fn between(
        &self,
        originator: &PartnerId,
        recipient: &PartnerId,
    ) -> Option<&Towards> {
        let recipients = self.recipients(originator);
        let at = recipients.binary_search_by(|one| one.recipient.cmp(recipient));
        at.ok().map(|at| &recipients[at])
    }
}
