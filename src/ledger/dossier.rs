//! What must be followed up: bulletins that recipients have to acknowledge in time, and those about
//! which notice was given, with what each recipient declared.

use std::collections::{BTreeMap, BTreeSet};

use super::consent::{Consent, Question};
use super::declaration::{Declaration, What};
use super::hold::{HoldDecision, PERSONS_NEEDED};
use super::onward::Awaited;
use super::record::{Accepted, LaneRelease};
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Precedence, Relation};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// The most that one recipient declares about one bulletin: more notices than anybody gives.
const MAX_DECLARED: usize = 64;

/// What a recipient declared, and where the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Who.
    pub partner: PartnerId,
    /// What.
    pub what: What,
    /// Its position in the log.
    pub position: u64,
}

/// A notice about a bulletin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its id.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// What becomes of the bulletin.
    pub relation: Relation,
    /// Its position in the log.
    pub position: u64,
}

/// One bulletin that is followed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dossier {
    /// By when each recipient has to take it, and whether it is kept from the originator who that
    /// is; those that did not yet.
    pub due: BTreeMap<PartnerId, (Timestamp, bool)>,
    /// Notices about it, in order.
    pub notices: Vec<Notice>,
    /// What recipients declared, in order.
    pub declared: Vec<Declared>,
    /// Its precedence, where something of it was held.
    pub precedence: Option<Precedence>,
    /// Releases that wait for persons.
    pub holds: Vec<Held>,
    /// Releases that wait, or waited, for consent to their being passed on.
    pub asked: Vec<Asked>,
    /// Until when consent can be given.
    pub asked_until: Option<Timestamp>,
    /// Recipients from whom it is kept for good.
    pub kept: BTreeSet<PartnerId>,
    /// Releases that were decided later: a backfill's.
    pub later: Vec<LaneRelease>,
    /// Recipients whose held release was let go, with its number in their lane.
    pub let_go: BTreeMap<PartnerId, u64>,
}

/// One clause's hold upon the release to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// For whom.
    pub recipient: PartnerId,
    /// The agreement whose clause holds it.
    pub agreement: AgreementId,
    /// Two of these must let it go.
    pub persons: BTreeSet<String>,
    /// Those who did.
    pub released_by: BTreeSet<String>,
    /// From then on nobody can.
    pub deadline: Timestamp,
}

impl Held {
    /// Whether a person's decision at a moment counts for this hold.
    pub fn counts(&self, decision: &HoldDecision, at: Timestamp) -> bool {
        self.agreement == decision.agreement
            && self.persons.contains(&decision.person)
            && at < self.deadline
    }
}

/// An originator's consent to a bulletin's being passed on to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose, about what, for whom.
    pub awaited: Awaited,
    /// What it said; `None`: nothing yet.
    pub given: Option<bool>,
}

impl Dossier {
    /// Whether a recipient waits for a partner's consent.
    pub fn waits_for(&self, by: &PartnerId, recipient: &PartnerId) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|one| {
            one.given.is_none() && one.awaited.by == *by && one.awaited.recipient == *recipient
        })
    }

    /// What a partner is asked, and has not answered.
    pub fn questions(&self, of: &PartnerId) -> Vec<Question> {
        let mut questions: BTreeMap<BulletinId, BTreeSet<&PartnerId>> = BTreeMap::new();
        let own = self.asked.iter().filter(|one| one.awaited.by == *of);
        for asked in own.filter(|one| one.given.is_none()) {
            let recipients = questions.entry(asked.awaited.about).or_default();
            recipients.insert(&asked.awaited.recipient);
        }
        let question = |(about, recipients): (_, BTreeSet<&PartnerId>)| Question {
            about,
            recipients: recipients.into_iter().cloned().collect(),
        };
        questions.into_iter().map(question).collect()
    }

    /// Until when persons can let anything of it go.
    fn last_deadline(&self) -> Option<Timestamp> {
        self.holds.iter().map(|held| held.deadline).max()
    }

    /// Whether something of it can still be let go: by persons, or by consent.
    pub(super) fn waits(&self, at: Timestamp) -> bool {
        let asked = self.asked_until.is_some_and(|until| at < until)
            && self.asked.iter().any(|asked| asked.given.is_none());
        asked || self.last_deadline().is_some_and(|deadline| at < deadline)
    }

    fn let_go(&mut self, numbers: Vec<(PartnerId, u64)>) {
        self.let_go.extend(numbers);
        let gone = &self.let_go;
        self.holds
            .retain(|held| !gone.contains_key(&held.recipient));
    }

    /// Whether nothing keeps a held release any more, once a partner consents.
    pub fn is_free(&self, recipient: &PartnerId, consenting: Option<&PartnerId>) -> bool {
        let mut holds = self.holds.iter().filter(|one| one.recipient == *recipient);
        !self.kept.contains(recipient)
            && self.has_consent(recipient, consenting)
            && holds.all(|one| one.released_by.len() >= PERSONS_NEEDED)
    }

    /// Whether everybody has consented who was asked, once a partner does.
    pub fn has_consent(&self, recipient: &PartnerId, consenting: Option<&PartnerId>) -> bool {
        let mut asked = self.asked.iter();
        asked.all(|one| {
            one.awaited.recipient != *recipient
                || one.given == Some(true)
                || (one.given.is_none() && consenting == Some(&one.awaited.by))
        })
    }
}

/// A recipient that has not taken a bulletin in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The bulletin.
    pub id: BulletinId,
    /// Who published it.
    pub originator: PartnerId,
    /// Who has not taken it.
    pub recipient: PartnerId,
    /// By when it should have.
    pub due: Timestamp,
    /// Its originator may not learn who receives it.
    pub confidential: bool,
}

/// That a recipient has to take a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) recipient: PartnerId,
    pub(super) due: Timestamp,
    pub(super) confidential: bool,
}

/// All dossiers, by SHA-256 of the bulletin's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dossiers {
    by_bulletin: BTreeMap<Digest, Dossier>,
    /// What is still to be taken, the earliest first.
    open: BTreeSet<(Timestamp, Digest, PartnerId)>,
    named: BTreeMap<Digest, (BulletinId, PartnerId)>,
    /// Bulletins of which something waits for persons, and until when.
    holding: BTreeSet<(Timestamp, Digest)>,
    /// Until when whose consent is asked for which bulletin.
    asking: BTreeSet<(Timestamp, PartnerId, Digest)>,
}

impl Dossiers {
    /// The dossier of a bulletin, where there is one.
    pub fn dossier(&self, header: &Digest) -> Option<&Dossier> {
        self.by_bulletin.get(header)
    }

    /// Whether a bulletin is not given any more, to anybody: its originator took it back, or ended it.
    pub fn is_ended(&self, header: &Digest) -> bool {
        self.dossier(header).is_some_and(|dossier| {
            let ends =
                |notice: &Notice| matches!(notice.relation, Relation::Retracts | Relation::Ends);
            dossier.notices.iter().any(ends)
        })
    }

    /// Whether its originator took a bulletin back.
    pub fn is_retracted(&self, header: &Digest) -> bool {
        self.dossier(header).is_some_and(|dossier| {
            let retracts = |notice: &Notice| notice.relation == Relation::Retracts;
            dossier.notices.iter().any(retracts)
        })
    }

    /// Whether its originator took a bulletin back, or put another in its place.
    pub fn is_replaced(&self, header: &Digest) -> bool {
        self.dossier(header).is_some_and(|dossier| {
            let replaces = |notice: &Notice| notice.relation != Relation::Downgrades;
            dossier.notices.iter().any(replaces)
        })
    }

    /// What of a bulletin waits for persons.
    pub fn holds(&self, header: &Digest) -> &[Held] {
        self.dossier(header).map_or(&[], |dossier| &dossier.holds)
    }

    /// Whether a held release was let go.
    pub fn was_let_go(&self, header: &Digest, recipient: &PartnerId) -> bool {
        self.dossier(header)
            .is_some_and(|dossier| dossier.let_go.contains_key(recipient))
    }

    pub(super) fn hold(&mut self, accepted: &Accepted, held: Held) {
        let header = accepted.header_hash();
        let dossier = self.by_bulletin.entry(header).or_default();
        dossier.precedence = Some(accepted.header.precedence);
        let before = dossier.last_deadline();
        dossier.holds.push(held);
        self.hold_until(header, before);
        let named = (accepted.header.id, accepted.originator.clone());
        self.named.insert(header, named);
    }

    /// What of bulletins waits for persons at a moment: SHA-256 of the header, id, and the holds.
    pub fn holding(&self, now: Timestamp) -> impl Iterator<Item = (Digest, BulletinId, &[Held])> {
        let open = self.holding.iter().rev();
        open.take_while(move |(deadline, _)| now < *deadline)
            .filter_map(|(_, header)| {
                let (id, _) = self.named.get(header)?;
                Some((*header, *id, self.holds(header)))
            })
    }

    /// Notes until when something of a bulletin is held.
    fn hold_until(&mut self, header: Digest, before: Option<Timestamp>) {
        let dossier = self.by_bulletin.get(&header);
        let now = dossier.and_then(Dossier::last_deadline);
        if let Some(before) = before.filter(|before| Some(*before) != now) {
            self.holding.remove(&(before, header));
        }
        self.holding.extend(now.map(|deadline| (deadline, header)));
    }

    /// The precedence of a bulletin of which something was held.
    pub fn precedence(&self, header: &Digest) -> Option<Precedence> {
        self.dossier(header)?.precedence
    }

    /// A person decided: counted, or nothing of it is held any more.
    pub(super) fn decide(
        &mut self,
        decision: &HoldDecision,
        at: Timestamp,
        let_go: Vec<(PartnerId, u64)>,
    ) {
        let Some(dossier) = self.by_bulletin.get_mut(&decision.bulletin) else {
            return;
        };
        let before = dossier.last_deadline();
        let concerns = |held: &Held| held.counts(decision, at);
        if decision.release {
            for held in dossier.holds.iter_mut().filter(|held| concerns(held)) {
                held.released_by.insert(decision.person.clone());
            }
        } else {
            let kept: BTreeSet<PartnerId> = dossier
                .holds
                .iter()
                .filter(|held| concerns(held))
                .map(|held| held.recipient.clone())
                .collect();
            dossier.kept.extend(kept.iter().cloned());
            dossier.holds.retain(|held| !kept.contains(&held.recipient));
        }
        dossier.let_go(let_go);
        self.hold_until(decision.bulletin, before);
    }

    /// A bulletin is given to more recipients.
    pub(super) fn give_later(&mut self, header: Digest, releases: &[LaneRelease]) {
        let dossier = self.by_bulletin.entry(header).or_default();
        dossier.later.extend(releases.iter().cloned());
    }

    /// Consent is asked for.
    pub(super) fn ask(&mut self, accepted: &Accepted) {
        let header = accepted.header_hash();
        let dossier = self.by_bulletin.entry(header).or_default();
        dossier.precedence = Some(accepted.header.precedence);
        for awaited in &accepted.awaited {
            let until = accepted.header.valid_until;
            self.asking.insert((until, awaited.by.clone(), header));
            dossier.asked_until = Some(until);
            dossier.asked.push(Asked {
                awaited: awaited.clone(),
                given: None,
            });
        }
        let named = (accepted.header.id, accepted.originator.clone());
        self.named.insert(header, named);
    }

    /// An originator answered.
    pub(super) fn answer(&mut self, consent: &Consent, let_go: Vec<(PartnerId, u64)>) {
        let Some(dossier) = self.by_bulletin.get_mut(&consent.bulletin) else {
            return;
        };
        let before = dossier.last_deadline();
        if let Some(until) = dossier.asked_until {
            let key = (until, consent.partner.clone(), consent.bulletin);
            self.asking.remove(&key);
        }
        let own = dossier.asked.iter_mut();
        for asked in own.filter(|one| one.awaited.by == consent.partner && one.given.is_none()) {
            asked.given = Some(consent.approve);
            if !consent.approve {
                dossier.kept.insert(asked.awaited.recipient.clone());
            }
        }
        dossier.let_go(let_go);
        self.hold_until(consent.bulletin, before);
    }

    /// The bulletins for which a partner's consent is asked at a moment: SHA-256 of the header, id, and
    /// who asks.
    pub fn asking<'a>(
        &'a self,
        of: &'a PartnerId,
        now: Timestamp,
    ) -> impl Iterator<Item = (Digest, BulletinId, &'a PartnerId)> {
        let own = self.all_asking(now).filter(move |(by, _)| *by == of);
        own.filter_map(|(_, header)| {
            let (id, asker) = self.named.get(&header)?;
            Some((header, *id, asker))
        })
    }

    /// All that consent is asked for at a moment, what ends last first.
    pub fn all_asking(&self, now: Timestamp) -> impl Iterator<Item = (&PartnerId, Digest)> {
        let open = self.asking.iter().rev();
        open.take_while(move |(until, ..)| now < *until)
            .map(|(_, by, header)| (by, *header))
    }

    /// Who should have taken what before a moment, and has not.
    pub fn overdue(&self, now: Timestamp) -> Vec<Overdue> {
        self.open
            .iter()
            .take_while(|(due, ..)| *due <= now)
            .filter_map(|(due, header, recipient)| {
                let (id, originator) = self.named.get(header)?;
                let known = self.dossier(header).and_then(|one| one.due.get(recipient));
                Some(Overdue {
                    id: *id,
                    originator: originator.clone(),
                    recipient: recipient.clone(),
                    due: *due,
                    confidential: known.is_none_or(|(_, confidential)| *confidential),
                })
            })
            .collect()
    }

    /// Bulletins followed up.
    pub fn len(&self) -> usize {
        self.by_bulletin.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.by_bulletin.is_empty()
    }

    pub(super) fn demand(
        &mut self,
        accepted: &Accepted,
        demands: impl IntoIterator<Item = Demand>,
    ) {
        let (id, originator) = (accepted.header.id, accepted.originator.clone());
        let header = accepted.header_hash();
        let mut demands = demands.into_iter().peekable();
        if demands.peek().is_some() {
            self.named.insert(header, (id, originator));
        }
        self.demand_later(header, demands);
    }

    /// Of a bulletin that is known, something was let go.
    pub(super) fn demand_later(
        &mut self,
        header: Digest,
        demands: impl IntoIterator<Item = Demand>,
    ) {
        for demand in demands {
            let (recipient, due) = (demand.recipient, demand.due);
            self.open.insert((due, header, recipient.clone()));
            let dossier = self.by_bulletin.entry(header).or_default();
            dossier.due.insert(recipient, (due, demand.confidential));
        }
    }

    pub(super) fn notice(&mut self, about: Digest, notice: Notice) {
        let dossier = self.by_bulletin.entry(about).or_default();
        dossier.notices.push(notice);
    }

    /// Whether a declaration changes a dossier: what nobody waits for is in the log only.
    pub(super) fn concerns(&self, declaration: &Declaration) -> bool {
        let dossier = self.dossier(&declaration.bulletin);
        match declaration.what {
            What::Taken => {
                dossier.is_some_and(|dossier| dossier.due.contains_key(&declaration.partner))
            }
            // Every bulletin may be deleted one day: the log says so, and nobody waits for it.
            What::Erased => dossier.is_some(),
            What::Refused(_)
            | What::Applied(_)
            | What::PassedOn { .. }
            | What::Carried { .. }
            | What::Unable { .. } => true,
        }
    }

    /// Whether a declaration says anything that is not known or that somebody waits for.
    pub(super) fn is_news(&self, declaration: &Declaration) -> bool {
        let dossier = self.dossier(&declaration.bulletin);
        let own = dossier.into_iter().flat_map(|dossier| &dossier.declared);
        let own: Vec<&What> = own
            .filter(|one| one.partner == declaration.partner)
            .map(|one| &one.what)
            .collect();
        let known = own.len() >= MAX_DECLARED || own.contains(&&declaration.what);
        !known && (declaration.what == What::Erased || self.concerns(declaration))
    }

    pub(super) fn declare(&mut self, declaration: &Declaration, position: u64) {
        let (header, partner) = (declaration.bulletin, &declaration.partner);
        let dossier = self.by_bulletin.entry(header).or_default();
        if declaration.what == What::Taken
            && let Some((due, _)) = dossier.due.remove(partner)
        {
            self.open.remove(&(due, header, partner.clone()));
        }
        dossier.declared.push(Declared {
            partner: partner.clone(),
            what: declaration.what.clone(),
            position,
        });
    }
}
