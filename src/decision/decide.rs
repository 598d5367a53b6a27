//! The decision procedure. Versions of the rules differ in what is looked for in a bulletin, not in
//! how it is decided: under version 1 no part names another.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::outcome::{ClauseMiss, Clauses, PartMiss, Reason, Refusal, Release, Withheld};
use super::rulebook::{Asked, Rule, Rulebook, Towards};
use super::usage::Usage;
use crate::agreement::{Onward, Regions};
use crate::bulletin::{Caveat, Labels, PartClass, PartLabels, Shown, Tlp};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// Decides for every partner that a clause in force could reach; the releases are by recipient.
/// Everybody else is refused, and [`super::explain`] says why.
pub fn decide(
    rulebook: &Rulebook,
    usage: &Usage,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
) -> Vec<Release> {
    let originator = &labels.originator;
    let mut releases = Vec::new();
    let asked = Asked::new(labels, at);
    if !rulebook.is_active(originator) || check_bulletin(labels, at).is_err() {
        return releases;
    }
    let recipients = rulebook.recipients(originator);
    releases.reserve(recipients.len());
    let mut allowing = Vec::new();
    for towards in recipients {
        if towards.active && check_audience(labels, &towards.recipient).is_ok() {
            releases.extend(release(&asked, parts, towards, Some(usage), &mut allowing).ok());
        }
    }
    releases
}

/// Decides for one partner. Without `usage` no quota counts: for a bulletin that had its share
/// when it was accepted.
pub fn decide_for(
    rulebook: &Rulebook,
    usage: Option<&Usage>,
    labels: &Labels,
    parts: &[PartLabels],
    at: Timestamp,
    recipient: &PartnerId,
) -> Result<Release, Refusal> {
    let refuse = |reason| Refusal {
        recipient: recipient.clone(),
        reason,
    };
    let originator = &labels.originator;
    if recipient == originator {
        return Err(refuse(Reason::OwnBulletin));
    }
    if !rulebook.is_active(originator) {
        return Err(refuse(Reason::OriginatorNotActive));
    }
    if !rulebook.is_active(recipient) {
        return Err(refuse(Reason::RecipientNotActive));
    }
    check_bulletin(labels, at).map_err(refuse)?;
    check_audience(labels, recipient).map_err(refuse)?;
    let towards = rulebook.between(originator, recipient);
    let towards = towards.ok_or_else(|| refuse(Reason::NoAgreement))?;
    let asked = Asked::new(labels, at);
    release(&asked, parts, towards, usage, &mut Vec::new()).map_err(|reason| {
        refuse(match reason {
            // Only who asks about one partner wants to know all this.
            Reason::NoClause(_) => no_clause(&asked, towards, usage),
            other => other,
        })
    })
}

/// What the bulletin's own labels say to everybody.
fn check_bulletin(labels: &Labels, at: Timestamp) -> Result<(), Reason> {
    if at < labels.valid_from {
        return Err(Reason::NotYetValid(labels.valid_from));
    }
    if at >= labels.valid_until {
        return Err(Reason::Expired(labels.valid_until));
    }
    if labels.kinds.is_empty() || labels.topics.is_empty() {
        return Err(Reason::NoSubject);
    }
    Ok(())
}

/// What the bulletin's own labels say to one partner. They can only narrow.
fn check_audience(labels: &Labels, recipient: &PartnerId) -> Result<(), Reason> {
    match &labels.releasable_to {
        Some(named) if named.contains(recipient) => Ok(()),
        Some(_) => Err(Reason::NotReleasable),
        None if labels.tlp == Tlp::Red => Err(Reason::RedNotNamed),
        None if labels.caveats.contains(&Caveat::Limdis) => Err(Reason::LimdisNotNamed),
        None => Ok(()),
    }
}

/// What flows to a recipient whom the labels do not exclude. The memory of `allowing` serves one
/// recipient after another.
fn release<'a>(
    asked: &Asked<'_>,
    parts: &[PartLabels],
    towards: &'a Towards,
    usage: Option<&Usage>,
    allowing: &mut Vec<&'a Rule>,
) -> Result<Release, Reason> {
    let recipient = &towards.recipient;
    let rules = towards.rules.iter();
    allowing.clear();
    allowing.extend(rules.filter(|rule| allows(rule, asked, recipient, usage)));
    if allowing.is_empty() {
        return Err(Reason::NoClause(Vec::new()));
    }
    let withheld = settle(allowing, asked, parts)?;
    // A clause through which nothing flows is not one under which anything is shared; and who says
    // nothing is no bulletin.
    let flows = |rule: &Rule| {
        (0u32..).zip(parts).any(|(index, part)| {
            part.class != Some(PartClass::Identity)
                && !is_among(&withheld, index)
                && passes(part, rule, asked)
        })
    };
    let mut clauses = Clauses::new();
    let mut onward = Onward::WithinAgreement;
    let mut held = false;
    for rule in allowing.iter().filter(|rule| flows(rule)) {
        clauses.push(rule.clause.clone());
        onward = onward.min(rule.onward);
        held |= rule.holds;
    }
    if clauses.is_empty() {
        let allowing = allowing.iter().map(|rule| rule.clause.clone()).collect();
        return Err(Reason::NothingLeft(allowing));
    }
    Ok(Release {
        recipient: recipient.clone(),
        clauses,
        withheld,
        onward,
        held,
    })
}

/// What is withheld under the clauses that are left. One that shows originators by their names is none
/// under which a bulletin without a name goes: where the identity behind a pseudonym is withheld,
/// for whatever reason, it falls away, and what only it let flow is withheld, too.
fn settle(
    allowing: &mut Vec<&Rule>,
    asked: &Asked<'_>,
    parts: &[PartLabels],
) -> Result<Withheld, Reason> {
    let withheld = withhold(allowing, asked, parts)?;
    if asked.labels.disguise.is_none() {
        return Ok(withheld);
    }
    let hidden = withheld.iter().any(|index| {
        let part = usize::try_from(*index).ok().and_then(|at| parts.get(at));
        part.is_some_and(|part| part.class == Some(PartClass::Identity))
    });
    if !hidden || !allowing.iter().any(|rule| rule.shows_name) {
        return Ok(withheld);
    }
    let clauses = allowing.iter().map(|rule| rule.clause.clone()).collect();
    allowing.retain(|rule| !rule.shows_name);
    if allowing.is_empty() {
        return Err(Reason::NothingLeft(clauses));
    }
    withhold(allowing, asked, parts)
}

/// The parts that flow through none of the clauses, and those that name them. Clauses that do not
/// bear such references are left out, and what only they let flow is withheld, too.
fn withhold(
    allowing: &mut Vec<&Rule>,
    asked: &Asked<'_>,
    parts: &[PartLabels],
) -> Result<Withheld, Reason> {
    loop {
        let mut withheld: Withheld = (0u32..)
            .zip(parts)
            .filter(|(_, part)| !allowing.iter().any(|rule| passes(part, rule, asked)))
            .map(|(index, _)| index)
            .collect();
        if withheld.is_empty() {
            return Ok(withheld);
        }
        if !allowing.iter().any(|rule| rule.refuses_references) {
            withhold_mentions(&mut withheld, parts);
            return Ok(withheld);
        }
        let telling: Vec<&PartLabels> = (0u32..)
            .zip(parts)
            .filter(|(index, part)| !is_among(&withheld, *index) && names_one(part, &withheld))
            .map(|(_, part)| part)
            .collect();
        let refusing = |rule: &&Rule| {
            rule.refuses_references && telling.iter().any(|part| passes(part, rule, asked))
        };
        let (refused, bearing): (Vec<&Rule>, Vec<&Rule>) =
            allowing.iter().copied().partition(refusing);
        if refused.is_empty() {
            withhold_mentions(&mut withheld, parts);
            return Ok(withheld);
        }
        if bearing.is_empty() {
            let clauses = refused.iter().map(|rule| rule.clause.clone());
            return Err(Reason::TellingReference(clauses.collect()));
        }
        *allowing = bearing;
    }
}

/// The clauses that allow a bulletin, without those that do not bear its references.
pub(super) fn bearing<'a>(
    asked: &Asked<'_>,
    parts: &[PartLabels],
    towards: &'a Towards,
    usage: Option<&Usage>,
) -> Vec<&'a Rule> {
    let rules = towards.rules.iter();
    let mut allowing: Vec<&Rule> = rules
        .filter(|rule| allows(rule, asked, &towards.recipient, usage))
        .collect();
    match settle(&mut allowing, asked, parts) {
        Ok(_) => allowing,
        Err(_) => Vec::new(),
    }
}

fn names_one(part: &PartLabels, withheld: &[u32]) -> bool {
    part.mentions.iter().any(|name| is_among(withheld, *name))
}

/// Whether an index is in an ascending list.
fn is_among(withheld: &[u32], index: u32) -> bool {
    withheld.binary_search(&index).is_ok()
}

/// Withholds what names something withheld, and what names that, and so on.
pub(crate) fn withhold_mentions(withheld: &mut Withheld, parts: &[PartLabels]) {
    if parts.iter().all(|part| part.mentions.is_empty()) {
        withheld.sort_unstable();
        withheld.dedup();
        return;
    }
    let at = |index: u32| usize::try_from(index).ok().filter(|at| *at < parts.len());
    // Who names each part: a chain of any length is followed in one walk.
    let mut named_by: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    for (own, part) in parts.iter().enumerate() {
        for name in part.mentions.iter().filter_map(|name| at(*name)) {
            named_by[name].push(own);
        }
    }
    let mut hidden = vec![false; parts.len()];
    let mut waiting: Vec<usize> = withheld.iter().filter_map(|index| at(*index)).collect();
    while let Some(next) = waiting.pop() {
        if !std::mem::replace(&mut hidden[next], true) {
            waiting.extend(&named_by[next]);
        }
    }
    let indexes = (0u32..).zip(&hidden).filter(|(_, hidden)| **hidden);
    *withheld = indexes.map(|(index, _)| index).collect();
}

fn no_clause(asked: &Asked<'_>, towards: &Towards, usage: Option<&Usage>) -> Reason {
    let misses = towards.rules.iter().filter_map(|rule| {
        let miss = first_miss(rule, asked, &towards.recipient, usage)?;
        Some((rule.clause.clone(), miss))
    });
    Reason::NoClause(misses.collect())
}

fn allows(rule: &Rule, asked: &Asked<'_>, recipient: &PartnerId, usage: Option<&Usage>) -> bool {
    // The same terms as below, without a look at what most clauses do not have.
    rule.at_a_glance(asked).unwrap_or_else(|| {
        check(rule, asked, recipient, usage, |_| ControlFlow::Break(())).is_continue()
    })
}

fn first_miss(
    rule: &Rule,
    asked: &Asked<'_>,
    recipient: &PartnerId,
    usage: Option<&Usage>,
) -> Option<ClauseMiss> {
    check(rule, asked, recipient, usage, ControlFlow::Break).break_value()
}

/// Every term of a clause that a bulletin does not meet.
pub(super) fn all_misses(
    rule: &Rule,
    asked: &Asked<'_>,
    recipient: &PartnerId,
    usage: Option<&Usage>,
) -> Vec<ClauseMiss> {
    let mut misses = Vec::new();
    let _ = check(rule, asked, recipient, usage, |miss| {
        misses.push(miss);
        ControlFlow::<()>::Continue(())
    });
    misses
}

/// Checks a bulletin against the terms of a clause, until `missed` has heard enough. Who gives and
/// who receives is in the rulebook's index.
fn check<B>(
    rule: &Rule,
    asked: &Asked<'_>,
    recipient: &PartnerId,
    usage: Option<&Usage>,
    mut missed: impl FnMut(ClauseMiss) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let (terms, labels) = (&rule.terms, asked.labels);
    if !rule.in_force(asked.at) {
        missed(ClauseMiss::Validity {
            from: rule.agreement.valid_from,
            until: rule.agreement.valid_until,
        })?;
    }
    if terms.exercise_only && !labels.exercise {
        missed(ClauseMiss::ExerciseOnly)?;
    }
    if !rule.covers_kinds(asked) {
        for kind in labels
            .kinds
            .iter()
            .filter(|kind| !terms.kinds.contains(kind))
        {
            missed(ClauseMiss::Kind(*kind))?;
        }
    }
    if !rule.covers_topics(asked) {
        for topic in labels
            .topics
            .iter()
            .filter(|one| !terms.topics.cover(**one))
        {
            missed(ClauseMiss::Topic(*topic))?;
        }
    }
    if terms.regions != Regions::All {
        for region in labels
            .regions
            .iter()
            .filter(|one| !terms.regions.cover(**one))
        {
            missed(ClauseMiss::Region(*region))?;
        }
        if labels.regions.is_empty() {
            missed(ClauseMiss::NoRegion)?;
        }
    }
    if labels.tlp > terms.tlp_ceiling {
        missed(ClauseMiss::Tlp {
            tlp: labels.tlp,
            ceiling: terms.tlp_ceiling,
        })?;
    }
    let ceiling = terms.classification_ceiling.as_ref();
    if let Some(whole) = &labels.classification
        && !rule.agreement.within(&whole.policy, whole.level, ceiling)
    {
        missed(ClauseMiss::Classification {
            classification: whole.clone(),
            ceiling: ceiling.cloned(),
        })?;
    }
    if !rule.covers_precedence(asked) {
        missed(ClauseMiss::Precedence(labels.precedence))?;
    }
    if terms.onward == Onward::WithinAgreement && labels.caveats.contains(&Caveat::Orcon) {
        missed(ClauseMiss::Caveat(Caveat::Orcon))?;
    }
    check_grades(rule, asked, &mut missed)?;
    // The identity part tells each to whom it is shown who else is.
    let disguise = labels.disguise.as_ref();
    let reveals = terms.originator == Shown::Named
        && disguise.is_some_and(|disguise| disguise.reveal_to.len() > 1);
    if terms.confidential_recipients && (labels.names_recipients || reveals) {
        missed(ClauseMiss::NamesRecipients)?;
    }
    check_originator(rule, asked, recipient, &mut missed)?;
    if let (Some(usage), Some(quota)) = (usage, terms.quota)
        && !usage.has_room(rule, &labels.originator, recipient, asked.at)
    {
        missed(ClauseMiss::Quota(quota.bulletins))?;
    }
    ControlFlow::Continue(())
}

/// What recipients see of the originator is what the clause says: by its name, where it says so,
/// whether that stands in the header or behind a pseudonym; or nothing but the pseudonym.
fn check_originator<B>(
    rule: &Rule,
    asked: &Asked<'_>,
    recipient: &PartnerId,
    missed: &mut impl FnMut(ClauseMiss) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let clause = rule.terms.originator;
    let Some(disguise) = &asked.labels.disguise else {
        if clause != Shown::Named {
            let shown = Shown::Named;
            missed(ClauseMiss::Originator { shown, clause })?;
        }
        return ControlFlow::Continue(());
    };
    if rule.agreement.name != disguise.agreement {
        missed(ClauseMiss::OtherAgreement(Arc::clone(&disguise.agreement)))?;
    }
    let shown = disguise.shown();
    let fits = match clause {
        Shown::Named => disguise.reveal_to.contains(recipient),
        hidden => shown <= hidden,
    };
    if !fits {
        missed(ClauseMiss::Originator { shown, clause })?;
    }
    ControlFlow::Continue(())
}

/// A bulletin that gives no grade is not good enough for a clause that asks for one. The sixth
/// grade says "cannot be judged", and counts as the lowest.
fn check_grades<B>(
    rule: &Rule,
    asked: &Asked<'_>,
    missed: &mut impl FnMut(ClauseMiss) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let admiralty = asked.labels.admiralty;
    let fails = |least: Option<u8>, given: Option<u8>| {
        least.filter(|least| given.is_none_or(|given| given > *least))
    };
    if let Some(least) = fails(rule.terms.least_reliability, admiralty.reliability) {
        missed(ClauseMiss::Reliability {
            given: admiralty.reliability,
            least,
        })?;
    }
    if let Some(least) = fails(rule.terms.least_credibility, admiralty.credibility) {
        missed(ClauseMiss::Credibility {
            given: admiralty.credibility,
            least,
        })?;
    }
    ControlFlow::Continue(())
}

fn passes(part: &PartLabels, rule: &Rule, asked: &Asked<'_>) -> bool {
    check_part(part, rule, asked).is_ok()
}

/// Whether a part flows under a clause that allows its bulletin.
pub(super) fn check_part(
    part: &PartLabels,
    rule: &Rule,
    asked: &Asked<'_>,
) -> Result<(), PartMiss> {
    let (terms, labels) = (&rule.terms, asked.labels);
    let class = part.class.ok_or(PartMiss::UnknownClass)?;
    if rule.withholds(class) {
        return Err(match class {
            PartClass::Audience => PartMiss::BrokerOnly,
            PartClass::Identity => PartMiss::Identity,
            class => PartMiss::Withheld(class),
        });
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
        // Its level is under the header's policy; without one only unclassified has a meaning.
        let policy = labels.classification.as_ref();
        let policy = policy.map_or("", |whole| whole.policy.as_str());
        let ceiling = terms.classification_ceiling.as_ref();
        if !rule.agreement.within(policy, level, ceiling) {
            return Err(PartMiss::Level(level));
        }
    }
    Ok(())
}
