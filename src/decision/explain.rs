//! A decision with every reason, for people: the same checks, none left out.

use std::fmt;

use super::decide::{all_misses, bearing, check_part, decide_for};
use super::outcome::{ClauseMiss, PartMiss, Refusal, Release};
use super::rulebook::{Asked, Rulebook};
use super::usage::Usage;
use crate::agreement::ClauseRef;
use crate::bulletin::{Labels, PartLabels};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// A decision for one partner with every reason.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the decision is: exactly what [`decide_for`] says.
    pub decision: Result<Release, Refusal>,
    /// Every clause between the two.
    pub clauses: Vec<ClauseExplanation>,
}

/// One clause of an [`Explanation`].
#[derive(Clone, Debug)]
pub struct ClauseExplanation {
    /// Which.
    pub clause: ClauseRef,
    /// Every term that is not met; none where the clause allows the bulletin.
    pub misses: Vec<ClauseMiss>,
    /// Parts that do not flow under it, with the reason.
    pub withheld: Vec<(u32, PartMiss)>,
}

/// Explains a decision.
pub fn explain(
    rulebook: &Rulebook,
    usage: Option<&Usage>,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
    recipient: &PartnerId,
) -> Explanation {
    let asked = Asked::new(labels, at);
    let towards = rulebook.between(&labels.originator, recipient);
    let rules = towards.map_or(&[][..], |towards| &towards.rules);
    let bearing = towards.map_or_else(Vec::new, |towards| bearing(&asked, parts, towards, usage));
    let decision = decide_for(rulebook, usage, labels, parts, at, recipient);
    let clauses = rules.iter().map(|rule| {
        let mut misses = all_misses(rule, &asked, recipient, usage);
        if misses.is_empty() && !bearing.iter().any(|one| one.clause == rule.clause) {
            misses.push(ClauseMiss::TellingReference);
        }
        let mut withheld = Vec::new();
        if misses.is_empty() {
            for (index, part) in (0u32..).zip(parts) {
                let miss = check_part(part, rule, &asked).err();
                withheld.extend(miss.map(|miss| (index, miss)));
            }
        }
        ClauseExplanation {
            clause: rule.clause.clone(),
            misses,
            withheld,
        }
    });
    let mut clauses: Vec<_> = clauses.collect();
    if let Ok(release) = &decision {
        explain_mentions(&mut clauses, release, parts);
    }
    Explanation { decision, clauses }
}

/// Parts that would flow, were it not for what they name.
fn explain_mentions(clauses: &mut [ClauseExplanation], release: &Release, parts: &[PartLabels]) {
    for index in &release.withheld {
        let part = usize::try_from(*index).ok().and_then(|at| parts.get(at));
        let named = part.and_then(|part| {
            let hidden = |name: &&u32| release.withheld.binary_search(name).is_ok();
            part.mentions.iter().find(hidden)
        });
        let Some(named) = named else { continue };
        for clause in clauses.iter_mut().filter(|one| one.misses.is_empty()) {
            let at = clause.withheld.partition_point(|(other, _)| other < index);
            if clause
                .withheld
                .get(at)
                .is_none_or(|(other, _)| other != index)
            {
                clause
                    .withheld
                    .insert(at, (*index, PartMiss::Names(*named)));
            }
        }
    }
}

impl Explanation {
    /// Of the clauses that do not allow it, the one of which it misses the fewest terms.
    pub fn nearest(&self) -> Option<&ClauseExplanation> {
        self.clauses
            .iter()
            .filter(|clause| !clause.misses.is_empty())
            .min_by_key(|clause| clause.misses.len())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Ok(release) => {
                let clauses: Vec<_> = release.clauses.iter().map(ToString::to_string).collect();
                let clauses = clauses.join(", ");
                write!(f, "{}: released under {clauses}", release.recipient)?;
            }
            Err(refusal) => {
                let code = refusal.reason.sentence();
                write!(f, "{}: refused: {code}", refusal.recipient)?;
            }
        }
        for one in &self.clauses {
            if one.misses.is_empty() {
                write!(f, "\n  {}: yes", one.clause)?;
            } else {
                let misses: Vec<_> = one.misses.iter().map(ToString::to_string).collect();
                write!(f, "\n  {}: no: {}", one.clause, misses.join("; "))?;
            }
            for (index, miss) in &one.withheld {
                write!(f, "\n    part {index} withheld: {miss}")?;
            }
        }
        if let (Err(_), Some(nearest)) = (&self.decision, self.nearest()) {
            let misses: Vec<_> = nearest.misses.iter().map(ToString::to_string).collect();
            let misses = misses.join("; ");
            write!(
                f,
                "\n  nearest: {}, were it not that {misses}",
                nearest.clause
            )?;
        }
        Ok(())
    }
}
