//! Passing on: a partner publishes anew what it received, for partners who did not.
//!
//! Such a bulletin refers to the one that was received, and to all that this one passes on: its
//! ancestors. It repeats parts of the received one, salts included, so their leaves are the same and
//! it can be seen without any body that nothing was changed or added; its labels are the same.
//!
//! Passing on needs what a delivery needs: the release then *and* permission now. Every clause under
//! which an ancestor came to whoever passed it on, then and as of now, binds for as long as the bulletin is on
//! its way ([`Bond`]): it must be in force, `none` forbids, `within-agreement` allows the parties
//! of that agreement, and under `originator-consent` the bulletin is held until the ancestor's originator
//! consents.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::record::{Accepted, Fact, Record};
use super::state::State;
use crate::agreement::{Agreement, AgreementId, Clause, ClauseRef, Obligations, Onward, Purpose};
use crate::bulletin::{BulletinId, Crossing, Labels, PartClass, PartDigest, PartLabels, Refused};
use crate::clock::Timestamp;
use crate::decision::{Release, Usage, decide, decide_for};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// That a recipient gets something passed on only with an originator's consent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// Who would get it.
    pub recipient: PartnerId,
    /// The ancestor about which consent is asked.
    pub about: BulletinId,
    /// Its originator.
    pub by: PartnerId,
}

/// The most recipients that one bulletin names when it passes others on: their names are in every question.
const MAX_RECIPIENTS: usize = 64;

/// A clause that binds what is passed on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bond {
    /// The ancestor that came under it.
    pub about: BulletinId,
    /// The agreement, in the version then in force.
    pub agreement: AgreementId,
    /// The clause's id.
    pub clause: String,
    /// What it said of passing on: the stricter of then and now, and never `none`.
    pub onward: Onward,
    /// When the log took the ancestor: what is to be kept for a time only is kept from then on.
    pub since: Timestamp,
    /// The ancestor's originator, where its header names it: it may have its own back.
    pub except: Option<PartnerId>,
}

/// What is decided about a bulletin that passes others on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOnDecision {
    /// Who gets it; held for those who wait for consent.
    pub releases: Vec<Release>,
    /// Whose consent that is.
    pub awaited: Vec<Awaited>,
    /// The clauses that bind it.
    pub bonds: Vec<Bond>,
}

/// A bulletin that passes others on.
#[derive(Clone, Copy, Debug)]
pub struct PassedOn<'a> {
    /// Its ancestors' ids, in the order of its header.
    pub ancestors: &'a [BulletinId],
    /// Its labels.
    pub labels: &'a Labels,
    /// Its parts.
    pub parts: &'a [PartDigest],
}

/// What recipients of something passed on owe for the clauses under which it came to earlier givers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Its contents are to be deleted at this time.
    pub keep_until: Option<Timestamp>,
    /// What it may be used for; `None`: anything.
    pub purposes: Option<BTreeSet<Purpose>>,
    /// Under which laws or treaties it was given.
    pub legal_bases: Vec<String>,
}

impl Inherited {
    /// What is owed for the clauses under which something came in the ledgers that it was carried from. A
    /// purpose that this version does not know permits nothing.
    pub fn of_crossing(crossing: &Crossing) -> Self {
        let known = |words: &BTreeSet<String>| -> BTreeSet<Purpose> {
            words.iter().filter_map(|one| one.parse().ok()).collect()
        };
        Self {
            keep_until: crossing.keep_until,
            purposes: crossing.purposes.as_ref().map(known),
            legal_bases: crossing.legal_bases.clone(),
        }
    }

    /// Adds what is owed for clauses under which something came at a moment: the stricter counts.
    pub fn join_clauses(&mut self, owed: Obligations, since: Timestamp) {
        self.join(Self {
            keep_until: owed.retention.map(|span| since.saturating_add(span)),
            purposes: owed.purposes,
            legal_bases: owed.legal_bases,
        });
    }

    /// Adds what is owed besides: the stricter counts.
    pub fn join(&mut self, other: Self) {
        let both = [self.keep_until, other.keep_until];
        self.keep_until = both.into_iter().flatten().min();
        self.purposes = match (self.purposes.take(), other.purposes) {
            (Some(one), Some(other)) => Some(&one & &other),
            (one, other) => one.or(other),
        };
        let bases = other.legal_bases.into_iter();
        let fresh: Vec<_> = bases
            .filter(|one| !self.legal_bases.contains(one))
            .collect();
        self.legal_bases.extend(fresh);
    }
}

/// Decides who gets a bulletin that passes others on; an error where it may not be passed on.
/// `about` are the records of its ancestors.
pub fn decide_passed_on(
    state: &State,
    usage: &Usage,
    bulletin: PassedOn<'_>,
    parts: &[PartLabels],
    at: Timestamp,
    about: &[&Record],
) -> Result<PassedOnDecision, Refused> {
    let (bonds, mut awaited) = check(state, bulletin, at, about)?;
    let mut releases = decide(state.rulebook(), usage, bulletin.labels, parts, at);
    for release in &mut releases {
        let waits = awaited.iter().any(|one| one.recipient == release.recipient);
        release.held |= waits;
    }
    // Consent to what does not flow anyway is asked of nobody.
    awaited.retain(|one| releases.iter().any(|to| to.recipient == one.recipient));
    Ok(PassedOnDecision {
        releases,
        awaited,
        bonds,
    })
}

/// The clauses that bind, and whose consent each of the named recipients needs.
fn check(
    state: &State,
    bulletin: PassedOn<'_>,
    at: Timestamp,
    about: &[&Record],
) -> Result<(Vec<Bond>, Vec<Awaited>), Refused> {
    let ancestors = ancestors(state, bulletin.ancestors, about)?;
    let Some((received, record)) = ancestors.first() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let labels = bulletin.labels;
    let first = release_to(state, record, &labels.originator)
        .ok_or_else(|| refused("it was not received"))?;
    check_labels(labels, received)?;
    check_parts(bulletin.parts, received, first)?;
    let recipients = labels.releasable_to.as_ref();
    let recipients = recipients.filter(|named| !named.is_empty());
    let recipients = recipients.ok_or_else(|| refused("it must say to whom it is releasable"))?;
    if recipients.len() > MAX_RECIPIENTS {
        return Err(refused(format!(
            "it names more than {MAX_RECIPIENTS} partners"
        )));
    }
    let (mut bonds, mut awaited) = (Vec::new(), BTreeSet::new());
    let mut holder = &labels.originator;
    for (index, (ancestor, record)) in ancestors.iter().enumerate() {
        let release = release_to(state, record, holder)
            .ok_or_else(|| refused("an earlier giver had not received it"))?;
        // Of an earlier giver's agreements this one need not know anything.
        let told = |reason: String| match index {
            0 => refused(reason),
            _ => refused("terms of an earlier giver do not let it go to all whom it names"),
        };
        for bond in bonds_of(state, ancestor, record, release, holder, at).map_err(told)? {
            if let Some(barred) = bond.bars(state, recipients, at) {
                let clause = &bond.clause;
                return Err(told(format!(
                    "clause `{clause}` does not let it go to `{barred}`"
                )));
            }
            if bond.onward == Onward::OriginatorConsent {
                let asked = recipients
                    .iter()
                    .filter(|to| bond.except.as_ref() != Some(to));
                awaited.extend(asked.map(|recipient| Awaited {
                    recipient: recipient.clone(),
                    about: ancestor.header.id,
                    by: ancestor.originator.clone(),
                }));
            }
            bonds.push(bond);
        }
        holder = &ancestor.originator;
    }
    Ok((bonds, awaited.into_iter().collect()))
}

/// A clause under which something came to a holder or would now, as it was then, and as it is.
pub(super) type Binding<'a> = (&'a ClauseRef, &'a Clause, &'a Clause);

/// The clauses under which a bulletin came to its holder, and those under which it would now; an error
/// where one is no longer in force. `then` is what it was given.
pub(super) fn bindings<'a>(
    state: &'a State,
    then: &'a [ClauseRef],
    now: &'a [ClauseRef],
    at: Timestamp,
) -> Result<Vec<Binding<'a>>, String> {
    let named: BTreeMap<_, _> = then
        .iter()
        .chain(now)
        .map(|clause| ((clause.agreement, &clause.clause), clause))
        .collect();
    let binding = |clause: &'a ClauseRef| {
        let terms = |agreement: &'a Agreement| {
            let mut clauses = agreement.clauses.iter();
            clauses.find(|one| one.id == clause.clause)
        };
        let then = state.agreements().get(&clause.agreement);
        let then = then.and_then(|entry| terms(entry.agreement.agreement()));
        let now = state
            .present(&clause.agreement)
            .filter(|one| one.is_valid(at));
        let both = then.zip(now.and_then(terms));
        both.map(|(then, now)| (clause, then, now))
            .ok_or_else(|| format!("{clause} is no longer in force"))
    };
    named.into_values().map(binding).collect()
}

/// What of a bulletin would be given to its holder now.
pub(super) fn given_now(
    state: &State,
    accepted: &Accepted,
    holder: &PartnerId,
    at: Timestamp,
) -> Result<Release, String> {
    let (labels, parts) = (accepted.labels(), accepted.part_labels());
    decide_for(state.rulebook(), None, &labels, &parts, at, holder)
        .map_err(|_| "it would not be given to its holder any more".to_owned())
}

/// The clauses under which an ancestor came to its holder, and those under which it would now.
fn bonds_of(
    state: &State,
    ancestor: &Accepted,
    record: &Record,
    then: &Release,
    holder: &PartnerId,
    at: Timestamp,
) -> Result<Vec<Bond>, String> {
    let now = given_now(state, ancestor, holder, at)?;
    let bindings = bindings(state, &then.clauses, &now.clauses, at)?;
    let bond = |(clause, then, now): Binding<'_>| match then.onward.min(now.onward) {
        Onward::None => Err(format!("{clause} does not let it be passed on")),
        onward => Ok(Bond {
            about: ancestor.header.id,
            agreement: clause.agreement,
            clause: clause.clause.to_string(),
            onward,
            since: record.time,
            except: ancestor.header.originator.partner().cloned(),
        }),
    };
    bindings.into_iter().map(bond).collect()
}

impl Bond {
    /// The agreement that is in force in the place of the one named, and its clause.
    fn present<'a>(&self, state: &'a State, at: Timestamp) -> Option<(&'a Agreement, &'a Clause)> {
        let agreement = state.present(&self.agreement)?;
        let mut clauses = agreement.clauses.iter();
        let clause = clauses.find(|one| *one.id == *self.clause)?;
        agreement.is_valid(at).then_some((agreement, clause))
    }

    /// The first of some recipients to whom the clause does not let it go at a moment.
    fn bars<'a>(
        &self,
        state: &State,
        recipients: impl IntoIterator<Item = &'a PartnerId>,
        at: Timestamp,
    ) -> Option<&'a PartnerId> {
        let present = self.present(state, at);
        let present = present.filter(|(_, clause)| clause.onward >= self.onward);
        let parties: HashSet<&PartnerId> = match present {
            Some((agreement, _)) => agreement.parties.iter().map(|one| &one.partner).collect(),
            None => HashSet::new(),
        };
        let allows = |recipient: &PartnerId| match self.onward {
            Onward::None => false,
            Onward::OriginatorConsent => present.is_some(),
            Onward::WithinAgreement => parties.contains(recipient),
        };
        let mut recipients = recipients.into_iter();
        recipients.find(|to| self.except.as_ref() != Some(to) && !allows(to))
    }
}

impl State {
    /// Whether the clauses that bind a bulletin that passes others on keep it from a recipient at a
    /// moment.
    pub(super) fn is_barred(&self, accepted: &Accepted, to: &PartnerId, at: Timestamp) -> bool {
        let mut bonds = accepted.bonds.iter();
        bonds.any(|bond| bond.bars(self, [to], at).is_some())
    }

    /// What recipients of a bulletin owe for the clauses that bind it, beside those under which it is
    /// given to them.
    pub fn inherited(&self, accepted: &Accepted) -> Inherited {
        let mut inherited = Inherited::default();
        if let Some(crossing) = &accepted.header.crossing {
            inherited = Inherited::of_crossing(crossing);
        }
        for bond in &accepted.bonds {
            let entry = self.agreements().get(&bond.agreement);
            let clauses = entry.map(|entry| entry.agreement.agreement().clauses.iter());
            let terms = clauses.and_then(|mut all| all.find(|one| *one.id == *bond.clause));
            let Some(terms) = terms else { continue };
            inherited.join_clauses(Obligations::of([terms]), bond.since);
        }
        inherited
    }
}

fn refused(reason: impl Into<String>) -> Refused {
    Refused::PassedOn(reason.into())
}

/// The ancestors, each with its record: those that the first one names, and none was taken back.
fn ancestors<'a>(
    state: &State,
    ids: &[BulletinId],
    about: &[&'a Record],
) -> Result<Vec<(&'a Accepted, &'a Record)>, Refused> {
    if ids.len() != about.len() {
        return Err(refused("it refers to a bulletin that was not accepted"));
    }
    let mut found: Vec<(&Accepted, &Record)> = Vec::with_capacity(ids.len());
    for (id, record) in ids.iter().zip(about) {
        let Fact::Accepted(accepted) = &record.fact else {
            return Err(refused("it refers to a bulletin that was not accepted"));
        };
        let hash = accepted.header_hash();
        let known = state.seen(id).is_some_and(|seen| seen.header == hash);
        if accepted.header.id != *id || !known {
            return Err(refused("it refers to a bulletin that was not accepted"));
        }
        if accepted.header.notice {
            return Err(refused("a notice is passed on by nobody"));
        }
        if accepted.header.crossing.is_some() {
            return Err(refused(
                "it came from another ledger, whose agreements say nothing of passing it on here",
            ));
        }
        if state.dossiers().is_replaced(&hash) {
            return Err(refused(
                "its originator took it back, or put another in its place",
            ));
        }
        found.push((accepted.as_ref(), *record));
    }
    if let (Some((received, _)), Some((_, further))) = (found.first(), ids.split_first())
        && !received.header.passes_on().eq(further.iter().copied())
    {
        return Err(refused(
            "it does not name all that the bulletin it passes on had passed on",
        ));
    }
    Ok(found)
}

/// What a holder was given of an ancestor.
pub(super) fn release_to<'a>(
    state: &'a State,
    record: &'a Record,
    holder: &PartnerId,
) -> Option<&'a Release> {
    let mut given = state.given(record);
    given.find(|release| release.recipient == *holder)
}

/// Whoever passes a bulletin on says of it what its originator said: what is weaker could go further.
fn check_labels(labels: &Labels, original: &Accepted) -> Result<(), Refused> {
    let received = &original.labels();
    let same = labels.kinds == received.kinds
        && labels.topics == received.topics
        && labels.regions == received.regions
        && labels.tlp == received.tlp
        && labels.classification == received.classification
        && labels.precedence == received.precedence
        && labels.exercise == received.exercise
        && labels.admiralty == received.admiralty;
    let bound = received
        .caveats
        .iter()
        .all(|one| labels.caveats.contains(one))
        && labels.valid_from >= received.valid_from
        && labels.valid_until <= received.valid_until;
    if !same || !bound {
        return Err(refused("its labels are not those of the received bulletin"));
    }
    let (Some(named), Some(to)) = (&received.releasable_to, &labels.releasable_to) else {
        return Ok(());
    };
    if original.header.audience_part {
        // An answer for each name would tell the audience.
        return Err(refused(
            "its originator keeps its recipients from one another",
        ));
    }
    match to.iter().find(|one| !named.contains(*one)) {
        Some(other) => Err(refused(format!("it was not releasable to `{other}`"))),
        None => Ok(()),
    }
}

/// Nothing but parts that its giver received, unchanged; beside them only what the broker reads.
fn check_parts(parts: &[PartDigest], received: &Accepted, given: &Release) -> Result<(), Refused> {
    let own = [PartClass::Audience, PartClass::Identity].map(PartClass::as_str);
    let withheld: HashSet<u32> = given.withheld.iter().copied().collect();
    let indexed = (0u32..).zip(&received.parts);
    let given: HashSet<Digest> = indexed
        .filter(|(index, _)| !withheld.contains(index))
        .map(|(_, part)| part.leaf())
        .collect();
    let passed_on = parts
        .iter()
        .filter(|part| !own.contains(&part.class.as_str()));
    match passed_on
        .filter(|part| !given.contains(&part.leaf()))
        .count()
    {
        0 => Ok(()),
        others => Err(refused(format!("{others} of its parts were not received"))),
    }
}
