//! What would have flowed, had an agreement been in force: the log's own bulletins, decided again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::agreement::{Agreement, AgreementId};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::decision::{Release, Rulebook, Usage, decide};
use crate::ledger::{Accepted, Fact, Record, State};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// One recipient of one bulletin for whom it would have made a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Simulated {
    /// Where the bulletin stands in the log.
    pub position: u64,
    /// When it was accepted.
    pub time: Timestamp,
    /// Which bulletin.
    pub bulletin: BulletinId,
    /// Whose.
    pub originator: PartnerId,
    /// For whom.
    pub recipient: PartnerId,
    /// Whether it was released to the recipient.
    pub released: bool,
    /// Whether it would have been.
    pub would_be: bool,
    /// Classes of the parts that it would newly see.
    pub newly: Vec<String>,
    /// Classes of the parts that it would no longer see.
    pub no_longer: Vec<String>,
}

/// A simulation, fed with the records of a ledger from the first on.
#[derive(Debug)]
pub struct Simulation {
    id: AgreementId,
    terms: Arc<Agreement>,
    since: Timestamp,
    state: State,
    /// The rulebook of the last governing record, with the draft in it.
    altered: Option<Rulebook>,
    usage: Usage,
    /// What backfills gave, by SHA-256 of the bulletin's header.
    later: HashMap<Digest, Vec<Release>>,
    bulletins: u64,
    found: Vec<Simulated>,
}

impl Simulation {
    /// As if these terms had been in force since a moment, in place of any version of the same name.
    pub fn new(id: AgreementId, terms: &Agreement, since: Timestamp) -> Self {
        let mut terms = terms.clone();
        terms.valid_from = terms.valid_from.min(since);
        terms.valid_until = Timestamp::MAX;
        Self {
            id,
            terms: Arc::new(terms),
            since,
            state: State::new(),
            altered: None,
            usage: Usage::new(),
            later: HashMap::new(),
            bulletins: 0,
            found: Vec::new(),
        }
    }

    /// Position of the record that is due.
    pub fn due(&self) -> u64 {
        self.state.size()
    }

    /// Notes from a record, on a first reading, what a backfill gave later.
    pub fn note(&mut self, record: &Record) {
        if let Fact::Backfilled(one) = &record.fact
            && let Some(bulletin) = &one.bulletin
        {
            let given = record.releases.iter().map(|one| one.release.clone());
            self.later.entry(bulletin.header).or_default().extend(given);
        }
    }

    /// Takes the next record, on the second reading.
    pub fn take(&mut self, record: &Record) {
        match &record.fact {
            Fact::Accepted(accepted) => {
                // A notice follows its bulletin, whatever agreements say.
                if record.time >= self.since && !accepted.header.notice {
                    self.decide_again(accepted, record);
                }
            }
            Fact::Acknowledged(_) | Fact::Tick | Fact::SnapshotTaken(_) => {}
            _ => self.altered = None,
        }
        self.state.apply(record);
    }

    fn decide_again(&mut self, accepted: &Accepted, record: &Record) {
        let rulebook = self.altered.take().unwrap_or_else(|| self.rulebook());
        let (labels, parts) = (accepted.labels(), accepted.part_labels());
        let mut releases = decide(&rulebook, &self.usage, &labels, &parts, record.time);
        for release in &releases {
            self.usage
                .count(&rulebook, &labels.originator, release, record.time);
        }
        self.altered = Some(rulebook);
        self.bulletins += 1;
        // What was given later was released, too; and would be, under another agreement's name.
        let later = self.later.remove(&accepted.header_hash());
        let later = later.unwrap_or_default();
        for one in &later {
            let other = one.clauses.iter().all(|used| used.name != self.terms.name);
            let has = |release: &Release| release.recipient == one.recipient;
            if other && !releases.iter().any(has) {
                releases.push(one.clone());
            }
        }
        let own = record.releases.iter().map(|one| &one.release);
        let then: Vec<&Release> = own.chain(&later).collect();
        let recipients: BTreeSet<&PartnerId> = then
            .iter()
            .copied()
            .chain(&releases)
            .map(|release| &release.recipient)
            .collect();
        for recipient in recipients {
            let to = |release: &&Release| release.recipient == *recipient;
            let before = then.iter().copied().find(to);
            let after = releases.iter().find(to);
            self.compare(accepted, record, recipient, before, after);
        }
    }

    fn compare(
        &mut self,
        accepted: &Accepted,
        record: &Record,
        recipient: &PartnerId,
        before: Option<&Release>,
        after: Option<&Release>,
    ) {
        let seen = |release: Option<&Release>, index: u32| {
            release.is_some_and(|release| release.withheld.binary_search(&index).is_err())
        };
        let (mut newly, mut no_longer) = (Vec::new(), Vec::new());
        for (index, part) in (0u32..).zip(&accepted.parts) {
            match (seen(before, index), seen(after, index)) {
                (false, true) => newly.push(part.class.clone()),
                (true, false) => no_longer.push(part.class.clone()),
                _ => {}
            }
        }
        if newly.is_empty() && no_longer.is_empty() {
            return;
        }
        self.found.push(Simulated {
            position: self.state.size(),
            time: record.time,
            bulletin: accepted.header.id,
            originator: accepted.originator.clone(),
            recipient: recipient.clone(),
            released: before.is_some(),
            would_be: after.is_some(),
            newly,
            no_longer,
        });
    }

    /// What is in force, with the draft in place of every version of its name.
    fn rulebook(&self) -> Rulebook {
        let mut rulebook = self.state.rulebook().clone();
        let replaced: Vec<AgreementId> = rulebook
            .agreements()
            .iter()
            .filter(|(_, other)| other.name == self.terms.name)
            .map(|(id, _)| *id)
            .collect();
        for id in replaced {
            rulebook.remove(&id);
        }
        rulebook.insert_terms(self.id, &self.terms);
        rulebook
    }

    /// How many bulletins were decided again.
    pub fn bulletins(&self) -> u64 {
        self.bulletins
    }

    /// Every difference, by position and recipient.
    pub fn finish(self) -> Vec<Simulated> {
        self.found
    }
}
