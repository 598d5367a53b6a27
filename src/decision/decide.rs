//! The decision procedure, version 1 of the rules.

use std::fmt;

use super::outcome::{ClauseMiss, Decision, Reason, Refusal, Release};
use super::rulebook::{Rule, Rulebook};
use crate::agreement::{Clause, ClauseRef, Onward};
use crate::bulletin::{Caveat, Classification, Labels, Level, PartClass, PartLabels, Tlp};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// Decides for every partner that a clause in force could reach.
pub fn decide(
    rulebook: &Rulebook,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    for recipient in rulebook.recipients(&labels.originator) {
        match decide_for(rulebook, labels, parts, at, recipient) {
            Ok(release) => decision.releases.push(release),
            Err(refusal) => decision.refusals.push(refusal),
        }
    }
    decision
}

/// Decides for one partner.
pub fn decide_for(
    rulebook: &Rulebook,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
    recipient: &PartnerId,
) -> Result<Release, Refusal> {
    let refuse = |reason| Refusal {
        recipient: recipient.clone(),
        reason,
    };
    check_labels(rulebook, labels, at, recipient).map_err(refuse)?;
    let rules = rulebook.between(&labels.originator, recipient);
    let allowing: Vec<&Rule> = rules
        .iter()
        .filter(|rule| check_clause(rule, labels, at).is_ok())
        .collect();
    if allowing.is_empty() {
        return Err(refuse(no_clause(rules, labels, at)));
    }
    let passes = |part: &PartLabels, rule: &Rule| check_part(*part, &rule.terms, labels).is_ok();
    let mut withheld = Vec::new();
    for (index, part) in (0u32..).zip(parts) {
        if !allowing.iter().any(|rule| passes(part, rule)) {
            withheld.push(index);
        }
    }
    // A clause through which nothing flows is not one under which anything is shared.
    let used = allowing
        .iter()
        .filter(|rule| parts.iter().any(|part| passes(part, rule)));
    let mut clauses: Vec<ClauseRef> = Vec::new();
    let mut onward = Onward::WithinAgreement;
    for rule in used {
        clauses.push(rule.clause.clone());
        onward = onward.min(rule.terms.onward);
    }
    if clauses.is_empty() {
        let allowing = allowing.iter().map(|rule| rule.clause.clone()).collect();
        return Err(refuse(Reason::NothingLeft(allowing)));
    }
    Ok(Release {
        recipient: recipient.clone(),
        clauses,
        withheld,
        onward,
    })
}

fn no_clause(rules: &[Rule], labels: &Labels, at: Timestamp) -> Reason {
    if rules.is_empty() {
        return Reason::NoAgreement;
    }
    let misses = rules.iter().filter_map(|rule| {
        check_clause(rule, labels, at)
            .err()
            .map(|miss| (rule.clause.clone(), miss))
    });
    Reason::NoClause(misses.collect())
}

/// What the partners' standing and the bulletin's own labels say. They can only narrow.
fn check_labels(
    rulebook: &Rulebook,
    labels: &Labels,
    at: Timestamp,
    recipient: &PartnerId,
) -> Result<(), Reason> {
    if *recipient == labels.originator {
        return Err(Reason::OwnBulletin);
    }
    if !rulebook.is_active(&labels.originator) {
        return Err(Reason::OriginatorNotActive);
    }
    if !rulebook.is_active(recipient) {
        return Err(Reason::RecipientNotActive);
    }
    if at < labels.valid_from {
        return Err(Reason::NotYetValid(labels.valid_from));
    }
    if at >= labels.valid_until {
        return Err(Reason::Expired(labels.valid_until));
    }
    if labels.kinds.is_empty() || labels.topics.is_empty() {
        return Err(Reason::NoSubject);
    }
    match &labels.releasable_to {
        Some(named) if named.contains(recipient) => Ok(()),
        Some(_) => Err(Reason::NotReleasable),
        None if labels.tlp == Tlp::Red => Err(Reason::RedNotNamed),
        None if labels.caveats.contains(&Caveat::Limdis) => Err(Reason::LimdisNotNamed),
        None => Ok(()),
    }
}

/// Whether a clause allows a bulletin; who gives and who receives is in the rulebook's index.
fn check_clause(rule: &Rule, labels: &Labels, at: Timestamp) -> Result<(), ClauseMiss> {
    let terms = &rule.terms;
    if at < rule.valid_from || at >= rule.valid_until {
        return Err(ClauseMiss::Validity {
            from: rule.valid_from,
            until: rule.valid_until,
        });
    }
    if terms.exercise_only && !labels.exercise {
        return Err(ClauseMiss::ExerciseOnly);
    }
    if let Some(kind) = labels.kinds.iter().find(|kind| !terms.kinds.contains(kind)) {
        return Err(ClauseMiss::Kind(*kind));
    }
    if let Some(topic) = labels
        .topics
        .iter()
        .find(|topic| !terms.topics.cover(**topic))
    {
        return Err(ClauseMiss::Topic(*topic));
    }
    check_regions(terms, labels)?;
    if labels.tlp > terms.tlp_ceiling {
        return Err(ClauseMiss::Tlp {
            tlp: labels.tlp,
            ceiling: terms.tlp_ceiling,
        });
    }
    if let Some(whole) = &labels.classification
        && !within_ceiling(
            &whole.policy,
            whole.level,
            terms.classification_ceiling.as_ref(),
        )
    {
        let (classification, ceiling) = (whole.clone(), terms.classification_ceiling.clone());
        return Err(ClauseMiss::Classification {
            classification,
            ceiling,
        });
    }
    if !terms.precedences.contains(&labels.precedence) {
        return Err(ClauseMiss::Precedence(labels.precedence));
    }
    if labels.caveats.contains(&Caveat::Orcon) && terms.onward == Onward::WithinAgreement {
        return Err(ClauseMiss::Caveat(Caveat::Orcon));
    }
    Ok(())
}

fn check_regions(terms: &Clause, labels: &Labels) -> Result<(), ClauseMiss> {
    use crate::agreement::Regions;
    if let Some(region) = labels
        .regions
        .iter()
        .find(|region| !terms.regions.cover(**region))
    {
        return Err(ClauseMiss::Region(*region));
    }
    if labels.regions.is_empty() && terms.regions != Regions::All {
        return Err(ClauseMiss::NoRegion);
    }
    Ok(())
}

/// Unclassified is within every ceiling; a level is within a ceiling of its own policy only.
fn within_ceiling(policy: &str, level: Level, ceiling: Option<&Classification>) -> bool {
    level == Level::Unclassified
        || ceiling.is_some_and(|ceiling| ceiling.policy == policy && level <= ceiling.level)
}

/// Why a part does not flow under a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartMiss {
    UnknownClass,
    BrokerOnly,
    Withheld(PartClass),
    Tlp(Tlp),
    RedNotNamed,
    Level(Level),
}

/// Whether a part flows under a clause that allows its bulletin.
fn check_part(part: PartLabels, terms: &Clause, labels: &Labels) -> Result<(), PartMiss> {
    let class = part.class.ok_or(PartMiss::UnknownClass)?;
    if class == PartClass::Audience {
        return Err(PartMiss::BrokerOnly);
    }
    if terms.withhold.contains(&class) {
        return Err(PartMiss::Withheld(class));
    }
    if let Some(tlp) = part.marking.tlp {
        if tlp > terms.tlp_ceiling {
            return Err(PartMiss::Tlp(tlp));
        }
        // Releasable-to was checked to name the recipient wherever it is there at all.
        if tlp == Tlp::Red && labels.releasable_to.is_none() {
            return Err(PartMiss::RedNotNamed);
        }
    }
    if let Some(level) = part.marking.level {
        let policy = labels
            .classification
            .as_ref()
            .map(|whole| whole.policy.as_str());
        let ceiling = terms.classification_ceiling.as_ref();
        let within = level == Level::Unclassified
            || policy.is_some_and(|policy| within_ceiling(policy, level, ceiling));
        if !within {
            return Err(PartMiss::Level(level));
        }
    }
    Ok(())
}

impl fmt::Display for PartMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownClass => f.write_str("its class is unknown to this version"),
            Self::BrokerOnly => f.write_str("only the broker sees it"),
            Self::Withheld(class) => write!(f, "the clause withholds {class}"),
            Self::Tlp(tlp) => write!(f, "its own {tlp} exceeds the ceiling"),
            Self::RedNotNamed => f.write_str("its own TLP:RED needs releasable-to"),
            Self::Level(level) => write!(f, "its own {level} exceeds the ceiling"),
        }
    }
}

/// A decision for one partner with every reason, for people.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the decision is: exactly what [`decide_for`] says.
    pub decision: Result<Release, Refusal>,
    /// For each clause between the two, why it does not allow the bulletin, or for each part why it
    /// does not flow under it.
    pub clauses: Vec<ClauseExplanation>,
}

/// One clause of an [`Explanation`].
#[derive(Clone, Debug)]
pub struct ClauseExplanation {
    /// Which.
    pub clause: ClauseRef,
    /// The first term not met; `None` where the clause allows the bulletin.
    pub miss: Option<ClauseMiss>,
    /// Parts that do not flow under it, with the reason.
    pub withheld: Vec<(u32, String)>,
}

/// Explains a decision: the same checks, keeping every reason.
pub fn explain(
    rulebook: &Rulebook,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
    recipient: &PartnerId,
) -> Explanation {
    let clauses = rulebook
        .between(&labels.originator, recipient)
        .iter()
        .map(|rule| {
            let miss = check_clause(rule, labels, at).err();
            let reasons = (0u32..).zip(parts).filter_map(|(index, part)| {
                let miss = check_part(*part, &rule.terms, labels).err()?;
                Some((index, miss.to_string()))
            });
            let withheld = if miss.is_none() {
                reasons.collect()
            } else {
                Vec::new()
            };
            ClauseExplanation {
                clause: rule.clause.clone(),
                miss,
                withheld,
            }
        });
    Explanation {
        clauses: clauses.collect(),
        decision: decide_for(rulebook, labels, parts, at, recipient),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Ok(release) => {
                let clauses: Vec<_> = release.clauses.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "{}: released under {}",
                    release.recipient,
                    clauses.join(", ")
                )?;
            }
            Err(refusal) => write!(f, "{}: refused: {}", refusal.recipient, refusal.reason)?,
        }
        for one in &self.clauses {
            match &one.miss {
                Some(miss) => write!(f, "\n  {}: no: {miss}", one.clause)?,
                None => write!(f, "\n  {}: yes", one.clause)?,
            }
            for (index, reason) in &one.withheld {
                write!(f, "\n    part {index} withheld: {reason}")?;
            }
        }
        Ok(())
    }
}
