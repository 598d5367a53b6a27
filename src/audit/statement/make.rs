//! Gathers what concerns a subject, out of a ledger's records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Item, Statement, Subject, within};
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Precedence, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{Accepted, Fact, LaneRelease, Reader, Record, RecordOpening, SignedAck, State};
use crate::partner::PartnerId;
use crate::proof::Digest;
use crate::proof::tree::{self, Levels};

/// Makes a statement. It is told all records under the checkpoint twice, in order: once by
/// [`StatementMaker::note`], then by [`StatementMaker::take`].
#[derive(Debug)]
pub struct StatementMaker {
    subject: Subject,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Under the checkpoint.
    size: u64,
    state: State,
    tree: Levels,
    /// Whose key sets are needed.
    partners: BTreeSet<PartnerId>,
    /// Which agreements are.
    agreements: BTreeSet<AgreementId>,
    /// Bulletins of which something was given by a later record.
    later: BTreeSet<BulletinId>,
    /// Bulletins that the subject published under its name.
    own: BTreeSet<BulletinId>,
    next: u64,
    /// Those bulletins, by SHA-256 of the header.
    known: HashMap<Digest, Known>,
    found: Vec<Found>,
    /// The last release of each lane before the time that the statement is about.
    before: BTreeMap<Precedence, Found>,
    /// Lanes of which the first release after that time was found.
    after: BTreeSet<Precedence>,
    /// Numbers whose acknowledgement is still to be found, by lane.
    open: BTreeMap<(PartnerId, Precedence), BTreeSet<u64>>,
}

#[derive(Clone, Debug)]
struct Known {
    sealed: Sealed,
    precedence: Precedence,
    /// Where its header names one.
    originator: Option<PartnerId>,
}

#[derive(Clone, Debug)]
struct Found {
    position: u64,
    opening: RecordOpening,
    bulletin: Option<Sealed>,
}

impl StatementMaker {
    /// About a subject, as far as the first `size` records go, which a checkpoint covers.
    pub fn new(
        subject: Subject,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        size: u64,
    ) -> Self {
        let partners = match &subject {
            Subject::Partner(partner) => BTreeSet::from([partner.clone()]),
            Subject::Bulletin(_) => BTreeSet::new(),
        };
        Self {
            subject,
            since,
            until,
            size,
            state: State::new(),
            tree: Levels::default(),
            partners,
            agreements: BTreeSet::new(),
            later: BTreeSet::new(),
            own: BTreeSet::new(),
            next: 0,
            known: HashMap::new(),
            found: Vec::new(),
            before: BTreeMap::new(),
            after: BTreeSet::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes a record in the first round.
    pub fn note(&mut self, record: &Record) {
        if self.state.size() >= self.size {
            return;
        }
        self.tree.push(record.commitment.leaf_hash());
        let concerned = self.concerned(record);
        match &record.fact {
            Fact::AgreementRatified(signed) => {
                if let (Subject::Partner(partner), Ok(terms)) = (&self.subject, signed.terms())
                    && terms.is_party(partner)
                {
                    self.agreements.insert(signed.id());
                    let parties = terms.parties.iter().map(|party| party.partner.clone());
                    self.partners.extend(parties);
                }
            }
            Fact::Accepted(accepted) if concerned => self.note_parties(accepted, record),
            fact => {
                if let (true, Some((id, _))) = (concerned, fact.lets_go()) {
                    self.later.insert(id);
                    self.note_releases(&record.releases);
                }
            }
        }
        self.state.apply(record);
    }

    fn note_parties(&mut self, accepted: &Accepted, record: &Record) {
        if let Subject::Partner(partner) = &self.subject
            && accepted.header.originator.partner() == Some(partner)
        {
            self.own.insert(accepted.header.id);
        }
        // Behind a pseudonym nobody is shown.
        self.partners
            .extend(accepted.header.originator.partner().cloned());
        self.note_releases(&record.releases);
    }

    /// Key sets and agreements without which the releases of a bulletin cannot be verified.
    fn note_releases(&mut self, releases: &[LaneRelease]) {
        if let Subject::Bulletin(_) = self.subject {
            for one in releases {
                self.partners.insert(one.release.recipient.clone());
                for clause in &one.release.clauses {
                    self.agreements.insert(clause.agreement);
                    let entry = self.state.agreements().get(&clause.agreement);
                    let parties = entry
                        .iter()
                        .flat_map(|one| &one.agreement.agreement().parties);
                    let parties: Vec<_> = parties.map(|party| party.partner.clone()).collect();
                    self.partners.extend(parties);
                }
            }
        }
    }

    /// Whether a record about a bulletin concerns the subject.
    fn concerned(&self, record: &Record) -> bool {
        let id = match &record.fact {
            Fact::Accepted(accepted) => Some(accepted.header.id),
            fact => fact.lets_go().map(|(id, _)| id),
        };
        match &self.subject {
            Subject::Bulletin(wanted) => id == Some(*wanted),
            Subject::Partner(partner) => {
                // Under a pseudonym it is shown to nobody that the bulletin is its.
                let own = match &record.fact {
                    Fact::Accepted(accepted) => {
                        accepted.header.originator.partner() == Some(partner)
                    }
                    _ => id.is_some_and(|id| self.own.contains(&id)),
                };
                own || record
                    .releases
                    .iter()
                    .any(|one| one.release.recipient == *partner)
            }
        }
    }

    /// Takes a record in the second round.
    pub fn take(&mut self, record: &Record) {
        let position = self.next;
        if position >= self.size {
            return;
        }
        self.next += 1;
        let wanted = match &record.fact {
            Fact::Genesis(_) => true,
            Fact::PartnerAdmitted(one) => self.partners.contains(&one.key_set.claimed().partner),
            Fact::KeySetRotated(one) => self.partners.contains(&one.claimed().partner),
            Fact::StandingChanged(one) => self.is_subject(&one.order.partner),
            Fact::AgreementRatified(signed) => self.agreements.contains(&signed.id()),
            Fact::AgreementWithdrawn(signed) => self.agreements.contains(&signed.agreement_id()),
            Fact::Acknowledged(signed) => self.acknowledged(signed),
            Fact::Declared(signed) => match &self.subject {
                Subject::Bulletin(id) => signed.declaration.id == *id,
                Subject::Partner(partner) => {
                    signed.declaration.partner == *partner && self.is_within(record.time)
                }
            },
            Fact::Accepted(accepted) => {
                self.accepted(position, accepted, record);
                false
            }
            fact => {
                if let Some((_, header)) = fact.lets_go() {
                    self.let_go(position, &header, record);
                }
                false
            }
        };
        if wanted && let Some(opening) = record.open(Reader::Party) {
            self.found.push(Found {
                position,
                opening,
                bulletin: None,
            });
        }
    }

    fn is_subject(&self, partner: &PartnerId) -> bool {
        self.subject == Subject::Partner(partner.clone())
    }

    fn is_within(&self, time: Timestamp) -> bool {
        within(self.since, self.until, time)
    }

    fn accepted(&mut self, position: u64, accepted: &Accepted, record: &Record) {
        let concerned = self.concerned(record);
        if !concerned && !self.later.contains(&accepted.header.id) {
            return;
        }
        // Contents are no part of a statement.
        let Ok(sealed) = accepted.to_sealed(None) else {
            return;
        };
        let known = Known {
            sealed,
            precedence: accepted.header.precedence,
            originator: accepted.header.originator.partner().cloned(),
        };
        if concerned {
            self.about(position, &known, record);
        }
        if self.later.contains(&accepted.header.id) {
            self.known.insert(accepted.header_hash(), known);
        }
    }

    fn let_go(&mut self, position: u64, header: &Digest, record: &Record) {
        if let Some(known) = self.known.get(header).cloned() {
            self.about(position, &known, record);
        }
    }

    /// Opens a record about a bulletin to the subject.
    fn about(&mut self, position: u64, known: &Known, record: &Record) {
        let found = |opening| Found {
            position,
            opening,
            bulletin: Some(known.sealed.clone()),
        };
        let Subject::Partner(partner) = self.subject.clone() else {
            let everybody = BTreeSet::new();
            let opening = record.open(Reader::Originator(&everybody));
            self.found.extend(opening.map(found));
            for one in &record.releases {
                self.await_number(one, known.precedence);
            }
            return;
        };
        if known.originator.as_ref() == Some(&partner) {
            let kept = record.releases.iter().map(|one| &one.release);
            let kept = kept.filter(|release| self.state.is_confidential(release));
            let kept = kept.map(|release| release.recipient.clone()).collect();
            let opening = record.open(Reader::Originator(&kept));
            if self.is_within(record.time) {
                self.found.extend(opening.map(found));
            }
            return;
        }
        let Some(found) = record.open(Reader::Recipient(&partner)).map(found) else {
            return;
        };
        if self.since.is_some_and(|since| record.time < since) {
            self.before.insert(known.precedence, found);
        } else if self.is_within(record.time) {
            self.found.push(found);
            let mut releases = record.releases.iter();
            if let Some(own) = releases.find(|one| one.release.recipient == partner) {
                self.await_number(own, known.precedence);
            }
        } else if self.after.insert(known.precedence) {
            self.found.push(found);
        }
    }

    /// An acknowledgement of this number is looked for.
    fn await_number(&mut self, released: &LaneRelease, precedence: Precedence) {
        if released.number > 0 {
            let lane = (released.release.recipient.clone(), precedence);
            self.open.entry(lane).or_default().insert(released.number);
        }
    }

    /// Whether an acknowledgement is wanted: the first that covers what was released.
    fn acknowledged(&mut self, signed: &SignedAck) -> bool {
        let ack = &signed.ack;
        let mut wanted = false;
        for lane in &ack.lanes {
            let key = (ack.recipient.clone(), lane.precedence);
            if let Some(numbers) = self.open.get_mut(&key) {
                let later = numbers.split_off(&lane.up_to.saturating_add(1));
                wanted |= !numbers.is_empty();
                *numbers = later;
            }
        }
        wanted
    }

    /// The statement, under the checkpoint. `None` where the ledger has no genesis, or the records do not
    /// lead to the checkpoint's size.
    pub fn finish(mut self, checkpoint: String, made: Timestamp) -> Option<Statement> {
        self.found
            .extend(std::mem::take(&mut self.before).into_values());
        self.found.sort_by_key(|one| one.position);
        let items = self.found.into_iter().map(|found| {
            let path = tree::inclusion_path(&self.tree, found.position, self.size).ok()??;
            Some(Item {
                position: found.position,
                path,
                opening: found.opening,
                bulletin: found.bulletin,
            })
        });
        let items = items.collect::<Option<Vec<_>>>()?;
        Some(Statement {
            framework: self.state.genesis()?.framework.clone(),
            ledger: self.state.ledger()?,
            subject: self.subject,
            since: self.since,
            until: self.until,
            made,
            checkpoint,
            items,
        })
    }
}
