//! The agreements in force, compiled so that a decision costs what its recipients cost, and not
//! what all agreements cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::agreement::{Agreement, AgreementId, Clause, ClauseRef, RatifiedAgreement};
use crate::clock::Timestamp;
use crate::partner::{PartnerId, Standing};

/// A clause of an agreement in force, as a decision reads it.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) clause: ClauseRef,
    pub(super) terms: Arc<Clause>,
    pub(super) valid_from: Timestamp,
    pub(super) valid_until: Timestamp,
}

/// The rules between one originator and its recipients, by recipient; each list by clause.
type FromOne = BTreeMap<PartnerId, Vec<Rule>>;

/// The agreements in force and the partners' standing.
#[derive(Clone, Debug, Default)]
pub struct Rulebook {
    agreements: BTreeMap<AgreementId, Arc<Agreement>>,
    rules: HashMap<PartnerId, FromOne>,
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
            let rule = Rule {
                clause: ClauseRef {
                    agreement: id,
                    name: Arc::clone(&agreement.name),
                    version: agreement.version,
                    clause: Arc::clone(&terms.id),
                },
                terms,
                valid_from: agreement.valid_from,
                valid_until: agreement.valid_until,
            };
            self.index(agreement, &rule);
        }
    }

    fn index(&mut self, agreement: &Agreement, rule: &Rule) {
        let parties = || agreement.parties.iter().map(|party| &party.partner);
        for from in parties().filter(|party| rule.terms.from.contains(party)) {
            let recipients = self.rules.entry(from.clone()).or_default();
            for to in parties().filter(|party| rule.terms.to.contains(party) && *party != from) {
                let rules = recipients.entry(to.clone()).or_default();
                let at = rules.partition_point(|other| other.clause < rule.clause);
                rules.insert(at, rule.clone());
            }
        }
    }

    /// Ends an agreement.
    pub fn remove(&mut self, id: &AgreementId) {
        let Some(agreement) = self.agreements.remove(id) else {
            return;
        };
        for party in &agreement.parties {
            let Some(recipients) = self.rules.get_mut(&party.partner) else {
                continue;
            };
            for rules in recipients.values_mut() {
                rules.retain(|rule| rule.clause.agreement != *id);
            }
            recipients.retain(|_, rules| !rules.is_empty());
        }
    }

    /// A partner's standing from now on. One that was never set is not active.
    pub fn set_standing(&mut self, partner: PartnerId, standing: Standing) {
        self.standing.insert(partner, standing);
    }

    /// Whether a partner may give and receive.
    pub fn is_active(&self, partner: &PartnerId) -> bool {
        self.standing.get(partner) == Some(&Standing::Active)
    }

    /// The agreements in force.
    pub fn agreements(&self) -> &BTreeMap<AgreementId, Arc<Agreement>> {
        &self.agreements
    }

    /// Every partner that some clause lets this one share with, in order.
    pub(super) fn recipients(&self, originator: &PartnerId) -> impl Iterator<Item = &PartnerId> {
        self.rules
            .get(originator)
            .into_iter()
            .flat_map(BTreeMap::keys)
    }

    /// The clauses under which one may share with the other.
    pub(super) fn between(&self, originator: &PartnerId, recipient: &PartnerId) -> &[Rule] {
        self.rules
            .get(originator)
            .and_then(|recipients| recipients.get(recipient))
            .map_or(&[], Vec::as_slice)
    }
}
