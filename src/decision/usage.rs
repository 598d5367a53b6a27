//! What of the clauses' quotas is used up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outcome::Release;
use super::rulebook::{Rule, Rulebook};
use crate::agreement::{AgreementId, ClauseRef, Quota};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// How many bulletins went from one partner to another under a clause in its present period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Periods since the agreement's `valid_from`.
    pub period: u64,
    /// Bulletins in that period.
    pub bulletins: u32,
}

/// Whose share of which clause: agreement, clause, originator, recipient.
pub type Share = (AgreementId, Arc<str>, PartnerId, PartnerId);

/// The use of all quotas. Only clauses with a quota are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    spent: BTreeMap<Share, Spent>,
}

impl Usage {
    /// Nothing used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a release under every clause that has a quota. The rulebook is the one that the
    /// release was decided upon.
    pub fn count(
        &mut self,
        rulebook: &Rulebook,
        originator: &PartnerId,
        release: &Release,
        at: Timestamp,
    ) {
        let recipient = &release.recipient;
        let Some(towards) = rulebook.between(originator, recipient) else {
            return;
        };
        for rule in &towards.rules {
            let (Some(quota), true) = (rule.terms.quota, release.clauses.contains(&rule.clause))
            else {
                continue;
            };
            let period = period(rule, quota, at);
            let share = share(&rule.clause, originator, recipient);
            let spent = self.spent.entry(share).or_insert(Spent {
                period,
                bulletins: 0,
            });
            if spent.period != period {
                *spent = Spent {
                    period,
                    bulletins: 0,
                };
            }
            spent.bulletins = spent.bulletins.saturating_add(1);
        }
    }

    /// Whether a clause's quota has room for one more.
    pub(super) fn has_room(
        &self,
        rule: &Rule,
        originator: &PartnerId,
        recipient: &PartnerId,
        at: Timestamp,
    ) -> bool {
        let Some(quota) = rule.terms.quota else {
            return true;
        };
        let spent = self.spent.get(&share(&rule.clause, originator, recipient));
        spent.is_none_or(|spent| {
            spent.period != period(rule, quota, at) || spent.bulletins < quota.bulletins
        })
    }

    /// Forgets what was counted under an agreement that ended.
    pub fn forget(&mut self, agreement: &AgreementId) {
        self.spent.retain(|(of, ..), _| of != agreement);
    }

    /// All shares, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Share, &Spent)> {
        self.spent.iter()
    }

    /// Puts back what [`Usage::iter`] gave.
    pub fn restore(&mut self, share: Share, spent: Spent) {
        self.spent.insert(share, spent);
    }
}

fn share(clause: &ClauseRef, originator: &PartnerId, recipient: &PartnerId) -> Share {
    let (originator, recipient) = (originator.clone(), recipient.clone());
    let name = Arc::clone(&clause.clause);
    (clause.agreement, name, originator, recipient)
}

fn period(rule: &Rule, quota: Quota, at: Timestamp) -> u64 {
    let elapsed = at.since(rule.agreement.valid_from).as_secs();
    elapsed / quota.period.as_secs().max(1)
}
