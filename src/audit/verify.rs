//! Verifies a ledger, record by record.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::bulletin::{
    BulletinId, Part, Precedence, Refused, VerifiedBursts, check_identity, mentions, open,
    read_audience,
};
use crate::clock::Timestamp;
use crate::decision::{Release, decide};
use crate::ledger::{
    Accepted, Backfilled, BackfilledBulletin, ContentsErased, ENTRY_BYTES, Engine, EngineError,
    ErasureRule, Fact, LaneRelease, PassedOn, PassedOnDecision, Record, State, backfill_is_valid,
    backfill_releases, check, decide_passed_on, erasure_rule, notice_releases,
};
use crate::partner::PartnerId;
use crate::proof::{Checkpoint, Digest, NoteKey};

use super::finding::{Fault, Finding};
use super::trail::Trail;

/// Records read at once.
const READ: usize = 512;
/// Bursts remembered as verified.
const REMEMBERED_BURSTS: usize = 4_096;

/// What a verified ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Audited {
    /// The ledger's id.
    pub ledger: String,
    /// Records verified.
    pub records: u64,
    /// Root of their tree.
    pub root: Digest,
    /// Records that the signed checkpoint covers; `None` where there is no checkpoint.
    pub signed: Option<u64>,
    /// Bulletins among them.
    pub bulletins: u64,
    /// Releases to recipients.
    pub releases: u64,
    /// Acknowledgements.
    pub acknowledgements: u64,
    /// What recipients declared about single bulletins.
    pub declarations: u64,
    /// Bodies at hand and compared with what was signed.
    pub bodies: u64,
    /// Records that say nothing, and cover the others.
    pub cover: u64,
    /// Bulletins whose contents were erased, and why.
    pub erased: Vec<ErasedContents>,
    /// Acknowledgements in which a recipient signed something else than what was released to it.
    /// The ledger holds; what that recipient received is in dispute.
    pub disputed: Vec<Disputed>,
    /// Time of the last record.
    pub time: Timestamp,
}

/// A bulletin whose contents were erased.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErasedContents {
    /// Position of the record that accepted it.
    pub position: u64,
    /// Its id.
    pub bulletin: BulletinId,
    /// The rule.
    pub rule: &'static str,
    /// Position of the record that says so.
    pub by: u64,
    /// Who ordered it and why, where somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// An acknowledgement of something else than what was released.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Disputed {
    /// Position of the acknowledgement.
    pub position: u64,
    /// Who signed it.
    pub partner: PartnerId,
    /// In which lane.
    pub lane: Precedence,
}

/// Takes a ledger's records one after the other.
#[derive(Debug)]
pub struct Auditor {
    state: State,
    bursts: VerifiedBursts,
    trail: Trail,
    bulletins: u64,
    releases: u64,
    acknowledgements: u64,
    declarations: u64,
    bodies: u64,
    cover: u64,
    erased: Vec<ErasedContents>,
    /// The last order to erase, for people.
    order: Option<String>,
    /// Bulletins without contents of which no record says that they were erased; `None` where contents
    /// are not looked for.
    without: Option<BTreeSet<u64>>,
    disputed: Vec<Disputed>,
    /// Commitments of the records of bulletins, by position.
    accepted: HashMap<u64, Digest>,
}

impl Default for Auditor {
    fn default() -> Self {
        Self {
            state: State::new(),
            bursts: VerifiedBursts::new(REMEMBERED_BURSTS),
            trail: Trail::default(),
            bulletins: 0,
            releases: 0,
            acknowledgements: 0,
            declarations: 0,
            bodies: 0,
            cover: 0,
            erased: Vec::new(),
            order: None,
            without: None,
            disputed: Vec::new(),
            accepted: HashMap::new(),
        }
    }
}

impl Auditor {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for contents, too: where a bulletin has none, a record must say that they were erased.
    #[must_use]
    pub fn with_contents(mut self) -> Self {
        self.without = Some(BTreeSet::new());
        self
    }

    /// The fold of what was verified so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Verifies the next record, and folds it.
    ///
    /// `about` are the earlier records that it refers to, in the order of [`Auditor::refers_to`].
    pub fn next(
        &mut self,
        record: &Record,
        entry: &[u8; ENTRY_BYTES],
        bodies: Option<&Bytes>,
        about: &[Record],
    ) -> Result<(), Fault> {
        if record.commitment.entry() != *entry {
            return Err(Fault::OtherEntry);
        }
        let last = self.state.time();
        if record.time < last {
            return Err(Fault::TimeWentBack {
                time: record.time,
                last,
            });
        }
        let first = self.state.size() == 0;
        if first != matches!(record.fact, Fact::Genesis(_)) {
            return Err(Fault::Genesis);
        }
        let accepts = matches!(record.fact, Fact::Accepted(_));
        if !accepts && record.fact.lets_go().is_none() && !record.releases.is_empty() {
            return Err(Fault::Releases);
        }
        match &record.fact {
            Fact::Genesis(_) | Fact::Tick | Fact::SnapshotTaken(_) => {}
            Fact::Accepted(accepted) => {
                self.bulletin(accepted, record, bodies, about)?;
                let commitment = record.commitment.0;
                self.accepted.insert(self.state.size(), commitment);
                if let (Some(without), None) = (&mut self.without, bodies) {
                    without.insert(self.state.size());
                }
                self.bulletins += 1;
                let given = record.releases.iter().filter(|one| !one.release.held);
                self.releases += given.count() as u64;
            }
            Fact::Acknowledged(signed) => {
                signed.check(&self.state, record.time)?;
                let lanes = self
                    .trail
                    .acknowledged(&self.state, &signed.ack, record.time);
                let position = self.state.size();
                self.disputed.extend(lanes.into_iter().map(|lane| Disputed {
                    position,
                    partner: signed.ack.recipient.clone(),
                    lane,
                }));
                self.acknowledgements += 1;
            }
            Fact::HoldDecided(signed) => {
                let about = self.one(record, about)?;
                let decided = signed.check(&self.state, about, record.time)?;
                self.let_go(&decided, about, record)?;
            }
            Fact::ConsentDecided(signed) => {
                let about = self.one(record, about)?;
                let decided = signed.check(&self.state, about, record.time)?;
                self.let_go(&decided, about, record)?;
            }
            Fact::Backfilled(one) => self.backfilled(one, record, about)?,
            Fact::ContentsErased(erased) => self.erased(erased, record, about)?,
            Fact::Cover if record.time == last => self.cover += 1,
            Fact::Cover => return Err(Fault::CoverTime),
            Fact::Declared(signed) => {
                let about = self.one(record, about)?;
                signed.check(&self.state, about, record.time)?;
                self.declarations += 1;
            }
            governing => {
                check(&self.state, governing, record.time)?;
                if let Fact::ErasureOrdered(ordered) = governing {
                    let (by, reason) = (&ordered.operator.operator, &ordered.order.reason);
                    self.order = Some(format!("{by}: {reason}"));
                }
            }
        }
        self.state.apply(record);
        // A notice may take back what still waits.
        let changes = match &record.fact {
            Fact::Accepted(accepted) => accepted.header.notice,
            Fact::Acknowledged(_)
            | Fact::Declared(_)
            | Fact::HoldDecided(_)
            | Fact::ConsentDecided(_)
            | Fact::Backfilled(_)
            | Fact::ContentsErased(_)
            | Fact::ErasureOrdered(_)
            | Fact::Cover
            | Fact::Tick
            | Fact::SnapshotTaken(_) => false,
            _ => true,
        };
        if changes {
            self.trail.governed(&self.state, record.time);
        }
        Ok(())
    }

    /// Positions of the earlier records without which a record cannot be verified.
    pub fn refers_to(&self, record: &Record) -> Vec<u64> {
        let ids: Vec<BulletinId> = match &record.fact {
            Fact::ContentsErased(erased) => {
                return erased.bulletins.iter().map(|one| one.position).collect();
            }
            Fact::Declared(signed) => vec![signed.declaration.id],
            Fact::Accepted(accepted) if accepted.header.notice => {
                let references = accepted.header.references.iter();
                references.map(|one| one.bulletin).collect()
            }
            Fact::Accepted(accepted) => accepted.header.passes_on().collect(),
            fact => fact.lets_go().into_iter().map(|(id, _)| id).collect(),
        };
        let seen = ids.iter().filter_map(|id| self.state.seen(id));
        seen.map(|seen| seen.position).collect()
    }

    /// The earlier records that a record refers to: those that were verified at their positions.
    fn known<'a>(&self, record: &Record, about: &'a [Record]) -> Result<Vec<&'a Record>, Fault> {
        let positions = self.refers_to(record);
        let verified = positions.iter().filter_map(|at| self.accepted.get(at));
        if verified.eq(about.iter().map(|about| &about.commitment.0)) {
            Ok(about.iter().collect())
        } else {
            Err(Fault::RefersToNothing)
        }
    }

    /// The only earlier record that a record refers to.
    fn one<'a>(&self, record: &Record, about: &'a [Record]) -> Result<&'a Record, Fault> {
        let known = self.known(record, about)?;
        known.first().copied().ok_or(Fault::RefersToNothing)
    }

    /// Signature, parts, uniqueness, the decision anew, and the numbers of the lanes.
    fn bulletin(
        &mut self,
        accepted: &Accepted,
        record: &Record,
        bodies: Option<&Bytes>,
        about: &[Record],
    ) -> Result<(), Fault> {
        let header = &accepted.header;
        if let Some(seen) = self.state.seen(&header.id) {
            return Err(Fault::Repeated(seen.position));
        }
        let (as_of, size) = (header.as_of, self.state.size());
        if as_of > size {
            return Err(Refused::AheadOfLog { as_of, size }.into());
        }
        let registry = self.state.registry();
        let sealed = accepted.to_sealed(None)?;
        open(sealed, record.time, registry, &mut self.bursts)?;
        if let Some(bodies) = bodies {
            check_bodies(accepted, bodies, self.state.looks_for_mentions())?;
            self.bodies += 1;
        }
        let audience = accepted.audience.as_ref();
        if let Some(part) = audience {
            let digest = part.digest();
            if !header.audience_part || !accepted.parts.contains(&digest) {
                return Err(Fault::Audience);
            }
        } else if header.audience_part {
            return Err(Fault::Audience);
        }
        if let Some(part) = audience {
            read_audience(&part.body)?;
        }
        if let Some(part) = &accepted.identity {
            if !accepted.parts.contains(&part.digest()) {
                return Err(Refused::Identity.into());
            }
            check_identity(header, part, record.time, registry)?;
        }
        let pseudonyms = self.state.pseudonyms();
        pseudonyms.check(header, &accepted.originator, accepted.disguise.as_ref())?;
        let (labels, parts) = (accepted.labels(), accepted.part_labels());
        let (rulebook, usage) = (self.state.rulebook(), self.state.usage());
        let ancestors: Vec<BulletinId> = header.passes_on().collect();
        let to_all = |releases| PassedOnDecision {
            releases,
            ..PassedOnDecision::default()
        };
        let decided = if header.notice {
            let about = self.one(record, about)?;
            let author = &accepted.originator;
            to_all(notice_releases(&self.state, header, author, &parts, about)?)
        } else if ancestors.is_empty() {
            to_all(decide(rulebook, usage, &labels, &parts, record.time))
        } else {
            let about = self.known(record, about)?;
            let bulletin = PassedOn {
                ancestors: &ancestors,
                labels: &labels,
                parts: &accepted.parts,
            };
            decide_passed_on(&self.state, usage, bulletin, &parts, record.time, &about)?
        };
        check_releases(&decided.releases, &record.releases)?;
        if decided.awaited != accepted.awaited || decided.bonds != accepted.bonds {
            return Err(Fault::Awaited);
        }
        let hash = accepted.header_hash();
        let known = Arc::new(accepted.clone());
        for one in &record.releases {
            if one.bulletin != hash {
                return Err(Fault::OtherBulletin);
            }
            if one.release.held {
                continue;
            }
            let partner = &one.release.recipient;
            let expected = self.state.lanes().issued(partner, header.precedence) + 1;
            if one.number != expected {
                let (partner, found) = (partner.clone(), one.number);
                return Err(Fault::Number {
                    partner,
                    expected,
                    found,
                });
            }
            self.trail.released(&self.state, &known, one);
        }
        Ok(())
    }

    /// What is given of what came before an agreement; or that nothing more is.
    fn backfilled(
        &mut self,
        one: &Backfilled,
        record: &Record,
        about: &[Record],
    ) -> Result<(), Fault> {
        let backfill = self.state.backfills().get(&one.agreement);
        let backfill = backfill.ok_or(Fault::Backfill)?;
        let Some(bulletin) = &one.bulletin else {
            let valid = backfill_is_valid(&self.state, &one.agreement, record.time);
            let ends = valid && one.up_to == backfill.until;
            return if ends { Ok(()) } else { Err(Fault::Backfill) };
        };
        let known = self.one(record, about)?;
        let position = one.up_to.checked_sub(1).ok_or(Fault::Backfill)?;
        let Fact::Accepted(accepted) = &known.fact else {
            return Err(Fault::RefersToNothing);
        };
        let at = record.time;
        let decided = backfill_releases(&self.state, &one.agreement, position, known, at);
        if decided.is_empty() || *bulletin != BackfilledBulletin::of(accepted) {
            return Err(Fault::Backfill);
        }
        self.let_go(&decided, known, record)
    }

    /// Each erasure follows from its rule, and was done.
    fn erased(
        &mut self,
        erased: &ContentsErased,
        record: &Record,
        about: &[Record],
    ) -> Result<(), Fault> {
        let known = self.known(record, about)?;
        if known.len() != erased.bulletins.len() {
            return Err(Fault::RefersToNothing);
        }
        for (one, about) in erased.bulletins.iter().zip(known) {
            let rule = erasure_rule(&self.state, one.position, about, record.time);
            let named = match &about.fact {
                Fact::Accepted(accepted) => accepted.header.id == one.id,
                _ => false,
            };
            if rule != Some(erased.rule) || !named {
                let (rule, id) = (erased.rule, one.id);
                return Err(Fault::Erasure { rule, id });
            }
            if let Some(without) = &mut self.without
                && !without.remove(&one.position)
            {
                return Err(Fault::NotErased(one.position));
            }
            let ordered = erased.rule == ErasureRule::Order;
            self.erased.push(ErasedContents {
                position: one.position,
                bulletin: one.id,
                rule: erased.rule.name(),
                by: self.state.size(),
                order: self.order.clone().filter(|_| ordered),
            });
        }
        Ok(())
    }

    /// The releases that a decision lets go, and their numbers.
    fn let_go(
        &mut self,
        decided: &[Release],
        about: &Record,
        record: &Record,
    ) -> Result<(), Fault> {
        check_releases(decided, &record.releases)?;
        let Fact::Accepted(accepted) = &about.fact else {
            return Err(Fault::RefersToNothing);
        };
        let known = Arc::new(accepted.as_ref().clone());
        for one in &record.releases {
            let (partner, precedence) = (&one.release.recipient, accepted.header.precedence);
            let expected = self.state.lanes().issued(partner, precedence) + 1;
            if one.bulletin != accepted.header_hash() {
                return Err(Fault::OtherBulletin);
            }
            if one.number != expected {
                let (partner, found) = (partner.clone(), one.number);
                return Err(Fault::Number {
                    partner,
                    expected,
                    found,
                });
            }
            self.trail.let_go(&self.state, &known, one, record.time);
        }
        self.releases += record.releases.len() as u64;
        Ok(())
    }

    fn finish(self, signed: Option<u64>) -> Result<Audited, Finding> {
        let without = self.without.unwrap_or_default();
        if let Some(first) = without.first() {
            return Err(Finding::ContentsMissing {
                count: without.len(),
                first: *first,
            });
        }
        Ok(Audited {
            ledger: self
                .state
                .ledger()
                .map(|id| id.to_string())
                .unwrap_or_default(),
            records: self.state.size(),
            root: self.state.root(),
            signed,
            bulletins: self.bulletins,
            releases: self.releases,
            acknowledgements: self.acknowledgements,
            declarations: self.declarations,
            bodies: self.bodies,
            cover: self.cover,
            erased: self.erased,
            disputed: self.disputed,
            time: self.state.time(),
        })
    }
}

fn check_bodies(accepted: &Accepted, bodies: &Bytes, mentioning: bool) -> Result<(), Fault> {
    let sealed = accepted.to_sealed(Some(bodies))?;
    for (at, (part, digest)) in sealed.parts.iter().zip(&accepted.parts).enumerate() {
        // A body that was erased is a hash, and proves itself.
        if matches!(part, Part::Open(_)) && part.leaf() != digest.leaf() {
            return Err(Fault::Body(at));
        }
    }
    let whole = sealed
        .parts
        .iter()
        .all(|part| matches!(part, Part::Open(_)));
    if mentioning && whole && mentions(&sealed.parts)? != accepted.mentions {
        return Err(Fault::Mentions);
    }
    Ok(())
}

/// The logged releases must be exactly what the decision gives, in its order.
fn check_releases(decided: &[Release], logged: &[LaneRelease]) -> Result<(), Fault> {
    let differs = |release: &Release, what| Fault::Decision {
        partner: release.recipient.clone(),
        what,
    };
    for one in logged {
        let known = decided
            .iter()
            .find(|release| release.recipient == one.release.recipient);
        match known {
            None => return Err(differs(&one.release, "has no right to it")),
            Some(release) if *release != one.release => {
                return Err(differs(release, "has a right to something else of it"));
            }
            Some(_) => {}
        }
    }
    let released = |release: &&Release| {
        !logged
            .iter()
            .any(|one| one.release.recipient == release.recipient)
    };
    match decided.iter().find(released) {
        Some(release) => Err(differs(release, "has a right to it and was left out")),
        None if decided.len() != logged.len() => {
            let twice = &logged[decided.len()].release;
            Err(differs(twice, "receives it twice"))
        }
        None => Ok(()),
    }
}

/// A record as it is stored, with its entry in the log's tree and the bodies kept beside it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: Bytes,
    /// Its entry.
    pub entry: [u8; ENTRY_BYTES],
    /// Its bodies, where it has some.
    pub bodies: Option<Bytes>,
}

/// The verification of a whole ledger, page by page: of its records, and that they are what the
/// checkpoint was signed over.
#[derive(Debug)]
pub struct Verification {
    auditor: Auditor,
    checkpoint: Option<String>,
    signed: Option<Checkpoint>,
    size: u64,
}

impl Verification {
    /// Of a ledger of `size` records, with its last checkpoint.
    pub fn new(size: u64, checkpoint: Option<String>) -> Result<Self, Finding> {
        if size == 0 {
            return Err(Finding::Empty);
        }
        Ok(Self {
            auditor: Auditor::new(),
            checkpoint,
            signed: None,
            size,
        })
    }

    /// Looks for contents, too: where a bulletin has none, a record must say that they were erased.
    #[must_use]
    pub fn with_contents(mut self) -> Self {
        self.auditor = self.auditor.with_contents();
        self
    }

    /// Whether contents are gone of which no record so far says that they were erased: in a log that
    /// grows meanwhile, a later one may.
    pub fn lacks_contents(&self) -> bool {
        let without = self.auditor.without.as_ref();
        without.is_some_and(|without| !without.is_empty())
    }

    /// Goes on to a larger size.
    pub fn extend(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// The earlier records that are needed to verify the one that is due.
    pub fn refers_to(&self, stored: &Stored) -> Vec<u64> {
        let record = Record::from_bytes(&stored.record);
        record.map_or_else(|_| Vec::new(), |record| self.auditor.refers_to(&record))
    }

    /// Position of the next record; `None` where all are verified.
    pub fn due(&self) -> Option<u64> {
        let next = self.auditor.state.size();
        (next < self.size).then_some(next)
    }

    /// Verifies the record that is due; `about` are those that [`Verification::refers_to`] names, in
    /// its order.
    pub fn take(&mut self, stored: &Stored, about: &[Bytes]) -> Result<(), Finding> {
        let position = self.auditor.state.size();
        let wrong = |kind, fault: Fault| Finding::Record {
            position,
            kind,
            fault,
        };
        let record = Record::from_bytes(&stored.record)
            .map_err(|error| wrong("unreadable", error.into()))?;
        let about = about
            .iter()
            .map(Record::from_bytes)
            .collect::<Result<Vec<_>, _>>();
        let about = about.map_err(|error| wrong(record.fact.name(), error.into()))?;
        self.auditor
            .next(&record, &stored.entry, stored.bodies.as_ref(), &about)
            .map_err(|fault| wrong(record.fact.name(), fault))?;
        if position == 0 {
            let note = self.checkpoint.as_deref();
            self.signed = read_checkpoint(&self.auditor.state, note, self.size)?;
        }
        match &self.signed {
            Some(signed)
                if signed.size == self.auditor.state.size()
                    && signed.root != self.auditor.state.root() =>
            {
                Err(Finding::OtherRoot {
                    signed: signed.size,
                })
            }
            _ => Ok(()),
        }
    }

    /// What was verified.
    pub fn finish(self) -> Result<Audited, Finding> {
        self.auditor.finish(self.signed.map(|signed| signed.size))
    }
}

/// Verifies the records of a whole ledger, and the contents that are there. `progress` is told how many
/// records were verified.
pub fn verify(
    engine: &dyn Engine,
    checkpoint: Option<String>,
    progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    let verification = Verification::new(engine.size(), checkpoint)?;
    verify_all(verification, engine, progress)
}

/// The same, and that no contents are gone but those of which a record says so.
pub fn verify_with_contents(
    engine: &dyn Engine,
    checkpoint: Option<String>,
    progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    let verification = Verification::new(engine.size(), checkpoint)?.with_contents();
    verify_all(verification, engine, progress)
}

fn verify_all(
    mut verification: Verification,
    engine: &dyn Engine,
    mut progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    while let Some(from) = verification.due() {
        let missing = |error: EngineError| {
            let position = match &error {
                EngineError::Unreadable { position, .. } => *position,
                _ => from,
            };
            Finding::Record {
                position,
                kind: "unreadable",
                fault: error.into(),
            }
        };
        let records = engine.read(from, READ).map_err(missing)?;
        let entries = engine.entries(from, READ).map_err(missing)?;
        for ((position, record), entry) in (from..).zip(records).zip(entries) {
            let bodies = engine.bodies(position).map_err(missing)?;
            let stored = Stored {
                record,
                entry,
                bodies,
            };
            let mut about = Vec::new();
            for earlier in verification.refers_to(&stored) {
                about.extend(engine.read(earlier, 1).map_err(missing)?.pop());
            }
            verification.take(&stored, &about)?;
            progress(position + 1);
        }
    }
    verification.finish()
}

/// Reads the checkpoint under the key that the genesis names.
fn read_checkpoint(
    state: &State,
    note: Option<&str>,
    size: u64,
) -> Result<Option<Checkpoint>, Finding> {
    let (Some(note), Some(genesis)) = (note, state.genesis()) else {
        return Ok(None);
    };
    let wrong = |error| Finding::Checkpoint(crate::proof::InvalidCheckpoint::from(error));
    let key: NoteKey = genesis.log_key.parse().map_err(wrong)?;
    let checkpoint = Checkpoint::verify(note, &key)?;
    if checkpoint.origin != genesis.framework {
        let (found, framework) = (checkpoint.origin, genesis.framework.clone());
        return Err(Finding::OtherLog { found, framework });
    }
    if checkpoint.size > size {
        return Err(Finding::Shortened {
            signed: checkpoint.size,
            size,
        });
    }
    Ok(Some(checkpoint))
}
