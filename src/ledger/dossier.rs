//! What must be followed up: bulletins that recipients have to acknowledge in time, and those about
//! which notice was given, with what each recipient declared.

use std::collections::{BTreeMap, BTreeSet};

use super::declaration::{Declaration, What};
use super::hold::HoldDecision;
use super::record::Accepted;
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Precedence, Relation};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

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
}

impl Dossiers {
    /// The dossier of a bulletin, where there is one.
    pub fn dossier(&self, header: &Digest) -> Option<&Dossier> {
        self.by_bulletin.get(header)
    }

    /// Whether its originator took a bulletin back.
    pub fn is_retracted(&self, header: &Digest) -> bool {
        self.dossier(header).is_some_and(|dossier| {
            let retracts = |notice: &Notice| notice.relation == Relation::Retracts;
            dossier.notices.iter().any(retracts)
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
        let dossier = self.by_bulletin.entry(accepted.header_hash()).or_default();
        dossier.precedence = Some(accepted.header.precedence);
        dossier.holds.push(held);
    }

    /// The precedence of a bulletin of which something was held.
    pub fn precedence(&self, header: &Digest) -> Option<Precedence> {
        self.dossier(header)?.precedence
    }

    /// A person decided: counted, or nothing of it is held any more.
    pub(super) fn decide(&mut self, decision: &HoldDecision, let_go: Vec<(PartnerId, u64)>) {
        let Some(dossier) = self.by_bulletin.get_mut(&decision.bulletin) else {
            return;
        };
        let concerns = |held: &Held| {
            held.agreement == decision.agreement && held.persons.contains(&decision.person)
        };
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
            dossier.holds.retain(|held| !kept.contains(&held.recipient));
        }
        dossier.let_go.extend(let_go);
        let gone = &dossier.let_go;
        dossier
            .holds
            .retain(|held| !gone.contains_key(&held.recipient));
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
        let header = accepted.header_hash();
        let (id, originator) = (accepted.header.id, accepted.header.originator.clone());
        for demand in demands {
            let (recipient, due) = (demand.recipient, demand.due);
            self.open.insert((due, header, recipient.clone()));
            let dossier = self.by_bulletin.entry(header).or_default();
            dossier.due.insert(recipient, (due, demand.confidential));
            self.named.insert(header, (id, originator.clone()));
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
            What::Refused(_) | What::Applied(_) | What::Unable { .. } => true,
        }
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
